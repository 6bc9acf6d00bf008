"""Fixtures of the tests of vocabularies; they stand in `installations.py`, where tests import their types from."""

from tests.vocabularies.installations import installed, server

__all__ = ["installed", "server"]
