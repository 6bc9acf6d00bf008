"""Bringing an index up to a version, and promoting it: on a real OpenSearch."""

import random
from typing import Any

import pytest

from harvester_dagster.releases import release
from harvester_dagster.search import aliases, build
from harvester_dagster.search.build import EntityReport, IndexReport
from harvester_dagster.sets.versions import NotPromotable
from tests.search.conftest import OpenWorld
from tests.search.world import World, product


def _ready(report: IndexReport) -> EntityReport:
    assert (report.outcome, report.reason) == ("ready", "")
    (entity,) = report.entities
    return entity


def _release(world: World) -> EntityReport:
    version = world.prepare()
    made = _ready(build.bring_up(world.installation, version))
    assert release.publish(world.installation, version).behind == ""
    return made


def _many(count: int, title: str = "Boek") -> dict[str, dict[str, Any] | None]:
    return {f"p{n}": product(f"p{n}", f"{title} {n}") for n in range(count)}


def _conflict(name: str, title: str) -> dict[str, Any]:
    """A document that the mapping does not take: terms that are no object."""
    return {**product(name, title), "study_vocabulary": ["no object"]}


def test_a_first_version_is_built_verified_and_shown(world: World) -> None:
    world.accept(_many(30))
    made = _release(world)
    assert (made.how, made.documents, made.added, made.rejected) == ("full", 30, 30, 0)
    assert made.name == f"{world.alias}--main-1"
    assert world.aliased() == {made.name}
    assert world.shown()["a:one:p7"] == "Boek 7"


def test_a_next_version_is_a_clone_with_only_the_difference(world: World) -> None:
    world.accept(_many(30))
    first = _release(world)
    world.accept({"p1": product("p1", "Anders"), "p2": None, "new": product("new", "Nieuw")})
    made = _release(world)
    assert (made.how, made.added, made.changed, made.removed, made.documents) == ("clone", 1, 1, 1, 30)
    shown = world.shown()
    assert (shown["a:one:p1"], shown["a:one:new"], "a:one:p2" in shown) == ("Anders", "Nieuw", False)
    assert world.shown(first.name)["a:one:p1"] == "Boek 1"


def test_an_index_that_holds_the_version_is_looked_at_and_left_alone(world: World) -> None:
    world.accept(_many(5))
    _release(world)
    before, current = world.indices(), world.current()
    assert current is not None
    assert _ready(build.bring_up(world.installation, current)).how == "kept"
    assert world.indices() == before


def test_a_delta_that_is_most_of_the_set_is_built_anew(world: World) -> None:
    world.accept(_many(10))
    _release(world)
    world.accept(_many(8, "Nieuw"))
    assert _release(world).how == "full"


def test_changed_settings_build_the_current_version_anew_beside_it(world: World, open_world: OpenWorld) -> None:
    world.accept(_many(5))
    first = _release(world)
    current = world.current()
    assert current is not None
    with open_world(shards=2) as changed:
        made = _ready(build.bring_up(changed.installation, current))
        assert (made.how, made.name) == ("full", f"{first.name}-r2")
        assert changed.aliased() == {first.name}
        assert aliases.move(changed.installation) == ""
        assert changed.aliased() == {made.name}
        assert first.name not in changed.indices()


def test_random_histories_by_clones_end_as_the_version_says(world: World, seed: int) -> None:
    own = random.Random(seed)
    expected: dict[str, str] = {}
    world.accept(_many(40))
    expected |= {f"a:one:p{n}": f"Boek {n}" for n in range(40)}
    hows = [_release(world).how]
    for step in range(4):
        changes: dict[str, dict[str, Any] | None] = {}
        for n in own.sample(range(50), 8):
            srn, title = f"a:one:p{n}", f"Stap {step} {n}"
            if srn in expected and own.random() < 0.4:
                changes[f"p{n}"] = None
                del expected[srn]
            else:
                changes[f"p{n}"] = product(f"p{n}", title)
                expected[srn] = title
        world.accept(changes)
        hows.append(_release(world).how)
        assert world.shown() == expected
    assert hows == ["full", "clone", "clone", "clone", "clone"]


def test_a_document_that_the_mapping_refuses_is_named_and_the_rest_goes_on(world: World) -> None:
    world.accept({**_many(8), "bad": _conflict("bad", "Fout")})
    made = _release(world)
    assert (made.documents, made.rejected) == (8, 1)
    assert made.examples[0].srn == "a:one:bad"
    assert "mapper_parsing_exception" in made.examples[0].reason


def test_one_that_was_fine_and_is_refused_now_is_out(world: World) -> None:
    world.accept(_many(8))
    _release(world)
    world.accept({"p3": _conflict("p3", "Fout")})
    made = _release(world)
    assert (made.how, made.documents, made.rejected) == ("clone", 7, 1)
    assert "a:one:p3" not in world.shown()


def test_what_was_refused_is_sent_again_at_the_next_release(world: World) -> None:
    world.accept({**_many(8), "bad": _conflict("bad", "Fout")})
    first = _release(world)
    world.client.indices.put_settings(index=first.name, body={"index.blocks.write": None})
    with world.installation.pool.connection() as connection:  # as if the server had refused it for a passing reason
        connection.execute("UPDATE search_rejected SET doc_id = (SELECT doc_id FROM document WHERE external_id = 'p1')")
    world.client.delete(index=first.name, id="a:one:p1", refresh=True)
    world.accept({"bad": product("bad", "Goed"), "p2": product("p2", "Twee")})
    made = _release(world)
    assert (made.how, made.documents, made.rejected) == ("clone", 9, 0)
    assert {"a:one:p1", "a:one:bad"} <= world.shown().keys()


def test_it_is_sent_again_when_no_set_has_moved(world: World) -> None:
    world.accept(_many(4))
    made = _release(world)
    world.client.delete(index=made.name, id="a:one:p1", refresh=True)
    with world.installation.pool.connection() as connection:
        lacking = "SELECT %s, doc_id, 'too busy' FROM document WHERE external_id = 'p1'"
        connection.execute(f"INSERT INTO search_rejected {lacking}", (made.name,))
    current = world.current()
    assert current is not None
    again = _ready(build.bring_up(world.installation, current))
    assert (again.how, again.documents, again.rejected) == ("kept", 4, 0)


def test_an_identifier_that_is_too_long_for_the_server_costs_itself_only(world: World) -> None:
    name = "x" * 600
    world.accept({**_many(20), name: product(name, "Lang")})
    made = _release(world)
    assert (made.documents, made.rejected) == (20, 1)
    assert "Validation Failed" in made.examples[0].reason


def test_too_many_refusals_leave_everything_as_it_was(world: World) -> None:
    world.accept(_many(10))
    first = _release(world)
    world.accept({f"b{n}": _conflict(f"b{n}", "Fout") for n in range(5)})
    version = world.prepare()
    report = build.bring_up(world.installation, version)
    assert report.outcome == "failed"
    assert "more than 3 documents are refused" in report.reason
    with pytest.raises(NotPromotable, match="is not announced"):
        release.publish(world.installation, version)
    current = world.current()
    assert current is not None
    assert current.version_id == 1
    assert world.indices() == world.aliased() == {first.name}


def test_refusals_tell_nothing_of_what_a_document_holds(world: World) -> None:
    """They are told to Dagster, and kept there; its own row has all that the server said."""
    odd = {"study_vocabulary": {"keyword": {"Zeldzaamwoord": 1}}}
    refused = {f"b{n}": {**product(f"b{n}", "Titel"), **odd} for n in range(5)}
    world.accept({**_many(10), "b0": refused["b0"]})
    assert "Zeldzaamwoord" in _release(world).examples[0].reason
    world.accept({**refused})
    report = build.bring_up(world.installation, world.prepare())
    assert "documents are refused" in report.reason and "study_vocabulary" in report.reason
    assert "Zeldzaamwoord" not in report.reason


def test_an_index_that_somebody_changed_is_found_out_and_made_anew(world: World) -> None:
    world.accept(_many(6))
    first = _release(world)
    body = world.client.get(index=first.name, id="a:one:p1")["_source"]
    world.client.index(index=first.name, id="a:one:p2", body=body, refresh=True)
    current = world.current()
    assert current is not None
    made = _ready(build.bring_up(world.installation, current))
    assert (made.how, made.name) == ("full", f"{first.name}-r2")


def test_an_index_is_gone_from_the_server_and_comes_back(world: World) -> None:
    world.accept(_many(3))
    first = _release(world)
    world.client.indices.delete(index=first.name)
    current = world.current()
    assert current is not None
    assert "no index holds version 1" in aliases.reconcile(world.installation)
    assert _ready(build.bring_up(world.installation, current)).how == "full"
    assert aliases.reconcile(world.installation) == ""
    assert len(world.shown()) == 3


def test_languages_have_their_analyzers(world: World) -> None:
    world.accept(
        {
            "nl": product("nl", "Boeken"),
            "en": product("en", "Forests", language="en"),
            "de": product("de", "Wälder", language="de"),
        }
    )
    made = _release(world)

    def found(field: str, words: str) -> set[str]:
        hits = world.client.search(index=made.name, body={"query": {"match": {field: words}}})["hits"]["hits"]
        return {hit["_id"] for hit in hits}

    assert found("texts.nl.titles.text.analyzed", "boek") == {"a:one:nl"}
    assert found("texts.en.titles.text.analyzed", "forest") == {"a:one:en"}
    assert found("texts.unk.titles.text", "wälder") == {"a:one:de"}
    assert found("texts.unk.titles.text.folded", "walder") == {"a:one:de"}


def test_outputs_that_were_stored_without_their_form_get_it_on_the_way(world: World) -> None:
    """As those of a version that was made before there was such a form."""
    changes = _many(3) | {"odd": {**product("odd", "Odd"), "publisher_date": "2020", "doi": "https://doi.org/10.1/x"}}
    world.accept(changes, as_before=True)
    report = build.bring_up(world.installation, world.prepare())
    assert (report.outcome, report.entities[0].documents) == ("ready", 4)
    (name,) = world.indices()
    found = world.client.get(index=name, id="a:one:odd")["_source"]
    assert (found["publisher_date"], found["published_at"], found["doi"]) == ("2020-01-01", "2020-01-01", "10.1/x")
    assert "entity" not in found
