"""`harvester find-person`: every place is found, and masking takes one author out, and nobody else."""

import json
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.releases import release
from tests.cli.conftest import Run
from tests.push.pushing import push
from tests.sets.conftest import open_world, source, world
from tests.sets.world import KEY, World, commanded

__all__ = ["open_world", "source", "world"]
ADA, BOB = (
    {"person": {"name": 'Ada "É" Lovelace', "email": "ada@example.org"}},
    {"person": {"name": "Bob", "email": "bob@example.org"}},
)


@pytest.fixture
def shown(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    commanded(world, folder, monkeypatch)
    world.source.put("a", authors=[ADA, BOB])
    world.source.put("b", title='By Ada "É" Lovelace', authors=[BOB])
    world.source.put("c", authors=[ADA])
    world.source.put("d", authors=[BOB])
    world.night()
    release.release(world.installation, by_hand=True)
    world.source.put("c", authors=[BOB])
    world.night()
    world.overwrite("d", {"subtitle": 'Ada "É" Lovelace'})
    release.release(world.installation, by_hand=True)
    push(world, world.source.record("e", authors=[ADA]), world.source.record("a", authors=[ADA, BOB]))
    return world


def asked(run: Run, *line: str) -> Any:
    result = run("find-person", *line, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_it_is_found_wherever_it_stands(shown: World, run: Run) -> None:
    found = {one["srn"]: set(one["places"]) for one in asked(run, 'ada "é" lovelace')["found"]}
    assert found[f"{KEY}:a"] >= {"shown", "kept", "pushed"} and found[f"{KEY}:b"] >= {"shown", "kept"}
    assert (
        found[f"{KEY}:c"] == {"kept", "page"} and found[f"{KEY}:e"] == {"pushed"} and "overwritten" in found[f"{KEY}:d"]
    )
    by_mail = asked(run, "ADA@example.org")["found"]
    assert {one["srn"] for one in by_mail} >= {f"{KEY}:a", f"{KEY}:c"}
    assert "shown" not in {place for one in by_mail for place in one["places"]}, "addresses are not published"
    assert asked(run, "Nobody of that name")["found"] == []
    assert run("find-person", "Ada").exit_code == 1


def test_it_is_found_in_every_form_and_in_what_is_kept_beside_documents(shown: World, run: Run) -> None:
    composed, decomposed, orcid = "Ren\u00e9 Stra\u00dfe", "Rene\u0301 STRASSE", "0000-0002-1825-009X"
    shown.source.contents["g/paper"] = f"By {decomposed}".encode()
    shown.source.put("f", title=composed, remarkOfNobody="Un mapped", authors=[ADA])
    shown.source.put("g", title=f"Of https://orcid.org/{orcid}", files=("paper",))
    shown.source.put("h", title=f"{decomposed}, {orcid.lower()}")
    shown.source.put("i", authors=[{"person": {"name": "Eve", "orcid": orcid}}, BOB])
    shown.night()
    shown.change("UPDATE result SET data = %s WHERE data->>'url' LIKE '%%g/paper'", json.dumps({"text": decomposed}))
    shown.change(
        """INSERT INTO problem (attempt_id, external_id, kind, reason)
           SELECT max(attempt_id), 'j', 'note', %s FROM attempt""",
        f"no name: {composed}",
    )
    for written in (composed, decomposed):
        found = {one["srn"]: set(one["places"]) for one in asked(run, written)["found"]}
        (paper,) = (srn for srn in found if srn.startswith(f"{KEY}:g:"))
        assert found.pop(paper) == {"result"}
        assert found == {f"{KEY}:f": {"kept", "page"}, f"{KEY}:h": {"kept", "page"}, f"{KEY}:j": {"problem"}}
    for written in (orcid, f"https://orcid.org/{orcid}/", f"http://ORCID.org/{orcid.lower()}"):
        assert [one["srn"] for one in asked(run, written)["found"]] == [f"{KEY}:g", f"{KEY}:h", f"{KEY}:i"]
        assert asked(run, written, "--mask", "--dry-run")["masked"] == [f"{KEY}:i"]
    assert asked(run, "un mapped")["found"] == [{"srn": f"{KEY}:f", "places": ["page"]}]


def test_it_is_found_in_all_else_that_is_kept(shown: World, run: Run) -> None:
    name = "Zoë Maréchal"
    (doc_id,) = (number for (number,) in shown.rows("SELECT doc_id FROM document WHERE external_id = 'b'"))
    put = {
        "takedown": ("INSERT INTO takedown (doc_id, set_id, at, actor, reason) VALUES (%s, 1, now(), 'x', %s)", doc_id),
        "asked": ("INSERT INTO asked_anew (doc_id, set_id, since, reason) VALUES (%s, 1, now(), %s)", doc_id),
        "index": (
            """WITH i AS (
                   INSERT INTO search_index (name, entity, definition, made_at) VALUES ('i', 'products', '', now()))
               INSERT INTO search_rejected (name, doc_id, reason) VALUES ('i', %s, %s)""",
            doc_id,
        ),
        "report": (
            """UPDATE task_report SET examples = json_build_array(json_build_array(%s::text, 'failure', %s::text))
               WHERE set_id = 1""",
            f"{KEY}:b",
        ),
    }
    for query, what in put.values():
        shown.change(query, what, f"of {name}")
    found = {one["srn"]: set(one["places"]) for one in asked(run, name)["found"]}
    assert found == {f"{KEY}:b": {*put}}
    shown.change("UPDATE attempt SET reason = %s WHERE attempt_id = 1", f"of {name}")
    body = json.dumps({"message": f"of {name}"})
    shown.change("INSERT INTO alert (cause, told_at, body) VALUES ('fallback x', now(), %s)", body)
    url = "https://example.org/Zo%C3%AB%20Mar%C3%A9chal.pdf"
    shown.change("INSERT INTO harvester.fetch (url, ok, fetched_at) VALUES (%s, false, now())", url)
    found = {one["srn"]: set(one["places"]) for one in asked(run, name)["found"]}
    assert found == {f"{KEY}:b": {*put}, KEY: {"harvest"}, "fallback x": {"alert"}, url: {"call"}}


def test_what_is_pushed_and_not_taken_is_named(shown: World, run: Run) -> None:
    assert asked(run, "ada@example.org", "--mask")["untaken"] == [f"{KEY}:e"]


def test_masking_takes_one_author_out_and_keeps_other_overwrites(shown: World, run: Run) -> None:
    shown.overwrite("a", {"subtitle": "Mine"})
    name = ADA["person"]["name"]
    assert asked(run, name, "--mask", "--dry-run")["masked"] == [f"{KEY}:a"]
    assert shown.outputs()["a"]["authors"][0]["name"] == name
    assert asked(run, name, "--mask")["masked"] == [f"{KEY}:a"]
    release.release(shown.installation, by_hand=True)  # which takes what was pushed, too
    made = shown.outputs()["a"]
    assert [author["name"] for author in made["authors"]] == ["Bob"] and made["subtitle"] == "Mine"
    assert name not in json.dumps(made, ensure_ascii=False)
    kept = shown.rows("SELECT body::text FROM overwrite UNION ALL SELECT fields::text FROM overwrite_log")
    assert "bob@example.org" not in str(kept), "what is not published of others is not kept for good"
    shown.source.put("a", title="Sent again", authors=[ADA, BOB])
    shown.night()
    assert [author["name"] for author in shown.outputs()["a"]["authors"]] == ["Bob"]
