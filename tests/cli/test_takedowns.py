"""`harvester takedown`: what a person types, what they are shown, and what must be said twice."""

import html
import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests

from harvester_dagster.publication.takedowns import A_DAY
from harvester_dagster.releases import release
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.takedown_pages import TakedownPages
from tests.cli.conftest import Run
from tests.sets.conftest import open_world, source, world
from tests.sets.world import KEY, World, commanded
from tests.web.listening import listening

__all__ = ["open_world", "source", "world"]
SRN = f"{KEY}:a"


@pytest.fixture
def shown(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """Three documents; one of them is in another set, too."""
    commanded(world, folder, monkeypatch)
    world.source.put("a", "b", "c")
    world.source.put("a", spec="two")
    world.night()
    world.night("src:two")
    release.release(world.installation, by_hand=True)
    return world


def said(run: Run, *line: str, code: int = 0) -> Any:
    result = run("takedown", *line, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_look_take_list_and_undo(shown: World, run: Run) -> None:
    looked = said(run, SRN, "--dry-run")
    assert looked["taken_down"] is None and "a" in shown.outputs()
    assert looked["goes"][0] == SRN and len(looked["goes"]) == 2
    assert f"goes: {looked['goes'][1]}" in run("takedown", SRN, "--dry-run").stdout
    assert [one["srn"] for one in looked["same"]["found"]] == ["src:two:a"]
    text = run("takedown", SRN, "--reason", "case 12").stdout
    assert "2 documents taken down" in text and "stays: src:two:a has the same id" in text
    assert "a" not in shown.outputs() and "a" in shown.outputs("src:two")
    (listed,) = said(run)
    assert (listed["srn"], listed["reason"], listed["purge"]) == (SRN, "case 12", "none")
    assert "case 12" in run("takedown").stdout
    assert any(stage["stage"] == "takedown" for stage in json.loads(run("why", SRN, "--json").stdout))
    assert said(run, SRN, "--undo")["documents"] == 2
    assert "a" in shown.outputs() and said(run) == []


def test_a_purge_and_its_undoing(shown: World, run: Run) -> None:
    assert said(run, SRN, "--reason", "case 12", "--purge")["purge"] == "done"
    assert shown.rows("SELECT FROM body JOIN document USING (doc_id) WHERE external_id = 'a' AND set_id = 1") == []
    assert run("takedown", SRN, "--undo").exit_code == 0
    release.release(shown.installation, by_hand=True)
    assert "a" in shown.outputs()


def test_a_source_that_is_away_is_asked_by_saying_it_once_more(shown: World, run: Run) -> None:
    said(run, SRN, "--reason", "case 12", "--purge")
    shown.source.records["one"]["kept"] = shown.source.records["one"].pop("a")
    shown.source.status = 503
    away = run("takedown", SRN, "--undo")
    assert away.exit_code == 1 and "0 documents are shown again" in away.stdout and "once more" in away.stderr
    shown.source.status = 200
    shown.source.records["one"]["a"] = shown.source.records["one"].pop("kept")
    assert said(run, SRN, "--undo")["asked"]["did"] == "new"
    refused = run("takedown", SRN, "--undo")
    assert refused.exit_code == 1 and "is not taken down" in refused.stderr


def test_what_is_asked_for_is_listed_and_given_up(shown: World, run: Run) -> None:
    said(run, SRN, "--reason", "case 12", "--purge")
    shown.source.status = 503
    assert run("takedown", SRN, "--undo").exit_code == 1
    listed = run("takedown").stdout
    assert f"{SRN}: its source is asked for it since" in listed
    assert said(run, SRN, "--ask-no-more") == {"srn": SRN, "asked_no_more": True}
    assert SRN not in run("takedown").stdout and shown.rows("SELECT FROM asked_anew") == []
    refused = run("takedown", SRN, "--ask-no-more")
    assert refused.exit_code == 1 and "nobody asks" in refused.stderr
    acts = shown.rows("SELECT subject, outcome FROM audit WHERE act = 'ask no more' ORDER BY audit_id")
    assert acts == [(SRN, "done"), (SRN, "refused")]


def test_what_is_unreadable_at_its_source_is_not_to_be_published(shown: World, run: Run) -> None:
    said(run, SRN, "--reason", "case 12", "--purge")
    shown.source.spoil("a")
    undone = run("takedown", SRN, "--undo")
    told = " ".join(undone.stderr.split())
    assert undone.exit_code == 1 and "cannot be read" in told and "harvester release" not in told


def test_at_a_terminal_it_is_asked_whether_the_same_record_goes_too(shown: World) -> None:
    for answer, there in ((b"n\n", True), (b"y\n", False)):
        ours, theirs = pty.openpty()
        line = [sys.executable, "-m", "harvester_dagster.cli.main", "takedown", SRN, "--reason", "case 12"]
        process = subprocess.Popen(line, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE)
        os.write(ours, answer)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        assert "Take src:two:a down, too?" in os.read(ours, 65536).decode()
        assert "a" not in shown.outputs() and ("a" in shown.outputs("src:two")) is there
        os.close(ours)
        os.close(theirs)


def test_what_a_page_prints_and_nobody_has_filled_in_does_nothing(shown: World, run: Run) -> None:
    installation = shown.installation
    routes = [*DocumentPages(installation, "").routes(), *TakedownPages(installation, "").routes()]
    with listening(routes, installation.config.web) as url:
        page = requests.get(f"{url}/document/", params={"srn": SRN}, timeout=60).text
        for form in ({}, {"purge": "yes"}):
            page += requests.post(f"{url}/document/takedown/look", data={"srn": SRN, **form}, timeout=60).text
    printed = {html.unescape(re.sub("<[^>]*>", "", line)) for line in re.findall("<code>(harvester .*?)</code>", page)}
    acts = [words for line in printed if (words := shlex.split(line)[1:])[0] in {"takedown", "overwrite"}]
    assert len(acts) == 3
    for words in acts:
        refused = run(*words)
        assert refused.exit_code == 1 and refused.stderr.strip(), words
    assert "a" in shown.outputs() and said(run) == [] and shown.one("SELECT count(*) FROM overwrite") == 0


def test_what_is_refused(shown: World, run: Run) -> None:
    for line in ((SRN,), (SRN, "--undo"), (f"{KEY}:none", "--reason", "x"), (SRN, "--reason", "…", "--purge")):
        assert run("takedown", *line).exit_code == 1, line
    part = shown.one("SELECT min(external_id) FROM document WHERE owner_id IS NOT NULL AND set_id = 1")
    refused = run("takedown", f"{KEY}:{part}", "--reason", "x")
    assert refused.exit_code == 1 and SRN in refused.stderr
    shown.change(
        """INSERT INTO audit (at, actor, act, subject, address, outcome)
           SELECT now(), 'cli:ada', 'takedown', 's' || n, '', 'done' FROM generate_series(1, %s) n""",
        A_DAY,
    )
    refused = run("takedown", SRN, "--reason", "x")
    assert refused.exit_code == 1 and "--confirm" in refused.stderr and "a" in shown.outputs()
    assert run("takedown", SRN, "--reason", "x", "--confirm").exit_code == 0 and "a" not in shown.outputs()
