"""The errors that a person can mend: told as a sentence, with exit code 1. All else is a bug and shows itself."""

import contextlib
from collections.abc import Iterator

import typer
from psycopg import OperationalError
from psycopg_pool import PoolTimeout

from harvester_dagster.config import ConfigError
from harvester_dagster.explain import UnknownDocument
from harvester_dagster.harvesting.attempts import NotOpen
from harvester_dagster.harvesting.sets import UnknownSet
from harvester_dagster.harvesting.steps import NothingToAccept
from harvester_dagster.outside.failures import OutsideError
from harvester_dagster.services.children import ChildFailed
from harvester_dagster.services.launcher import Unavailable
from harvester_dagster.sources.source import SourceError
from harvester_dagster.store.database import Busy
from harvester_dagster.versions.versions import NotPromotable

TOLD = (
    Busy,
    ChildFailed,
    ConfigError,
    NotOpen,
    NotPromotable,
    NothingToAccept,
    OperationalError,
    OutsideError,
    PoolTimeout,
    SourceError,
    Unavailable,
    UnknownDocument,
    UnknownSet,
)


@contextlib.contextmanager
def told() -> Iterator[None]:
    try:
        yield
    except TOLD as error:
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
    except Exception as error:
        if type(error).__name__ not in ("RunFailed", "NotServed"):  # imported only by the commands that need them
            raise
        typer.secho(str(error), fg=typer.colors.RED, err=True)
        raise typer.Exit(1) from None
