"""The worlds of the tests of the harvest core, by their names."""

from tests.harvesting.conftest import open_world, source, world

__all__ = ["open_world", "source", "world"]
