"""An error is a sentence and its mend, holds no secret, and survives the way to another process."""

import errno
import os
import pickle

import psycopg
import pytest
from sqlalchemy.exc import ProgrammingError

from harvester_dagster.failures import (
    HarvesterError,
    OutsideError,
    RefusedError,
    StorageError,
    TransientError,
    mendable,
    without_secrets,
)
from harvester_dagster.search.connection import NoIndex


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://me:open-sesame@host:5432/x fails", "postgresql://***@host:5432/x fails"),
        ("https://me:p@ss/w:rd@host/ fails", "https://***@host/ fails"),
        ("host=h password=open-sesame user=u", "host=h password=*** user=u"),
        ("https://host/x?API_KEY=abc&page=2", "https://host/x?API_KEY=***&page=2"),
        ("https://example.org/@somebody", "https://example.org/@somebody"),
        ("see admin@example.org: token and password are wrong", "see admin@example.org: token and password are wrong"),
    ],
)
def test_no_secret_is_shown(text: str, shown: str) -> None:
    assert without_secrets(text) == shown
    error = HarvesterError(text, text)
    assert (error.sentence, error.mend, str(error)) == (shown, shown, f"{shown}; {shown}")


@pytest.mark.parametrize(
    "error",
    [
        HarvesterError("it broke", "mend it"),
        NoIndex("there is none"),
        OutsideError("dns", "no such host", status=404),
        TransientError("busy", "later", retry_after=3.5),
        StorageError("s3", "away"),
        RefusedError("scheme", "not called"),
    ],
)
def test_in_another_process_it_is_the_same(error: HarvesterError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_an_error_of_a_library_is_told_by_its_first_line() -> None:
    found = mendable(psycopg.errors.AdminShutdown("the connection was ended\nLINE 1: SELECT"))
    assert found is not None
    assert str(found).startswith("the store (PostgreSQL) fails: the connection was ended; see whether it runs")
    assert mendable(psycopg.errors.SyntaxError("a mistake")) is None
    assert mendable(ProgrammingError("CREATE", {}, psycopg.errors.SyntaxError("a mistake"))) is None
    within = mendable(ProgrammingError("CREATE", {}, psycopg.errors.InsufficientPrivilege("no right")))
    assert within is not None and str(within).startswith("the store (PostgreSQL) refuses: no right; give its user")
    read_only = mendable(OSError(errno.EROFS, os.strerror(errno.EROFS), "/state"))
    assert read_only is not None and "/state" in read_only.sentence and "HARVESTER_HOME" in read_only.mend
    assert mendable(error := HarvesterError("it broke")) is error
