"""The real services that the project runs on, on loopback: one row each, the same for commands and tests.

Belongs here: the table, as one function a service that yields what its clients need. How a row is started and shared is
in `sharing.py`, what it starts in the row's own module. Does not belong here: what is done with a service.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from harvester_dagster.services.opensearch import OPENSEARCH
from harvester_dagster.services.postgres import POSTGRES
from harvester_dagster.services.s3 import S3
from harvester_dagster.services.sharing import Unavailable, running
from harvester_dagster.services.solr import SOLR
from harvester_dagster.services.tika_server import TIKA

__all__ = ["SERVICES", "S3Endpoint", "Unavailable", "opensearch", "postgres", "s3", "solr", "tika"]

SERVICES = {service.name: service for service in (POSTGRES, OPENSEARCH, SOLR, TIKA, S3)}


class S3Endpoint(NamedTuple):
    """What a client of the S3 service needs; its addressing style is "path"."""

    url: str
    access_key: str
    secret_key: str


@contextlib.contextmanager
def postgres(state: Path) -> Iterator[str]:
    """PostgreSQL; yields a libpq URL of the database `harvester`. Data and locks are below `state`, as of all of
    these. Raises Unavailable, as all of these do."""
    with running(POSTGRES, state) as launch:
        yield launch.url


@contextlib.contextmanager
def opensearch(state: Path) -> Iterator[str]:
    """OpenSearch, a single node without authentication; yields its URL."""
    with running(OPENSEARCH, state) as launch:
        yield launch.url


@contextlib.contextmanager
def solr(state: Path) -> Iterator[str]:
    """Solr with the collection `metastore`, which lies below the URL that is yielded."""
    with running(SOLR, state) as launch:
        yield launch.url


@contextlib.contextmanager
def tika(state: Path) -> Iterator[str]:
    """The Tika server; yields its URL."""
    with running(TIKA, state) as launch:
        yield launch.url


@contextlib.contextmanager
def s3(state: Path) -> Iterator[S3Endpoint]:
    """An S3 server with credentials of its own start; yields what a client needs."""
    with running(S3, state) as launch:
        yield S3Endpoint(launch.url, launch.env["ROOT_ACCESS_KEY"], launch.env["ROOT_SECRET_KEY"])
