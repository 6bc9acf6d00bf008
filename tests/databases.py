"""Databases of a test's own, each a copy of another, on the server that the whole session shares."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

HARVESTER = "/harvester?"


def named(server: str, name: str) -> str:
    """The URL of a database on the server whose URL this is."""
    return server.replace(HARVESTER, f"/{name}?")


@contextmanager
def copied(server: str, template: str) -> Iterator[str]:
    """The URL of a copy, as long as the block lasts. Its files are copied: through the log it takes three times as
    long."""
    name = f"test_{uuid.uuid4().hex}"
    copy(server, template, name)
    try:
        yield named(server, name)
    finally:
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def copy(server: str, template: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
