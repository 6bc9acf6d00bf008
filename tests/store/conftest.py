"""Fixtures of `tests/outside`: objects are kept beside what was fetched."""

from tests.outside.conftest import fetch_store, outside, pool, site

__all__ = ["fetch_store", "outside", "pool", "site"]
