"""Random histories of two sets that share files: what consumers see is what would be made from nothing, every time.

A history harvests, changes, deletes, spoils, rejects, accepts, dismisses, overwrites, cuts runs and lists short, lets
files come and go, promotes. After it, the incremental outputs must equal those made document by document, all that was
promoted must still read as it did, and any two versions must differ in exactly what differs.
"""

import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harvester_dagster.releases import release, retention
from harvester_dagster.sets import attempts, differences, remap, steps, versions
from harvester_dagster.sets.versions import Version
from harvester_dagster.tasks import check_url, normalize_publisher_year
from tests.databases import copied
from tests.sets.scripted_source import ScriptedSource
from tests.sets.world import World, catalog, check, check_objects, drawing, opened_world

SETS = ("src:one", "src:two")
Step = tuple[Any, ...]
Outputs = dict[str, dict[str, Any]]
BACK = {"added": "removed", "changed": "changed", "removed": "added"}

keys = st.sampled_from(SETS)
names = st.sampled_from("abcde")
paths = st.sampled_from(["shared/x", "shared/y", "p", "q"])
put = st.tuples(
    st.just("put"),
    keys,
    names,
    st.sampled_from(["One", "Two", None]),
    st.lists(paths, max_size=3, unique=True).map(tuple),
    st.sampled_from(["active", "active", "active", "draft"]),
    st.sampled_from(["2021-05-06", "1999"]),
)
step = st.one_of(
    put,
    put,
    put,
    st.tuples(st.sampled_from(["delete", "forget", "spoil"]), keys, names),
    st.tuples(st.just("file"), paths, st.sampled_from([200, 404, (200, "b"), 403])),
    st.tuples(st.just("overwrite"), keys, names, st.sampled_from([None, {"title": "By hand"}, {"subtitle": "Mine"}])),
    st.tuples(st.just("night"), keys, st.sampled_from([None, None, None, "full", "reset"])),
    st.tuples(st.just("night"), keys, st.none()),
    st.tuples(
        st.sampled_from(["cut", "source fails", "breaks off", "tasks", "accept", "dry run", "dismiss", "day work"]),
        keys,
    ),
    st.tuples(st.just("remap"), keys),
    st.tuples(st.sampled_from(["release", "wait", "wait long"])),
)
beginning = [("put", key, name, "One", ("shared/x", "p"), "active", "2021") for key in SETS for name in "abcd"]


class History:
    def __init__(self, world: World) -> None:
        self.world = world
        self.promoted: dict[int, dict[str, Outputs]] = {}

    def do(self, what: str, *rest: Any) -> None:
        getattr(self, what.replace(" ", "_"))(*rest)
        self.world.forward(timedelta(minutes=7))
        check(self.world)

    def put(self, key: str, name: str, title: str | None, files: tuple[str, ...], status: str, day: str) -> None:
        values = {"title": title, "files": files, "status": status, "publishedAt": day}
        self.world.source.put(name, spec=key[4:], **values)

    def delete(self, key: str, name: str) -> None:
        self.world.source.delete(name, spec=key[4:])

    def forget(self, key: str, name: str) -> None:
        self.world.source.records.get(key[4:], {}).pop(name, None)

    def spoil(self, key: str, name: str) -> None:
        self.world.source.spoil(name, spec=key[4:])

    def file(self, path: str, status: Any) -> None:
        for name in (path, *(f"{owner}/{path}" for owner in "abcde")):
            self.world.source.files[name] = status
            self.world.source.contents[name] = f"{name} {status}".encode()

    def overwrite(self, key: str, name: str, values: dict[str, Any] | None) -> None:
        known = self.world.rows("SELECT FROM document WHERE external_id = %s AND set_id = %s", name, self.set_id(key))
        if known:
            self.world.overwrite(name, values, key)

    def night(self, key: str, asked: Any) -> None:
        self.world.night(key, asked)

    def cut(self, key: str) -> None:
        steps.harvest(self.world.installation, key)
        steps.documents(self.world.installation, key)
        steps.tasks(self.world.installation, key, [self.world.installation.catalog.tasks[0]])

    def source_fails(self, key: str) -> None:
        self.world.source.status = 404
        self.world.night(key)
        self.world.source.status = 200

    def breaks_off(self, key: str) -> None:
        """In the middle of a list, which the next harvest goes on with."""
        self.world.source.page_size, self.world.source.breaks_at = 2, 1
        self.world.night(key)
        self.world.source.breaks_at = None

    def tasks(self, key: str) -> None:
        self.world.tasks(key)

    def accept(self, key: str) -> None:
        try:
            steps.accept(self.world.installation, key)
        except steps.NothingToAccept:
            return

    def dry_run(self, key: str) -> None:
        before = self.world.outputs(key)
        try:
            steps.candidate(self.world.installation, key)
        except steps.NothingToAccept:
            return
        assert self.world.outputs(key) == before

    def dismiss(self, key: str) -> None:
        try:
            steps.dismiss(self.world.installation, key)
        except steps.NothingToAccept:
            return

    def day_work(self, key: str) -> None:
        self.world.day_work(key)

    def release(self) -> None:
        version = release.prepare(self.world.installation)
        if version:
            versions.promote(self.world.installation, version)
            self.promoted[version.version_id] = {key: self.world.outputs(key) for key in SETS}
        retention.clean_up(self.world.installation)
        check_objects(self.world)

    def remap(self, key: str) -> None:
        """With the mapping as it was, what was accepted comes of it."""
        before = self.accepted(key)
        try:
            remap.remap(self.world.installation, key)
        except remap.NothingToRemap:
            return
        assert self.accepted(key) == before

    def accepted(self, key: str) -> list[tuple[Any, ...]]:
        state = self.world.state(key)
        return self.world.rows(
            """SELECT entity, external_id, state, hash FROM revision JOIN document USING (doc_id, set_id, entity)
               WHERE set_id = %s AND from_gen <= %s AND (to_gen IS NULL OR to_gen > %s) ORDER BY 1, 2""",
            state.set_id,
            state.accepted_gen,
            state.accepted_gen,
        )

    def wait_long(self) -> None:
        self.world.forward(timedelta(days=20))

    def wait(self) -> None:
        self.world.forward(timedelta(days=2))

    def set_id(self, key: str) -> int:
        return self.world.state(key).set_id

    def finished(self) -> None:
        """The promises, at the end."""
        self.release()
        check(self.world)
        for key in SETS:
            if self.is_up_to_date(key):
                assert self.world.outputs(key) == self.world.rebuilt(key), key
        kept = {version: seen for version, seen in self.promoted.items() if self.has(version)}
        for version, seen in kept.items():
            assert {key: self.outputs_of(version, key) for key in SETS} == seen
        for old in kept:
            for new in kept:
                self.compare(self.version(old), self.version(new), kept[old], kept[new])

    def is_up_to_date(self, key: str) -> bool:
        """Unless work of the day was rejected, or a harvest that was cut stands in its way."""
        with self.world.installation.pool.connection() as connection:
            newest = attempts.last(connection, self.set_id(key))
        return newest is None or not (
            newest.state in attempts.OPEN or (newest.mode == "derive" and newest.state == "rejected")
        )

    def has(self, version: int) -> bool:
        return bool(self.world.rows("SELECT FROM dataset_version WHERE version_id = %s", version))

    def version(self, version: int) -> Version:
        with self.world.installation.pool.connection() as connection:
            return versions.by_id(connection, version)

    def outputs_of(self, version: int, key: str) -> Outputs:
        return self.world.outputs(key, self.version(version).generations.get(self.set_id(key), 0))

    def compare(self, old: Version, new: Version, before: dict[str, Outputs], after: dict[str, Outputs]) -> None:
        with self.world.installation.pool.connection() as connection:
            listed = [*differences.listed(connection, old.generations, new.generations)]
            back = [*differences.listed(connection, new.generations, old.generations)]
            found = differences.counted(connection, old.generations, new.generations, len(listed))
        really = {}
        for key in SETS:
            for name in before[key].keys() | after[key].keys():
                was, is_now = before[key].get(name), after[key].get(name)
                if was != is_now:
                    really[f"{key}:{name}"] = "added" if was is None else "removed" if is_now is None else "changed"
        told = {change.srn: change.change for change in listed}
        assert told == really and len(listed) == len(really)
        assert {change.srn: change.change for change in back} == {srn: BACK[kind] for srn, kind in told.items()}
        counts = Counter((change.entity, change.change) for change in listed)
        assert {(entity, kind): n for entity, of in found.counts.items() for kind, n in of.items()} == counts
        ids = sorted((kind, doc_id) for kind, doc_ids in found.documents.items() for doc_id in doc_ids)
        assert ids == sorted((change.change, change.doc_id) for change in listed)


@contextmanager
def fresh_world(postgres_url: str, migrated: str, source: ScriptedSource, **options: Any) -> Iterator[World]:
    """A world of an example's own: the source as it was in the beginning, too."""
    source.records, source.files, source.contents, source.status, source.again = {}, {}, {}, 200, []
    with copied(postgres_url, migrated) as url, opened_world(url, source, **options) as world:
        yield world


@settings(
    max_examples=settings.default.max_examples // 10,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(history=st.lists(step, min_size=8, max_size=25), deletes=st.sampled_from(["no", "persistent"]))
def test_whatever_happened_consumers_see_what_would_be_made_from_nothing(
    postgres_url: str,
    migrated: str,
    source: ScriptedSource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    history: list[Step],
    deletes: str,
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path / uuid.uuid4().hex))  # objects of an example's own
    options = {"deletes": deletes, "min_documents": 3, "max_shrink": 0.5}
    tasks = catalog(check_url.TASK, drawing(), normalize_publisher_year.TASK)
    with fresh_world(postgres_url, migrated, source, catalog=tasks, **options) as world:
        told = History(world)
        for what in [*beginning, ("night", SETS[0], None), ("night", SETS[1], None), ("release",), *history]:
            told.do(*what)
        told.finished()
