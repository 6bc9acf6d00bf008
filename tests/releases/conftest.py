"""The worlds of the tests of the harvest core, and installations that harvest vocabularies, by their names."""

from tests.sets.conftest import open_world, source, world
from tests.vocabularies.installations import installed, server

__all__ = ["installed", "open_world", "server", "source", "world"]
