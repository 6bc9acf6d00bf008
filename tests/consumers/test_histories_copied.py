"""Whatever is harvested, promoted, rolled back, taken down and cleaned away, whoever reads pages ends with exactly what
is current: slow readers, readers that stop in the middle, readers that come back after the retention."""

import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester_dagster.releases import taking_down
from harvester_dagster.releases.taking_down import Named
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import NotPromotable
from harvester_dagster.tasks import check_url, normalize_publisher_year
from tests.consumers.copies import Copy, FeedReader, SinceReader, Walker, client_of
from tests.sets.conftest import source
from tests.sets.scripted_source import ScriptedSource
from tests.sets.test_histories import SETS, History, Step, beginning, fresh_world, keys, names, step
from tests.sets.world import World, catalog

__all__ = ["source"]
FEEDS = 3

consumed = st.one_of(
    step,
    step,
    st.tuples(st.sampled_from(["release", "rollback", "release"])),
    st.tuples(st.just("feed"), st.integers(0, FEEDS - 1), st.booleans()),
    st.tuples(st.sampled_from(["since", "walk", "walk"])),
    st.tuples(st.sampled_from(["take down", "take down", "bring back"]), keys, names),
)


class ConsumedHistory(History):
    def __init__(self, world: World, page_size: int) -> None:
        super().__init__(world)
        client = client_of(world.installation)
        self.feeds = [FeedReader(client, page_size) for _ in range(FEEDS)]
        self.reader, self.walker = SinceReader(client, page_size), Walker(client, page_size)
        self.taken = set[str]()

    def shown(self) -> Copy:
        with self.world.installation.pool.connection() as connection:
            current = versions.current(connection)
        if current is None:
            return {}
        outputs = (self.outputs_of(current.version_id, key) for key in SETS)
        shown = {body["srn"]: body for each in outputs for body in each.values()}
        assert not [srn for srn in shown for taken in self.taken if srn == taken or srn.startswith(f"{taken}:")]
        return shown

    def named(self, key: str, name: str) -> Named | None:
        found = self.world.rows(
            "SELECT doc_id, set_id FROM document WHERE set_id = %s AND external_id = %s", self.set_id(key), name
        )
        return Named(*found[0], f"{key}:{name}") if found else None

    def take_down(self, key: str, name: str) -> None:
        if named := self.named(key, name):
            taking_down.take_down(self.world.installation, named, "A case", confirmed=True)
            self.taken.add(named.srn)
            self.walker.forget(named.srn)

    def bring_back(self, key: str, name: str) -> None:
        named = self.named(key, name)
        if named and named.srn in self.taken:
            taking_down.undo(self.world.installation, named)
            self.taken.discard(named.srn)

    def rollback(self) -> None:
        with self.world.installation.pool.connection() as connection:
            try:
                earlier = versions.before_current(connection)
            except NotPromotable:
                return
        versions.promote(self.world.installation, earlier, rollback=True)
        with self.world.installation.pool.connection() as connection:
            versions.end_hold(connection)

    def feed(self, number: int, wholly: bool) -> None:
        if not wholly:
            self.feeds[number].read_page()
            return
        self.feeds[number].catch_up()
        if self.feeds[number].next is None:
            self.feeds[number].catch_up()  # it may have gone on with an older walk
        assert self.feeds[number].copy == self.shown()

    def since(self) -> None:
        self.reader.catch_up()
        assert self.reader.copy == self.shown()

    def walk(self) -> None:
        self.walker.read_page(self.shown())

    def finished(self) -> None:
        self.release()
        for number in range(FEEDS):
            self.feed(number, True)
        self.since()


@settings(
    max_examples=settings.default.max_examples // 5,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(history=st.lists(consumed, min_size=8, max_size=30), page_size=st.sampled_from([1, 2, 3, 1000]))
def test_who_applies_pages_ends_with_exactly_the_current_version(
    postgres_url: str,
    migrated: str,
    source: ScriptedSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    history: list[Step],
    page_size: int,
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path / uuid.uuid4().hex))
    tasks = catalog(check_url.TASK, normalize_publisher_year.TASK)
    options: dict[str, Any] = {"deletes": "no", "min_documents": 3, "max_shrink": 0.5}
    with fresh_world(postgres_url, migrated, source, catalog=tasks, **options) as world:
        told = ConsumedHistory(world, page_size)
        told.feed(0, True)
        for what in [*beginning, ("night", SETS[0], None), ("release",), *history, ("night", SETS[1], None)]:
            told.do(*what)
        told.finished()
