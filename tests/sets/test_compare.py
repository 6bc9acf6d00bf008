"""Comparing by itself: random harvests over a store in memory, against what a dictionary would hold."""

import itertools
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from harvester_dagster.sets.compare import Compared, Terms, Writes, compared, new_documents
from harvester_dagster.sets.extract import Incoming, SentRecord
from harvester_dagster.sets.known import AcceptedRecords, Key, KnownDocument

SET = 7
PRODUCTS, FILES = "products", "files"


class Content(NamedTuple):
    """What a record says; without a title it is deleted."""

    title: str | None
    state: str = "active"
    files: tuple[tuple[str, str], ...] = ()

    def documents(self, name: str) -> list[Incoming]:
        if self.title is None:
            return []
        own = Incoming(PRODUCTS, name, self.state, self.title.encode(), b"{}")
        return [own, *(Incoming(FILES, f"{name}:{file}", "active", text.encode(), b"{}") for file, text in self.files)]


Live = dict[Key, tuple[str, bytes]]
"""What consumers could see: state and hash by key."""


def sent(name: str, content: Content, noise: int = 0, number: int = 0) -> SentRecord:
    return SentRecord(number, name, None, raw(content, noise), tuple(content.documents(name)))


def raw(content: Content, noise: int) -> bytes:
    """Stands for the raw hash of a record whose bytes hold more than what is read of them."""
    return repr((content, noise)).encode()


@dataclass
class Revision:
    state: str
    hash: bytes
    hash_gen: int
    raw_hash: bytes | None
    to_gen: int | None = None


@dataclass
class Store:
    """What the writer keeps in tables. Refuses what their indices refuse."""

    accepted_gen: int = 0
    documents: dict[Key, tuple[int, int | None]] = field(default_factory=dict)
    revisions: dict[tuple[int, int], Revision] = field(default_factory=dict)
    next_id: int = 1

    @property
    def gen(self) -> int:
        return self.accepted_gen + 1

    def live(self, doc_id: int, gen: int) -> tuple[int, Revision] | None:
        found = [
            (from_gen, row)
            for (of, from_gen), row in self.revisions.items()
            if of == doc_id and from_gen <= gen and (row.to_gen is None or row.to_gen > gen)
        ]
        assert len(found) <= 1, "revisions of a document overlap"
        return found[0] if found else None

    def shown(self, gen: int) -> Live:
        found = {key: self.live(doc_id, gen) for key, (doc_id, _) in self.documents.items()}
        return {key: (row[1].state, row[1].hash) for key, row in found.items() if row}

    def known(self, names: Iterable[str]) -> dict[Key, KnownDocument]:
        roots = {self.documents[PRODUCTS, name][0] for name in names if (PRODUCTS, name) in self.documents}
        found = {}
        for key, (doc_id, owner_id) in self.documents.items():
            if doc_id in roots or owner_id in roots:
                row = KnownDocument(doc_id, *key, owner_id)
                if revision := self.live(doc_id, self.gen):
                    from_gen, now = revision
                    row = row._replace(from_gen=from_gen, state=now.state, hash=now.hash)._replace(
                        raw_hash=now.raw_hash, hash_gen=now.hash_gen
                    )
                found[key] = row
        return found

    def write(self, writes: Writes) -> None:
        for doc_id in writes.undo:
            del self.revisions[doc_id, self.gen]
        for doc_id in writes.close:
            self.close(doc_id)
        for doc_id, raw_hash, _seen in writes.raw_hashes:
            row = self.live(doc_id, self.gen)
            assert row, "a raw hash of nothing"
            row[1].raw_hash = raw_hash
        for doc_id, set_id, entity, name, owner_id in writes.documents:
            assert set_id == SET and (entity, name) not in self.documents
            self.documents[entity, name] = (doc_id, owner_id)
        for doc_id, set_id, entity, gen, state, digest, hash_gen, raw_hash, _ in writes.revisions:
            assert (set_id, gen) == (SET, self.gen) and (doc_id, gen) not in self.revisions
            assert self.live(doc_id, gen) is None, "two open revisions"
            assert doc_id in {own for (kind, _), (own, _) in self.documents.items() if kind == entity}
            self.revisions[doc_id, gen] = Revision(state, digest, hash_gen, raw_hash)
        assert [body[:2] for body in writes.bodies] == [(row[0], self.gen) for row in writes.revisions]

    def close(self, doc_id: int) -> None:
        found = self.live(doc_id, self.gen)
        assert found and found[0] < self.gen and found[1].to_gen is None
        found[1].to_gen = self.gen

    def keep_dates(self) -> None:
        """As `write.keep_dates` does."""
        for (doc_id, gen), row in self.revisions.items():
            before = self.live(doc_id, self.accepted_gen)
            if gen == self.gen and before and before[1].to_gen == gen and before[1].hash == row.hash:
                row.hash_gen = before[1].hash_gen

    def restore(self) -> None:
        """As `write.restore` does."""
        for (doc_id, gen), row in list(self.revisions.items()):
            before = self.live(doc_id, self.accepted_gen)
            if gen == self.gen and before and (before[1].hash, before[1].state) == (row.hash, row.state):
                del self.revisions[doc_id, gen]
                before[1].to_gen = before[1].raw_hash = None

    def reject(self) -> None:
        self.revisions = {place: row for place, row in self.revisions.items() if place[1] <= self.accepted_gen}
        for row in self.revisions.values():
            if row.to_gen == self.gen:
                row.to_gen = None

    def harvest(self, batches: Sequence[Sequence[SentRecord]], anew: bool = False) -> list[Compared]:
        touched: set[int] = set()
        made = []
        for batch in batches:
            unique = {record.external_id: record for record in batch}
            known = self.known(unique)
            ids = deque(range(self.next_id, self.next_id + new_documents(unique.values(), known)))
            self.next_id += len(ids)
            found = compared(unique.values(), known, Terms(SET, self.gen, PRODUCTS, anew), ids, touched)
            assert not ids, "it takes as many as it says"
            self.write(found.writes)
            touched |= found.touched
            made.append(found)
        return made


def shown_of(contents: Mapping[str, Content]) -> Live:
    return {
        (document.entity, document.external_id): (document.state, document.hash)
        for name, content in contents.items()
        for document in content.documents(name)
    }


names = st.sampled_from("abc")
contents = st.builds(
    Content,
    st.sampled_from(["One", "One", "Two", None]),
    st.sampled_from(["active", "active", "draft"]),
    st.dictionaries(st.sampled_from("xyz"), st.sampled_from(["v1", "v2"]), max_size=2).map(lambda d: tuple(d.items())),
)
batches = st.lists(st.lists(st.tuples(names, contents, st.integers(0, 1)), max_size=4), max_size=4)
harvests = st.lists(
    st.tuples(batches, st.sampled_from([False, False, True]), st.sampled_from([True, True, False])), max_size=4
)


@settings(deadline=None)
@given(harvests)
def test_after_any_harvests_the_last_record_of_each_id_holds(
    history: list[tuple[list[list[tuple[str, Content, int]]], bool, bool]],
) -> None:
    store, accepted = Store(), dict[str, Content]()
    for sent_batches, anew, taken in history:
        before = store.shown(store.accepted_gen)
        store.harvest([[sent(*record) for record in batch] for batch in sent_batches], anew)
        store.keep_dates()
        if not anew:
            store.restore()
        last = accepted | {name: content for batch in sent_batches for name, content, _ in batch}
        now = shown_of(last)
        assert store.shown(store.gen) == now
        assert store.shown(store.accepted_gen) == before, "what is accepted stays until the verdict"
        if not anew:
            written = {doc_id for doc_id, gen in store.revisions if gen == store.gen}
            differ = {store.documents[key][0] for key, value in now.items() if before.get(key) != value}
            assert written == differ, "what did not change is not written"
        if taken:
            store.accepted_gen, accepted = store.gen, last
        else:
            store.reject()
        assert store.shown(store.accepted_gen) == shown_of(accepted)
        _check_raw_hashes(store, accepted)
        _check_dates(store)


def _check_raw_hashes(store: Store, accepted: Mapping[str, Content]) -> None:
    """Whose bytes they stand for, may be taken for unchanged: it says what is live."""
    for name, content in accepted.items():
        if content.title is not None and (found := store.live(store.documents[PRODUCTS, name][0], store.accepted_gen)):
            same = shown_of({name: content})
            assert found[1].raw_hash in {None, *(raw(said, noise) for said, noise in _saying(name, same))}


def _saying(name: str, shown: Live) -> Iterable[tuple[Content, int]]:
    """Contents that show the same: their files may come in any order."""
    title, state = next((value[1].decode(), value[0]) for key, value in shown.items() if key[0] == PRODUCTS)
    files = [(key[1].partition(":")[2], value[1].decode()) for key, value in shown.items() if key[0] == FILES]
    for order in itertools.permutations(files):
        yield from ((Content(title, state, order), noise) for noise in (0, 1))


def _check_dates(store: Store) -> None:
    """A document keeps its date as long as its properties."""
    for (doc_id, gen), row in store.revisions.items():
        follows = store.revisions.get((doc_id, row.to_gen)) if row.to_gen else None
        assert row.hash_gen <= gen
        if follows:
            assert (follows.hash_gen == row.hash_gen) == (follows.hash == row.hash)


class TestOneBatch:
    """What it writes, to the row."""

    content = Content("One", "active", (("x", "v1"), ("y", "v1")))

    def store(self) -> Store:
        store = Store()
        store.harvest([[sent("a", self.content)]])
        store.accepted_gen = 1
        return store

    def again(self, content: Content, noise: int = 0, anew: bool = False) -> Compared:
        (found,) = self.store().harvest([[sent("a", content, noise)]], anew)
        return found

    def test_new(self) -> None:
        store = Store()
        (found,) = store.harvest([[sent("a", self.content)]])
        assert found.writes.documents == [
            (1, SET, PRODUCTS, "a", None),
            (2, SET, FILES, "a:x", 1),
            (3, SET, FILES, "a:y", 1),
        ]
        assert [row[-2] for row in found.writes.revisions] == [raw(self.content, 0), None, None], "a record has bytes"
        assert (found.unchanged, found.touched) == ({}, set()), "nobody knew of it"

    def test_unchanged_writes_nothing(self) -> None:
        found = self.again(self.content)
        assert not any(found.writes) and not found.touched
        assert found.unchanged == {1: PRODUCTS, 2: FILES, 3: FILES}

    def test_other_bytes_that_say_the_same_renew_the_raw_hash_alone(self) -> None:
        found = self.again(self.content, noise=1)
        assert [row[:2] for row in found.writes.raw_hashes] == [(1, raw(self.content, 1))]
        assert not any(found.writes[:-1])

    def test_a_file_that_is_not_named_any_more_is_closed(self) -> None:
        found = self.again(self.content._replace(files=(("y", "v1"),)))
        assert (found.writes.close, found.writes.undo, found.writes.revisions) == ([2], [], [])
        assert found.writes.raw_hashes == [(1, None, None)], "the bytes of before do not speak for what is live"
        assert found.touched == {1} and found.unchanged == {1: PRODUCTS, 3: FILES}

    def test_deleted(self) -> None:
        found = self.again(Content(None))
        assert sorted(found.writes.close) == [1, 2, 3] and not any(found.writes[:3])

    def test_deleted_and_never_known_is_nothing(self) -> None:
        (found,) = Store().harvest([[sent("a", Content(None))]])
        assert not any(found.writes)

    def test_deleted_and_back_has_its_id(self) -> None:
        store = self.store()
        store.harvest([[sent("a", Content(None))]])
        store.accepted_gen = 2
        (found,) = store.harvest([[sent("a", self.content)]])
        assert found.writes.documents == [] and [row[0] for row in found.writes.revisions] == [1, 2, 3]

    def test_another_state_with_the_same_properties_keeps_its_date(self) -> None:
        found = self.again(self.content._replace(state="draft"))
        ((doc_id, _, _, gen, state, _, hash_gen, _, _),) = found.writes.revisions
        assert (doc_id, gen, state, hash_gen) == (1, 2, "draft", 1)

    def test_anew_everything_is_written_once_with_its_date(self) -> None:
        store = self.store()
        first, second = store.harvest([[sent("a", self.content)], [sent("a", self.content)]], anew=True)
        assert [(row[0], row[6]) for row in first.writes.revisions] == [(1, 1), (2, 1), (3, 1)]
        assert not any(second.writes)

    def test_a_batch_of_the_same_harvest_is_undone_not_closed(self) -> None:
        store = self.store()
        changed = self.content._replace(title="Two")
        first, second = store.harvest([[sent("a", changed)], [sent("a", changed._replace(title="Three"))]])
        assert (first.writes.close, first.writes.undo) == ([1], [])
        assert (second.writes.close, second.writes.undo) == ([], [1])

    def test_a_changed_file_that_comes_twice_gives_what_is_accepted_no_bytes(self) -> None:
        store = self.store()
        changed = self.content._replace(files=(("x", "v2"), ("y", "v1")))
        first, second = store.harvest([[sent("a", changed)], [sent("a", changed, noise=1)]])
        assert (first.writes.raw_hashes, second.writes.raw_hashes) == ([(1, None, None)], [(1, None, None)])
        store.reject()
        assert store.revisions[1, 1].raw_hash is None, "it would say that the file of the rejected candidate is live"


# --- by raw hash ------------------------------------------------------------------------------------------------------

ACCEPTED = {"a": 1, "b": 2, "c": 3}


class Harvest:
    """Reading, some pages ahead, and comparing, as `read.py` and `stage.py` do it with what is known by raw hash."""

    def __init__(self, most_repeated: int) -> None:
        accepted = {doc_id: self.raw_hash(name, 0) for name, doc_id in ACCEPTED.items()}
        self.known = AcceptedRecords("1", accepted, most_repeated=most_repeated)
        self.ahead: deque[tuple[int, list[tuple[int, str, int]]]] = deque()
        self.batch: dict[str, tuple[int, int]] = {}
        self.holds = dict.fromkeys(ACCEPTED, 0)
        self.records = self.upto = 0

    def raw_hash(self, name: str, version: int) -> bytes:
        return AcceptedRecords("1").raw_hash(f"{name} {version}".encode())

    def read(self, page: Sequence[tuple[str, int]]) -> None:
        hashes = [self.raw_hash(name, version) for name, version in page]
        wanted = self.known.unknown(hashes, self.records, pending=bool(self.ahead or self.batch))
        extracted = [(self.records + index, *page[index]) for index in wanted]
        self.records += len(page)
        self.ahead.append((self.records, extracted))

    def hand_on(self, pages: int) -> None:
        for _ in range(min(pages, len(self.ahead))):
            self.upto, extracted = self.ahead.popleft()
            self.batch |= {name: (number, version) for number, name, version in extracted}

    def compare(self) -> None:
        for name, (number, version) in self.batch.items():
            now = self.raw_hash(name, self.holds[name])
            if self.known.contradict(KnownDocument(ACCEPTED[name], PRODUCTS, name, None, raw_hash=now), number):
                self.holds[name] = version
        self.batch = {}
        self.known.forget(before=self.upto)


page = st.lists(st.tuples(names, st.integers(0, 2)), min_size=1, max_size=3)


@settings(deadline=None)
@given(st.lists(st.tuples(page, st.integers(0, 3), st.booleans()), max_size=12), st.sampled_from([2, 1_000]))
def test_what_comes_last_holds_however_far_reading_is_ahead(
    plan: list[tuple[list[tuple[str, int]], int, bool]], most_repeated: int
) -> None:
    """Version 0 of each is accepted. `plan`: a page, then how many of those read are handed on, and whether what was
    handed on is compared."""
    harvest = Harvest(most_repeated)
    for records, pages, compares in plan:
        harvest.read(records)
        full = harvest.known.is_full
        harvest.hand_on(len(harvest.ahead) if full else pages)
        if compares or full:
            harvest.compare()
            assert not full or not harvest.known.is_full, "there is room again"
    harvest.hand_on(len(harvest.ahead))
    harvest.compare()
    last = {name: version for records, _, _ in plan for name, version in records}
    assert harvest.holds == dict.fromkeys(ACCEPTED, 0) | last
    assert harvest.known.unseen == {doc_id for name, doc_id in ACCEPTED.items() if name not in last}


def test_known_bytes_need_no_extraction_and_another_mapping_makes_all_unknown() -> None:
    known = AcceptedRecords("1", {1: AcceptedRecords("1").raw_hash(b"a"), 2: None})
    assert known.unknown([known.raw_hash(b"a"), known.raw_hash(b"b")], 0, pending=False) == [1]
    assert known.unseen == {2}, "what has no raw hash is seen when it is compared"
    other = AcceptedRecords("2", {1: AcceptedRecords("1").raw_hash(b"a")})
    assert other.unknown([other.raw_hash(b"a")], 0, pending=False) == [0]


def test_a_reset_extracts_all_and_still_knows_what_is_gone() -> None:
    known = AcceptedRecords("1", {1: AcceptedRecords("1").raw_hash(b"a"), 2: None}, skips=False)
    assert known.unknown([known.raw_hash(b"a")], 0, pending=False) == [0]
    known.see([1])
    assert known.unseen == {2}
