"""The worlds of the tests of the harvest core, by their names."""

from tests.sets.conftest import indexed, open_world, source, world

__all__ = ["indexed", "open_world", "source", "world"]
