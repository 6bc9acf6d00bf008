"""Occurrences of values in the current version, and what the next night makes of them."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from harvester_dagster import canonical
from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.installation import USUAL, Installation
from harvester_dagster.releases import release, taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.releases.value_counts import count
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version
from harvester_dagster.tasks import normalize_publisher_year
from harvester_dagster.tasks.published import Counted
from harvester_dagster.tasks.task import Result
from harvester_dagster.vocabularies import current, publisher_year
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World, catalog
from tests.vocabularies.installations import Open


def output(year: int | None, disciplines: list[str], **results: Any) -> bytes:
    product = Enriched(
        "a:b:c",
        "a:b",
        "c",
        "active",
        {"title": "T", "publisher_year": year, "learning_material": {"disciplines": disciplines}},
        {task: Result("success", data, "", None, 1, Installation.clock()) for task, data in results.items()},
    )
    return canonical.encode(product_output(product, [], CATALOG.making("products", Config())))


def terms(*values: str) -> dict[str, list[str]]:
    return {"keyword": list(values), "nl": list(values), "en": list(values)}


OUTPUTS = [
    output(
        2025,
        ["a", "a", "b"],
        normalize_disciplines={"disciplines_normalized": terms("root")},
        lookup_study_vocabulary_parents={"study_vocabulary": terms("leaf", "top")},
        lookup_consortium_translations={"consortium": {"keyword": "C", "nl": None, "en": None}},
    ),
    output(
        1990,
        ["b"],
        normalize_disciplines={"disciplines_normalized": terms("root")},
        normalize_publisher_year={"publisher_year_normalized": "older-than"},
    ),
    output(None, []),
]


def test_each_product_counts_once_for_each_of_its_values(installed: Open) -> None:
    installation = installed()
    publish(installation, *OUTPUTS)
    assert count(installation) == {
        "study_vocabulary": {"leaf": 1, "top": 1},
        "disciplines": {"a": 1, "b": 2},
        "disciplines_normalized": {"root": 2},
        "consortium": {"C": 1},
        "publisher_year": {"2025": 1, "1990": 1, "older-than": 1},
    }


def publish(installation: Installation, *outputs: bytes) -> Version:
    """The next generation of one set holds these products; a version of it is current."""
    with installation.pool.connection() as connection:
        row = connection.execute(
            """INSERT INTO harvest_set (key, accepted_gen) VALUES ('a:b', 1)
               ON CONFLICT (key) DO UPDATE SET accepted_gen = harvest_set.accepted_gen + 1
               RETURNING set_id, accepted_gen"""
        ).fetchone()
        assert row is not None
        set_id, gen = row
        connection.execute("UPDATE output SET to_gen = %s WHERE to_gen IS NULL", (gen,))
        for number, output in enumerate(outputs):
            connection.execute(
                """INSERT INTO output (doc_id, set_id, entity, from_gen, published, hash, made_from)
                   VALUES (%s, %s, 'products', %s, %s, '', '')""",
                (number, set_id, gen, b'"suggest' in output),
            )
            connection.execute("INSERT INTO output_body VALUES (%s, %s, %s)", (number, gen, output.decode()))
    version = versions.prepare(installation)
    assert version is not None
    return versions.promote(installation, version)


def test_counts_follow_the_current_version_forth_and_back(installed: Open) -> None:
    installation = installed()
    first = publish(installation, *OUTPUTS)
    counts = count(installation)
    publish(installation, OUTPUTS[1])
    count(installation)
    known = current.load(installation.pool, installation.objects).vocabularies
    assert known.count("disciplines", "b") == 1
    assert known.count("study_vocabulary", "leaf") == 0
    versions.promote(installation, first, rollback=True)
    assert count(installation) == counts


def test_what_stays_is_not_counted_again(installed: Open) -> None:
    installation = installed()
    publish(installation, OUTPUTS[0])
    count(installation)
    with installation.pool.connection() as connection:
        connection.execute("UPDATE output_body SET body = '{}'")
    assert count(installation)["publisher_year"] == {"2025": 1}


def test_counts_of_a_version_that_is_no_longer_kept_are_made_anew(installed: Open) -> None:
    installation = installed()
    first = publish(installation, OUTPUTS[0])
    count(installation)
    publish(installation, OUTPUTS[1])
    with installation.pool.connection() as connection:
        connection.execute("DELETE FROM dataset_version WHERE version_id = %s", (first.version_id,))
    assert count(installation)["publisher_year"] == {"1990": 1, "older-than": 1}


def test_what_is_not_published_is_not_counted(installed: Open) -> None:
    installation = installed()
    publish(installation, OUTPUTS[0], b'{"title": null}')
    assert count(installation)["publisher_year"] == {"2025": 1}


def test_who_counts_holds_one_connection_of_the_pool(open_world: OpenWorld) -> None:
    world = open_world(catalog=catalog(normalize_publisher_year.TASK))
    world.source.put("a", publishedAt="2024-01-01")
    world.night()
    release.release(world.installation, by_hand=True)
    small = open_world(catalog=world.installation.catalog, limits=replace(USUAL, connections=1)).installation
    small.pool.timeout = 2
    assert count(small)["publisher_year"]["2024"] == 1


def test_without_a_current_version_nothing_is_counted(installed: Open) -> None:
    installation = installed()
    assert not any(count(installation).values())
    assert current.load(installation.pool, installation.objects).vocabularies.counts == {}


def test_tonights_years_stand_on_the_completed_harvest(installed: Open) -> None:
    installation = installed()
    before = current.load(installation.pool, installation.objects)
    assert publisher_year.root(before.vocabularies, 2025, 2026, 4) is None
    publish(installation, *OUTPUTS)
    count(installation)
    after = current.load(installation.pool, installation.objects)
    assert publisher_year.root(after.vocabularies, 2025, 2026, 4) == "2025"
    assert publisher_year.root(after.vocabularies, 2021, 2026, 4) == "older-than"
    assert after.version != before.version


def test_counts_alone_make_no_document_worth_another_look(installed: Open) -> None:
    installation = installed()
    publish(installation, OUTPUTS[1])
    count(installation)
    before = current.load(installation.pool, installation.objects)
    publish(installation, OUTPUTS[1], OUTPUTS[1])
    count(installation)
    after = current.load(installation.pool, installation.objects)
    assert after.vocabularies.count("disciplines", "b") == 2
    assert after.version == before.version


class Held:
    """Counts years, and waits in the thread that is to be seen at it."""

    def __init__(self) -> None:
        self.begun, self.goes_on, self.held = threading.Event(), threading.Event(), ""

    def years(self, year: Any) -> Iterator[str]:
        if threading.current_thread().name.startswith(self.held or "nobody"):
            self.begun.set()
            self.goes_on.wait(20)
        yield str(year)


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def shown(open_world: OpenWorld, held: Held) -> World:
    """Four documents of one year; all but one are counted."""
    counted = (Counted(publisher_year.FIELD, "publisher_year", held.years),)
    world = open_world(catalog=catalog(replace(normalize_publisher_year.TASK, counts=counted)), min_documents=1000)
    world.source.put("a", "b", "c", publishedAt="2024-01-01")
    world.night()
    release.release(world.installation, by_hand=True)
    world.source.put("d", publishedAt="2024-01-01")
    world.night()
    versions.promote(world.installation, _prepared(world))
    return world


def _prepared(world: World) -> Version:
    version = versions.prepare(world.installation)
    assert version is not None
    return version


def _named(world: World, name: str) -> Named:
    ((doc_id, set_id),) = world.rows("SELECT doc_id, set_id FROM document WHERE external_id = %s", name)
    return Named(doc_id, set_id, f"{KEY}:{name}")


def _kept(world: World) -> dict[str, int]:
    return dict(world.rows("SELECT value, count FROM vocabulary_count WHERE field = %s", publisher_year.FIELD))


def test_takedowns_wait_for_no_counting_and_are_counted(shown: World, held: Held) -> None:
    """Taken down, purged, and back, while all is counted: what is kept then is what is shown then."""
    taking_down.take_down(shown.installation, _named(shown, "b"), "x")
    held.held = "counting"
    with ThreadPoolExecutor(1, "counting") as beside:
        counting = beside.submit(count, shown.installation)
        assert held.begun.wait(20)
        taking_down.take_down(shown.installation, _named(shown, "a"), "x")
        taking_down.take_down(shown.installation, _named(shown, "d"), "x", purge=True)
        taking_down.undo(shown.installation, _named(shown, "b"))
        assert not counting.done(), "the takedowns waited for it"
        assert _kept(shown) == {"2024": 2}, "of what was counted before, `b` and `c`"
        held.goes_on.set()
        counts = counting.result(20)
    assert counts[publisher_year.FIELD] == {"2024": 2} and _kept(shown) == {"2024": 2}
    held.held = ""
    assert count(shown.installation)[publisher_year.FIELD] == {"2024": 2}
