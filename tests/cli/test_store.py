"""Who brings an older store's schema up to date: what runs nights, and whoever asks for it; nothing else."""

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config

from harvester_dagster.cli import session
from harvester_dagster.installation import Installation
from harvester_dagster.store import database as databases
from harvester_dagster.store.database import MIGRATIONS, OtherSchema
from tests.cli.conftest import WORKS, Run

NEWEST = max(path.name for path in (MIGRATIONS / "versions").glob("0*.py"))[:4]
OLDER = "0016"
LOOKS = f"{WORKS}\n[night]\nautomation = false\n"


@pytest.fixture
def older(empty_database: str) -> str:
    """A store as an earlier version left it."""
    alembic = Config(attributes={"url": empty_database.replace("postgresql://", "postgresql+psycopg://")})
    alembic.set_main_option("script_location", str(MIGRATIONS))
    command.upgrade(alembic, OLDER)
    os.environ["HARVESTER_POSTGRES_URL"] = empty_database
    return empty_database


def version(url: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT version_num FROM harvester.alembic_version").fetchone()
    assert row is not None
    return str(row[0])


def test_what_runs_nights_migrates(works: Path, older: str) -> None:
    with session.opened(migrates=True):
        assert version(older) == NEWEST


def test_what_only_asks_does_not(works: Path, older: str) -> None:
    with pytest.raises(OtherSchema, match=f"schema {OLDER}, .* works with {NEWEST}"), session.opened():
        pass
    assert version(older) == OLDER


def test_nothing_does_in_a_copy_that_only_looks(works: Path, run: Run, older: str) -> None:
    works.write_text(LOOKS)
    with pytest.raises(OtherSchema), session.opened(migrates=True):
        pass
    refused = run("store", "migrate")
    assert refused.exit_code == 1 and "in the installation that runs them" in refused.stderr
    assert version(older) == OLDER


@pytest.mark.parametrize("first", [session.opened, lambda: session.opened(migrates=True)], ids=["asks", "runs nights"])
@pytest.mark.parametrize("configuration", [WORKS, LOOKS], ids=["works", "looks"])
def test_a_new_store_gets_its_schema_from_whoever_comes_first(
    works: Path, empty_database: str, first: Callable[[], AbstractContextManager[Installation]], configuration: str
) -> None:
    works.write_text(configuration)
    os.environ["HARVESTER_POSTGRES_URL"] = empty_database
    with first():
        assert version(empty_database) == NEWEST


def test_somebody_asks_for_it(works: Path, run: Run, older: str) -> None:
    asked = run("store", "migrate", "--json")
    assert json.loads(asked.stdout) == {"before": OLDER, "now": NEWEST}, asked.output
    assert version(older) == NEWEST
    assert f"has schema {NEWEST} already" in run("store", "migrate").stdout
    told = json.loads(run("audit", "--json").stdout)
    assert [(row["act"], row["subject"], row["detail"]) for row in told] == [
        ("migrate", NEWEST, {"before": NEWEST}),
        ("migrate", NEWEST, {"before": OLDER}),
    ]


def test_a_newer_one_is_left_alone(works: Path, run: Run, database: str) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = database
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("UPDATE harvester.alembic_version SET version_num = '9999'")
    for line in ("store migrate", "status"):
        refused = run(*line.split())
        assert refused.exit_code == 1 and "use the newer version that made it" in refused.stderr
    with pytest.raises(OtherSchema):
        databases.migrate(database)
    assert version(database) == "9999"
