"""Where else a record may be: however its DOI is written, and whatever thousands of addresses share with it."""

from typing import Any

import pytest

from harvester_dagster.explain import same_record, why
from harvester_dagster.explain.same_record import MOST_SHARING, Others
from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from tests.sets.world import KEY, World

WRITTEN = (
    *("10.1234/Abc(1)", "DOI 10.1234/abc(1)", "doi: 10.1234/ABC(1)", "https://doi.org/10.1234/abc(1)."),
    *("https://dx.doi.org/doi:10.1234/abc(1)", "https://doi.org/10.1234%2Fabc%281%29", "urn:doi:10.1234/abc(1)"),
    *("https://doi.org/10.1234/abc(1)?x=1", "http://doi.org/10.1234/abc(1)#top", "info:doi/10.1234/abc(1)"),
)
ANOTHER = ("10.1234/abc(12)", "10.12345/abc(1)", "https://doi.org/10.1234/xabc(1)", "abc(1)")


def others(world: World, name: str, **options: Any) -> Others:
    with world.installation.pool.connection() as connection:
        found = why.look_up(world.installation, connection, f"{KEY}:{name}")
    return same_record.others(world.installation, found, **options)


def named(found: Others) -> dict[str, str]:
    return {one.srn.removeprefix(f"{KEY}:"): one.both_have for one in found.found}


def test_a_doi_is_the_same_however_it_is_written(world: World) -> None:
    for number, written in enumerate(WRITTEN):
        world.source.put(f"s{number}", doi=written, files=())
    for number, written in enumerate(ANOTHER):
        world.source.put(f"o{number}", doi=written, files=())
    world.night()
    names = {f"s{number}" for number in range(len(WRITTEN))}
    for name in names:
        found = others(world, name)
        assert named(found) == dict.fromkeys(names - {name}, "the same DOI"), name
        assert found.is_whole and found.unseen == ()


def test_what_is_no_doi_is_compared_as_it_is(world: World) -> None:
    for name, written in (("a", "Nr. 7/x"), ("b", "NR. 7/X"), ("c", "Nr. 7/xy")):
        world.source.put(name, doi=written, files=())
    world.night()
    assert named(others(world, "a")) == {"b": "the same DOI"}


@pytest.fixture
def shared(world: World) -> World:
    """A record whose DOI a second one has, whose address a third one, and whose file's content a fourth one."""
    world.source.put("a", doi="10.1234/abc", files=("own", "shared/x"))
    world.source.put("b", doi="10.1234/abc", files=("x",))
    world.source.put("c", files=("shared/x",))
    world.source.put("d", files=("twin",))
    world.night()
    base = f"{world.source.url}/files"
    world.change("DELETE FROM harvester.fetch")
    for url in (f"{base}/a/own", f"{base}/d/twin"):
        world.change(
            "INSERT INTO harvester.fetch (url, ok, digest, fetched_at) VALUES (%s, true, 'same', %s)", url, world.now
        )
    return world


def sharing(world: World, first: int, last: int) -> None:
    world.change(
        """INSERT INTO harvester.fetch (url, ok, digest, fetched_at)
           SELECT 'https://login.example.org/' || n, true, 'same', now() FROM generate_series(%s::int, %s::int) n""",
        *(first, last),
    )


def test_a_content_that_many_addresses_have_is_left_out_and_said(shared: World) -> None:
    by_name = {"b": "the same DOI", "c": "the same address"}
    by_content = {"d": "the same content behind an address"}
    assert named(others(shared, "a")) == by_name | by_content
    sharing(shared, 1, MOST_SHARING - 1)
    assert named(others(shared, "a")) == by_name | by_content
    sharing(shared, MOST_SHARING, 50_000)
    found = others(shared, "a")
    assert named(found) == by_name and found.is_whole
    assert found.unseen == ("a content that is behind more than 100 other addresses was not compared",)


def test_what_takes_too_long_takes_nothing_along_of_what_was_found(shared: World) -> None:
    found = others(shared, "a", seconds=60)
    assert found.is_whole
    shared.change("ALTER TABLE harvester.fetch RENAME TO fetched")
    shared.change("CREATE VIEW harvester.fetch AS SELECT f.* FROM harvester.fetched f, pg_sleep(3)")
    cut = others(shared, "a", seconds=1)
    assert named(cut) == {"b": "the same DOI", "c": "the same address"}
    assert not cut.is_whole and cut.unseen == ("there was no time to look for the same content elsewhere",)


def test_of_what_was_purged_nothing_is_left_to_compare(shared: World) -> None:
    ((doc_id, set_id),) = shared.rows("SELECT doc_id, set_id FROM document WHERE external_id = 'a'")
    taking_down.take_down(shared.installation, Named(doc_id, set_id, f"{KEY}:a"), "case 12", purge=True)
    found = others(shared, "a")
    assert not found.is_whole and found.unseen == ("nothing of it is kept that could be compared",)
