"""The worlds of the tests of the harvest core, by their names."""

from tests.sets.conftest import open_world, source, world

__all__ = ["open_world", "source", "world"]
