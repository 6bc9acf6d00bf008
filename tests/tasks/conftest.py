"""Fixtures of the content tasks' world, by their names."""

from tests.tasks.content_site import pool, site, world

__all__ = ["pool", "site", "world"]
