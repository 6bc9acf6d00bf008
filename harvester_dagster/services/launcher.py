"""The real services that the project runs on, on loopback: one row each, the same for commands and tests.

Belongs here: the table, and a function a service that yields what its clients need. How a row is started and shared is
in `sharing.py`, what it starts in the row's own module. Does not belong here: what is done with a service.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from harvester_dagster.services.postgres import POSTGRES
from harvester_dagster.services.sharing import Unavailable, running

__all__ = ["Unavailable", "postgres"]


@contextlib.contextmanager
def postgres(state: Path) -> Iterator[str]:
    """PostgreSQL; yields a libpq URL of the database `harvester`."""
    with running(POSTGRES, state) as launch:
        yield launch.url
