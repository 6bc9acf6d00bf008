"""Every source of `demo/cases`, harvested whole: what must come out stands in `expected_cases.json`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harvester_dagster.demo import served_cases
from harvester_dagster.demo.server import SampleServer, serve
from harvester_dagster.sets import steps
from harvester_dagster.sets.attempts import Mode
from tests.sets.world import DAY, NIGHT, World, opened_world

EXPECTED: Mapping[str, Mapping[str, Any]] = json.loads(Path(__file__).with_name("expected_cases.json").read_bytes())


@pytest.fixture(scope="module")
def server() -> Iterator[SampleServer]:
    with serve(now=lambda: NIGHT, slowness=0) as running:
        yield running


def test_every_case_has_its_expectation() -> None:
    assert served_cases.names() == sorted(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_source_of_the_field(
    name: str, database: str, server: SampleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    case = served_cases.read(name)
    source: Any = SimpleNamespace(url=f"{server.url}/cases/{name}", now=NIGHT)
    settings = {"kind": case["kind"], "sets": [case["set"]], "min_documents": 1000}
    if case["kind"] == "oai-pmh":
        settings["metadata_prefix"] = case["metadata_prefix"]
    server.reset()
    with opened_world(database, source, **settings) as world:
        (key,) = (row[0] for row in world.rows("SELECT key FROM harvest_set"))
        for asked in case["harvests"]:
            check(world, key, asked, EXPECTED[name]["asks"][asked])
            if limit := EXPECTED[name]["asks"][asked].get("max_requests"):
                assert sum(server.requests().values()) <= limit
            world.forward(DAY)


MODES: Mapping[str, Mode] = {"full": "full", "delta": "delta", "again": "full"}


def check(world: World, key: str, asked: str, expected: Mapping[str, Any]) -> None:
    """One harvest, and whether it is what was expected."""
    before, watermark = live(world, key), world.state(key).watermark
    steps.harvest(world.installation, key, asked=MODES[asked])
    steps.documents(world.installation, key)
    steps.outputs(world.installation, key)
    steps.conclude(world.installation, key)
    attempt_id, state, reason = world.rows(
        "SELECT attempt_id, state, reason FROM attempt ORDER BY attempt_id DESC LIMIT 1"
    )[0]
    if expected.get("partial") or expected.get("error"):
        assert state == "failed" and live(world, key) == before and world.state(key).watermark == watermark
        for part in expected.get("error_contains", ()):
            assert part in reason
        return
    assert state == "accepted", reason
    assert world.state(key).watermark != watermark
    problems = world.rows("SELECT kind, external_id, reason FROM problem WHERE attempt_id = %s", attempt_id)
    unreadable = [(name, said) for kind, name, said in problems if kind == "unreadable"]
    notes = {name: said for kind, name, said in problems if kind == "note"}
    products = live(world, key)
    given = {name: title for name, title in expected.get("or_title", {}).items() if name in products}
    for name, title in given.items():
        assert products[name]["title"] == title
    if asked == "delta" and not expected["records"]:
        assert products == before
    elif "records" in expected:
        assert len(products) == expected["records"] + len(given)
    if "unreadable" in expected:
        assert len(unreadable) == expected["unreadable"] - len(given)
    assert {name for name in expected.get("unreadable_ids", ()) if name not in given} <= {
        name for name, _ in unreadable
    }
    for part in () if given else expected.get("unreadable_contains", ()):
        assert any(part in said for _, said in unreadable)
    assert set(expected.get("notes", ())) <= set(notes)
    for name, part in expected.get("note_has", {}).items():
        assert part in notes[name]
    if not (noted := expected.get("or_notes")) or not set(noted) <= set(notes):
        values(products, expected.get("values", {}))


def values(products: Mapping[str, Mapping[str, Any]], expected: Mapping[str, Mapping[str, Any]]) -> None:
    for name, fields in expected.items():
        for field, value in fields.items():
            found = products[name][field]
            assert found in value["any"] if isinstance(value, dict) else found == value, (name, field)


def live(world: World, key: str) -> dict[str, dict[str, Any]]:
    """The accepted products by external id, with what the expectations name."""
    state = world.state(key)
    found: dict[str, dict[str, Any]] = {}
    for entity, external_id, owner, text in world.rows(
        """SELECT r.entity, d.external_id, o.external_id, b.body FROM revision r JOIN document d USING (doc_id)
           JOIN body b USING (doc_id, from_gen) LEFT JOIN document o ON o.doc_id = d.owner_id
           WHERE r.set_id = %s AND r.from_gen <= %s AND (r.to_gen IS NULL OR r.to_gen > %s)
           ORDER BY d.owner_id NULLS FIRST, d.doc_id""",
        state.set_id,
        *[state.accepted_gen] * 2,
    ):
        properties = json.loads(text)["properties"]
        if entity == "products":
            found[external_id] = properties | {"access": []}
            found[external_id]["authors"] = [author["name"] for author in properties["authors"]]
        else:
            found[owner]["access"].append(properties["access_rights"])
    return found
