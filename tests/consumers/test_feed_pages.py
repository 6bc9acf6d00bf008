"""What one page of the feed costs, where rows begin and end and nothing of them is shown otherwise."""

import pytest

from harvester_dagster.consumers import changes
from harvester_dagster.consumers.changes import ChangePage, FeedPlace
from tests.sets.conftest import open_world, source, world
from tests.sets.test_tasks import statements
from tests.sets.world import World

__all__ = ["open_world", "source", "world"]


def invalid(world: World, count: int) -> None:
    """So many documents whose outputs begin with the next generation, and are not published; behind them one that
    is."""
    world.source.put("a")
    world.night()
    world.change(
        """WITH made AS (
               INSERT INTO document (doc_id, set_id, entity, external_id)
               SELECT (SELECT max(doc_id) FROM document) + n, set_id, 'products', 'x' || n
               FROM harvest_set, generate_series(1, %s) n WHERE key = 'src:one' RETURNING *)
           INSERT INTO output (doc_id, set_id, entity, from_gen, published, hash, made_from)
           SELECT doc_id, set_id, entity, 2, external_id = 'x' || %s, '', '' FROM made""",
        count,
        count,
    )
    world.change(
        "INSERT INTO output_body (doc_id, from_gen, body) SELECT doc_id, 2, '{}' FROM output WHERE from_gen = 2"
    )
    world.change("ANALYZE output")


def page(world: World, place: FeedPlace, most: int) -> ChangePage:
    set_id = world.state().set_id
    with world.installation.reading.connection() as connection:
        between = changes.of_generations(connection, {set_id: 1}, {set_id: 2})
        return changes.page(connection, between, place, most, with_before=True)


@pytest.mark.parametrize("most", [1, 2, 100])
def test_rows_that_show_nothing_cost_few_statements(world: World, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    invalid(world, 3_000)
    with statements(monkeypatch) as sent:
        found = page(world, FeedPlace(), most)
    assert [each.srn for each in found.changes] == ["src:one:x3000"]
    assert len([each for each in sent if "rows AS" in each]) <= 10


def test_a_page_walks_only_so_far_and_says_where_the_next_begins(world: World) -> None:
    invalid(world, changes.MOST_WALKED + 2_000)
    first = page(world, FeedPlace(), 25)
    assert not first.changes and first.place is not None
    rest = page(world, first.place, 25)
    assert len(rest.changes) == 1 and rest.place is None


def test_what_fits_no_more_begins_the_next_page(world: World) -> None:
    """A statement reads more rows than changes fit: those behind are not lost."""
    invalid(world, 300)
    world.change("UPDATE output SET published = true WHERE from_gen = 2 AND doc_id % 10 = 0")
    there = world.one("SELECT count(*) FROM output WHERE from_gen = 2 AND published")
    found: list[str] = []
    place: FeedPlace | None = FeedPlace()
    while place is not None:
        one = page(world, place, 7)
        assert len(one.changes) <= 7
        found += [each.srn for each in one.changes]
        place = one.place
    assert len(found) == len(set(found)) == there
