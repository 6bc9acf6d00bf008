"""`why`, `what-if` and the commands: the batch's own functions, asked one question."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from harvester_dagster.access.decide.rules import NAMES
from harvester_dagster.access.runs import access_why
from harvester_dagster.access.runs.enricher import Enricher, refresh_journals
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.cli import access
from harvester_dagster.cli.commands import Commands
from harvester_dagster.config import Config
from harvester_dagster.store.database import Pool
from tests.access.conftest import NOW, Collection, Make

HELD = {"id": "j", "format": "journal", "source_ss": ["jnl_sfx"], "issn_ss": ["1234-5678"], "title_ts": ["Acta"]}
ARTICLE = {"id": "a", "cluster_id_ss": ["4711"], "issn_ss": ["12345678"], "pub_date_tis": [2005]}


@pytest.fixture
def decided(job: Enricher, collection: Collection) -> Enricher:
    collection.add(
        HELD | {"holdings_ssf": ['{"fromyear": "2010"}']},
        ARTICLE,
        {"id": "o", "fulltext_list_ssf": ['{"type": "openaccess"}', "{"]},
    )
    refresh_journals(job)
    return job


def test_why_shows_each_rule_and_the_update(decided: Enricher) -> None:
    (by_id,), (by_cluster,) = access_why.why(decided, "a"), access_why.why(decided, "4711")
    assert by_id == by_cluster
    assert [step.rule.name for step in by_id.steps] == list(NAMES)
    holdings = next(step for step in by_id.steps if step.rule.name == "journal_holdings")
    assert holdings.outcome == "declined"
    assert holdings.saw == {"journal": "Acta", "holdings": ["2010-now"], "published": 2005, "this_year": 2026}
    assert by_id.update is not None and by_id.update["fulltext_info_ss"] == {"set": "none"}
    assert by_id.stored is None and access_why.why(decided, "nobody") == []
    (open_,) = access_why.why(decided, "o")
    assert [step.outcome for step in open_.steps[:4]] == ["declined", "declined", "answered", "not reached"]
    enrich(decided, "full")
    (then,) = access_why.why(decided, "a")
    assert then.update is None and then.stored is not None and then.stored.rule == "none"


def test_what_if_other_rules(decided: Enricher, collection: Collection) -> None:
    before = collection.all()
    found = access_why.what_if(decided, left_out=["fulltext_openaccess"])
    assert (found.documents, found.changed) == (3, 1)
    assert found.changes == {"dtupub,dtu -> none (none)": 1}
    assert found.samples[0].before == "dtupub, dtu by fulltext_openaccess"
    assert collection.all() == before


def test_what_if_other_journals(decided: Enricher, run: Any, tmp_path: Path) -> None:
    content = json.dumps([HELD | {"holdings_ssf": ['{"fromyear": "2000"}']}]).encode()
    assumed = access_why.read_journals(content, "journals")
    assert access_why.what_if(decided, journals=assumed).changes == {"none -> dtu (sfx)": 1}
    for wrong in (b"{", b"{}", b"[1]", b"[" * 100_000, b"\xff"):
        with pytest.raises(access_why.BadJournals, match="a JSON array of journals is needed"):
            access_why.read_journals(wrong, "journals")
    file = tmp_path / "journals.json"
    file.write_bytes(content)
    assert "1 of 3 documents would change" in run("access", "what-if", "--journals", str(file)).output
    assert "cannot be read" in run("access", "what-if", "--journals", str(tmp_path / "none")).output


def test_what_if_another_day(job: Enricher, collection: Collection) -> None:
    collection.add(HELD | {"holdings_ssf": ['{"fromyear": "2000"}']}, ARTICLE | {"pub_date_tis": [2028]})
    refresh_journals(job)
    assert access_why.what_if(job, day=date(2027, 12, 31)).changed == 0
    assert access_why.what_if(job, day=date(2028, 1, 1)).changes == {"none -> dtu (sfx)": 1}


def test_what_if_stops_when_it_is_told_to(decided: Enricher, make: Make) -> None:
    stop, seen = threading.Event(), []
    job = make(page_size=1)

    def show(found: access_why.WhatIf) -> None:
        seen.append(found.documents)
        stop.set()

    assert access_why.what_if(job, left_out=["fulltext_openaccess"], show=show, stop=stop).documents == seen[-1] < 4


@pytest.fixture
def run(make: Make, pool: Pool) -> Any:
    app = Commands("The enricher.")

    @contextmanager
    def session() -> Iterator[Any]:
        yield SimpleNamespace(config=Config(metastore={"dtu": make().settings}), pool=pool, clock=lambda: NOW)

    access.mount(app, session)
    return lambda *arguments: CliRunner().invoke(app, list(arguments))


def test_commands(run: Any, decided: Enricher, collection: Collection) -> None:
    dry = run("enrich", "full", "--dry-run")
    assert dry.exit_code == 0 and "would change 3" in dry.output and collection.access()["a"][1] == ()
    done = run("enrich", "partial", "--json")
    assert json.loads(done.stdout)["counts"]["applied"] == 3
    why = run("access", "why", "o")
    assert why.exit_code == 0 and "fulltext_openaccess" in why.output and "bad data" in why.output
    assert json.loads(run("access", "why", "a", "--json").stdout)[0]["decision"]["rule"] == "none"
    assert run("access", "why", "nobody").exit_code == 1
    assert "1 of 3 documents would change" in run("access", "what-if", "--without", "fulltext_openaccess").output
    assert "there is no rule 'x'" in run("access", "what-if", "--without", "x").output
    assert "1 journals read" in run("journals", "refresh").output
    assert json.loads(run("journals", "refresh", "--json").stdout)["changed"] == 0
    assert "no run is in progress" in run("access", "stop").output
    assert json.loads(run("access", "stop", "--json").stdout) == {"endpoint": "dtu", "asked": 0}
    assert "0 journals to mend" in run("journals", "invalid").output
    assert "not an endpoint" in run("enrich", "full", "--endpoint", "http://localhost:1").output
