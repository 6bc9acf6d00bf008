"""`harvester services fetch`: whatever can be had is had before anybody waits for it; what cannot is named."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harvester_dagster.cli.main import app
from harvester_dagster.services.launcher import SERVICES


def test_what_is_there_already_costs_nothing() -> None:
    done = CliRunner().invoke(app, ["services", "fetch", "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["service"] for one in found] == list(SERVICES)
    assert all(one["seconds"] < 5 and not one["reason"] for one in found)


def test_what_cannot_be_had_is_named_with_its_mend_and_hinders_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "/nonexistent")
    done = CliRunner().invoke(app, ["services", "fetch", "tika", "postgres", "--json"])
    assert done.exit_code == 1
    tika, postgres = json.loads(done.stdout)
    assert "apt-get install maven" in tika["reason"] and not postgres["reason"]
    assert "apt-get install maven" in done.stderr


def test_an_unknown_name_is_told_with_those_that_there_are() -> None:
    done = CliRunner().invoke(app, ["services", "fetch", "mysql"])
    assert done.exit_code == 2
    assert "mysql" in done.stderr and "postgres" in done.stderr
