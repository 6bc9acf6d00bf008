"""Bring the index of a dataset version up: the version's own, verified, or a clear reason why there is none.

One operation for a night, a push, a rollback and a repair: the nearest finished index is cloned and gets what differs
between its version and this one; where there is none, or more differs than pays, an index is filled from nothing. What
was not taken is remembered and sent again each time. Everything may be repeated after a crash: an index counts from
the moment at which the store says which version it holds. Does not belong here: aliases and promotion (`aliases.py`).
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.publication import log
from harvester_dagster.search import bulk, bulk_lines, index, mapping, overlay
from harvester_dagster.search.bulk import AS_USUAL, BulkSent, Rejected, Sending
from harvester_dagster.search.bulk_lines import Lines, Sums
from harvester_dagster.search.connection import NoIndex, Refused, SearchError, connected
from harvester_dagster.search.index import KeptIndex
from harvester_dagster.search.mapping import BadMapping, Definition
from harvester_dagster.search.verify import Answered, Verified, verify
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import Version
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Busy, Lock

if TYPE_CHECKING:
    from opensearchpy import OpenSearch

Progress = Callable[[str], None]
How = Literal["kept", "clone", "full", "patch"]

OBEYED_AGAIN = 3
CLONE_SHARE = 0.3
"""Where more than this share of the documents differs, an index is filled from nothing. Measured: at a quarter both
ways take the same time, at half the clone takes 1.6 times as long (a replaced document is deleted first)."""

TOLERATED = 0.01
"""The share of documents that may be rejected; a few always may."""

KEPT = 20
"""Indices of an entity that are kept at most, whatever the versions: a node takes 1,000 shards. A rollback beyond
them makes its index anew."""

_NO_SRN = "no:document:is-called-so"
PATCHED = 200
"""Up to so many changed documents, a push is written into the index where it stands: less than one bulk request."""


class EntityReport(NamedTuple):
    """How one index came to hold the version."""

    entity: str
    name: str
    how: How
    documents: int
    added: int
    changed: int
    removed: int
    rejected: int
    examples: tuple[Rejected, ...]
    """Some of the documents that were left out, with the reasons."""
    seconds: float
    bytes: int
    slowest_bulk: float
    queries: tuple[Answered, ...]


class IndexReport(NamedTuple):
    """Whether a version can be announced. none: this installation has no index; failed: `reason` says why."""

    version_id: int
    outcome: Literal["none", "ready", "failed"]
    reason: str
    entities: tuple[EntityReport, ...]
    seconds: float


@dataclass(frozen=True)
class Work:
    """What the steps of one piece of work share; it holds the lock. `sending`: how lines are sent."""

    installation: Installation
    client: "OpenSearch"
    progress: Progress
    sending: Sending
    store_id: str


@contextmanager
def working(
    installation: Installation,
    progress: Progress = lambda _: None,
    sending: Sending = AS_USUAL,
    patience: float | None = None,
) -> Iterator[Work]:
    """Be alone with this store's indices, on a server that answers, while the block lasts. `patience`: seconds to wait
    for others, None: as long as it takes. Raises SearchError, Busy."""
    with alone(installation, patience), connected(installation.config.index) as client:
        with installation.pool.connection() as connection:
            store_id = index.store_id(connection)
        yield Work(installation, client, progress, sending, store_id)


@contextmanager
def alone(installation: Installation, patience: float | None = None) -> Iterator[None]:
    """Be the only one that works on this store's indices while the block lasts; whoever comes second waits. Raises Busy
    when that was longer than `patience` seconds."""
    busy = Busy("another process works on the search indices", "it is tried again")
    with (
        locks.session(installation.pool) as connection,
        locks.held(connection, Lock.INDICES, patience=patience, busy=busy),
    ):
        yield


def bring_up(
    installation: Installation,
    version: Version,
    *,
    rebuild: bool = False,
    progress: Progress = lambda _: None,
    sending: Sending = AS_USUAL,
) -> IndexReport:
    """A verified index for every entity that has one; never raises for what the server does or does not do.

    An index that holds the version already is verified, and made anew only when asked (`rebuild`) or when it fails. The
    report is stored, and with success the version names its indices from then on.
    """
    started, mend = time.monotonic(), ""
    try:
        with working(installation, progress, sending) as work:
            clear(work)
            entities = tuple(bring_up_entities(work, version, rebuild=rebuild))
            report = IndexReport(version.version_id, "ready", "", entities, time.monotonic() - started)
            store(work, report)
    except NoIndex as error:
        report = IndexReport(version.version_id, "none", str(error), (), time.monotonic() - started)
    except (SearchError, BadMapping) as error:
        report = IndexReport(version.version_id, "failed", str(error), (), time.monotonic() - started)
        mend = error.mend
    with installation.pool.connection() as connection:
        connection.execute(
            """INSERT INTO search_report (version_id, outcome, reason, mend, at) VALUES (%s, %s, %s, %s, %s)
               ON CONFLICT (version_id) DO UPDATE
               SET outcome = excluded.outcome, reason = excluded.reason, mend = excluded.mend, at = excluded.at,
                   hindrance = '', hindered_at = NULL""",
            (report.version_id, report.outcome, report.reason, mend, installation.clock()),
        )
    return report


def bring_up_entities(work: Work, version: Version, *, rebuild: bool = False) -> Iterator[EntityReport]:
    """Bring up the index of each entity that has one, in the catalog's order; the caller stores the report. Raises
    SearchError, BadMapping."""
    for entity in work.installation.catalog.entities:
        definition = mapping.definition(work.installation.catalog, entity.name, work.installation.config)
        if definition:
            yield Build(work, version, definition).run(rebuild)


def store(work: Work, report: IndexReport) -> None:
    """Have the version name its indices: from here on they are what the alias may move to."""
    with work.installation.pool.connection() as connection:
        for made in report.entities:
            connection.execute(
                """UPDATE dataset_version SET indices = (indices::jsonb || jsonb_build_object(%s::text, %s::text))::json
                   WHERE version_id = %s""",
                (made.entity, made.name, report.version_id),
            )


def clear(work: Work) -> None:
    """Take away what failed builds left, and what versions that are gone have let go; never what an alias shows.
    Raises SearchError."""
    config = work.installation.config
    there = index.on_server(work.client, config, work.store_id)
    aliased: set[str] = set()
    for entity in work.installation.catalog.entities:
        aliased |= index.targets(work.client, config, entity.name)
    with work.installation.pool.connection() as connection:
        rows: list[Any] = connection.execute("SELECT name, version_id IS NOT NULL FROM search_index").fetchall()
        known: dict[str, bool] = dict(rows)
        gone = {name for name, finished in known.items() if finished and name not in there and _ours(work, name)}
        index.remove(work.client, connection, gone)
        index.remove(work.client, connection, {name for name in there if not known.get(name)} - aliased)
        unfinished = {name for name, finished in known.items() if not finished and _ours(work, name)}
        index.remove(work.client, connection, unfinished - aliased)


def retire(work: Work, kept: int = KEPT) -> None:
    """Let go of finished indices that no version names any more, and of an entity's oldest beyond `kept`; never of what
    an alias shows. Raises SearchError."""
    config = work.installation.config
    for entity in work.installation.catalog.entities:
        aliased = index.targets(work.client, config, entity.name)
        with work.installation.pool.connection() as connection:
            wanted = [
                name
                for (name,) in connection.execute(
                    """SELECT indices ->> %(entity)s
                       FROM dataset_version v LEFT JOIN current_version c USING (version_id)
                       WHERE indices ->> %(entity)s IS NOT NULL GROUP BY 1
                       ORDER BY bool_or(c.version_id IS NOT NULL) DESC, max(v.version_id) DESC LIMIT %(kept)s""",
                    {"entity": entity.name, "kept": kept},
                )
            ]
            names = {one.name for one in index.held(connection, config, entity.name)}
            index.remove(work.client, connection, names - set(wanted) - aliased)


def _ours(work: Work, name: str) -> bool:
    config = work.installation.config
    return any(name.startswith(index.prefix(config, entity.name)) for entity in work.installation.catalog.entities)


class Build:
    """The making of one entity's index of one version."""

    def __init__(self, work: Work, version: Version, definition: Definition, published: Sums | None = None) -> None:
        self.work, self.version, self.definition = work, version, definition
        self.entity = definition.entity
        self.pool, self.client = work.installation.pool, work.client
        self.started = time.monotonic()
        with self.pool.connection() as connection:
            self.overlay_seq = log.newest_takedown(connection)
            """What is read from here on obeys that takedown, and all before it."""
            self.published = published or bulk_lines.sums(connection, version, self.entity)
            """What a complete index holds. A version changes by takedowns only, so it is added up once, and after
            these. `published`: where somebody knows it already."""

    def run(self, rebuild: bool) -> EntityReport:
        """A verified index by the least work: the one that is there, a clone with the difference, or one from
        nothing, which `rebuild` asks for. Raises SearchError."""
        with self.pool.connection() as connection:
            finished = index.held(connection, self.work.installation.config, self.entity)
        fitting = [held for held in finished if held.definition == self.definition.digest and held.moving_to is None]
        own = next((held for held in fitting if held.version_id == self.version.version_id), None)
        if own and not rebuild and (kept := self._keep(own)):
            return kept
        base = None if rebuild else self._base([held for held in fitting if held != own])
        if base and (cloned := self._attempt(base)):
            return cloned
        made = self._attempt(None)
        assert made is not None
        return made

    def patch(self, held: KeptIndex) -> EntityReport:
        """Move an index to the version where it stands, under its readers' eyes: for a few documents only. Raises
        SearchError."""
        with self.pool.connection() as connection:
            old = versions.by_id(connection, held.version_id)
            connection.execute(
                "UPDATE search_index SET moving_to = %s WHERE name = %s", (self.version.version_id, held.name)
            )
        index.unseal(self.client, held.name)
        sent, counts = self._send_delta(held.name, old)
        verdict = self._finish(held.name, sent)
        if verdict.wrong:
            raise Refused(verdict.wrong)
        return self._report(held.name, "patch", sent, counts, verdict)

    def _keep(self, own: KeptIndex) -> EntityReport | None:
        """Look at the index that holds the version already, and try again what it lacks; None: it is not right."""
        self._obey(own.name)
        with self.pool.connection() as connection:
            rejected = index.lacking(connection, own.name)
        if rejected:
            index.unseal(self.client, own.name)
            sent = self._send(own.name, self._these(rejected))
            verdict = self._finish(own.name, sent)
        else:
            sent = BulkSent(0, (), 0.0)
            verdict = verify(self.client, own.name, self.version, self.definition, self.published)
        if verdict.wrong:
            self.work.progress(f"{verdict.wrong}; it is made anew")
            return None
        return self._report(own.name, "kept", sent, {}, verdict)

    def _base(self, fitting: Sequence[KeptIndex]) -> KeptIndex | None:
        """The finished index from which the least is to do, if that is little enough."""
        with self.pool.connection() as connection:
            far = {}
            for held in sorted(fitting, key=lambda held: abs(held.version_id - self.version.version_id))[:3]:
                old = versions.by_id(connection, held.version_id)
                far[held] = bulk_lines.touched(connection, old, self.version, self.entity)
        nearest = min(far, key=lambda held: far[held], default=None)
        return nearest if nearest and far[nearest] <= CLONE_SHARE * self.published.documents else None

    def _attempt(self, base: KeptIndex | None) -> EntityReport | None:
        """A new index, or nothing left of it; None: the clone is not what it should be."""
        config, work = self.work.installation.config, self.work
        with self.pool.connection() as connection:
            name = index.free_name(self.client, connection, config, self.entity, self.version.version_id)
            connection.execute(
                """INSERT INTO search_index (name, entity, definition, made_at, overlay_seq)
                   SELECT %s, %s, %s, %s, coalesce((SELECT overlay_seq FROM search_index WHERE name = %s), %s)""",
                (
                    name,
                    self.entity,
                    self.definition.digest,
                    work.installation.clock(),
                    base.name if base else None,
                    self.overlay_seq,
                ),
            )
        try:
            if base:
                work.progress(f"{name}: cloned from {base.name}")
                with self.pool.connection() as connection:
                    old = versions.by_id(connection, base.version_id)
                with ThreadPoolExecutor(1, "clone") as beside:  # the difference is read while the server clones
                    cloned = beside.submit(index.clone, self.client, base.name, name, self.definition)
                    sent, counts = self._send_delta(name, old, base.name, after=cloned.result)
                    cloned.result()  # where nothing differs, nobody has waited
            else:
                work.progress(f"{name}: built from nothing, {self.published.documents:,} documents")
                index.create(self.client, name, self.definition, index.mark(config, work.store_id))
                with self.pool.connection() as connection:
                    lines = bulk_lines.whole(connection, self.version, self.entity, self.definition.form)
                    sent = self._send(name, self._shown(name, lines))
                index.serve(self.client, name, self.definition)
                counts = {"added": sent.lines}
            verdict = self._finish(name, sent)
            if not verdict.wrong:
                return self._report(name, "clone" if base else "full", sent, counts, verdict)
        except BaseException:
            self._drop(name)
            raise
        self._drop(name)
        if not base:
            raise Refused(verdict.wrong)
        work.progress(f"{verdict.wrong}; it is built from nothing")
        return None

    def _send_delta(
        self, name: str, old: Version, base: str = "", after: Callable[[], object] = lambda: None
    ) -> tuple[BulkSent, dict[str, int]]:
        with self.pool.connection() as connection:
            lacking = index.lacking(connection, base or name)
            form = self.definition.form
            delta = bulk_lines.delta(connection, old, self.version, self.entity, also=lacking, form=form)
            return self._send(name, delta.lines, bulk.DELTA_LINES, after), delta.counts

    def _send(
        self, name: str, lines: Lines, chunk_lines: int = bulk.CHUNK_LINES, after: Callable[[], object] = lambda: None
    ) -> BulkSent:
        """What is rejected is left out: also what the index had of it before."""
        allowed, how = max(3, int(self.published.documents * TOLERATED)), self.work.sending
        how = how._replace(chunk_lines=min(how.chunk_lines, chunk_lines))
        with closing(lines):  # a load that fails ends its COPY, and the connection stays good
            sent = bulk.send(self.client, name, lines, allowed=allowed, how=how, after=after)
        if sent.rejected:
            gone = (bulk_lines.removal(one.doc_id, one.srn) for one in sent.rejected)
            bulk.send(self.client, name, gone, allowed=0, how=how)
        return sent

    def _these(self, doc_ids: Sequence[int]) -> Lines:
        with self.pool.connection() as connection:
            yield from bulk_lines.these(connection, self.version, self.entity, doc_ids, self.definition.form)

    def _shown(self, name: str, lines: Lines) -> Lines:
        with closing(lines):
            for number, line in enumerate(lines, 1):
                if number % 10_000 == 0:
                    self.work.progress(f"{name}: {number:,} of {self.published.documents:,}")
                yield line

    def _obey(self, name: str) -> bool:
        """Have an index show nothing that was taken down meanwhile, and what came back; whether there was any."""
        brought = overlay.bring(self.client, self.pool, name, self.version, self.definition, self.work.sending)
        if brought:
            with self.pool.connection() as connection:
                self.published = bulk_lines.sums(connection, self.version, self.entity)
        return brought

    def _finish(self, name: str, sent: BulkSent) -> Verified:
        """Obey takedowns, verify; the store then says what the index holds."""
        self._obey(name)
        verdict = self._verified(name, sent)
        for _ in range(OBEYED_AGAIN):
            if not verdict.wrong or not self._obey(name):
                break
            verdict = self._verified(name, sent)  # something was taken down while it was looked at
        return verdict

    def _verified(self, name: str, sent: BulkSent) -> Verified:
        index.refresh(self.client, name)
        with self.pool.connection() as connection:
            connection.execute("DELETE FROM search_rejected WHERE name = %s", (name,))
            connection.cursor().executemany(
                "INSERT INTO search_rejected (name, doc_id, reason) VALUES (%s, %s, %s)",
                [(name, one.doc_id, one.reason) for one in sent.rejected],
            )
            left_out = [one.doc_id for one in sent.rejected]
            expected = self.published.minus(bulk_lines.sums_of(connection, self.version, self.entity, left_out))
        verdict = verify(self.client, name, self.version, self.definition, expected)
        if not verdict.wrong:
            with self.pool.connection() as connection:
                index.note_complete(connection, name, self.version.version_id, self.published)
        return verdict

    def _drop(self, name: str) -> None:
        """Remove an unfinished index; where that fails too, the next build clears it away."""
        with suppress(SearchError), self.pool.connection() as connection:
            index.remove(self.client, connection, [name])

    def _report(
        self, name: str, how: How, sent: BulkSent, counts: Mapping[str, int], verdict: Verified
    ) -> EntityReport:
        return EntityReport(
            entity=self.entity,
            name=name,
            how=how,
            documents=verdict.found.documents,
            added=counts.get("added", 0),
            changed=counts.get("changed", 0),
            removed=counts.get("removed", 0),
            rejected=len(sent.rejected),
            examples=sent.rejected[:20],
            seconds=time.monotonic() - self.started,
            bytes=index.size(self.client, name),
            slowest_bulk=sent.slowest,
            queries=verdict.queries,
        )


def patched(work: Work, version: Version) -> tuple[EntityReport, ...] | None:
    """Every aliased index moved to the version where it stands; None when one of them needs more than a patch.
    Raises SearchError, BadMapping."""
    config, reports = work.installation.config, []
    for entity in work.installation.catalog.entities:
        definition = mapping.definition(work.installation.catalog, entity.name, config)
        if definition is None:
            continue
        aliased = index.targets(work.client, config, entity.name)
        with work.installation.pool.connection() as connection:
            held = next((one for one in index.held(connection, config, entity.name) if {one.name} == aliased), None)
            if held is None or held.definition != definition.digest:
                return None
            if held.moving_to not in (None, version.version_id):
                return None
            old = versions.by_id(connection, held.version_id)
            if bulk_lines.touched(connection, old, version, entity.name) > PATCHED:
                return None
            published = _moved_on(connection, held, old, version)
        if held.version_id != version.version_id:
            reports.append(Build(work, version, definition, published).patch(held))
    return tuple(reports)


def rehearse_patch(work: Work) -> None:
    """Have the server do all that writing a few documents into the aliased indices asks of it: opened for writing,
    written to, refreshed. What is written is the removal of a document that no index has. Raises SearchError where a
    push would not be shown: then it is not to be published either.
    """
    config = work.installation.config
    for entity in work.installation.catalog.entities:
        for name in index.targets(work.client, config, entity.name):
            index.unseal(work.client, name)
            bulk.send(work.client, name, [bulk_lines.removal(0, _NO_SRN)], allowed=0, how=work.sending)
            index.refresh(work.client, name)


def _moved_on(connection: Connection[Any], held: KeptIndex, old: Version, version: Version) -> Sums | None:
    """What a version publishes, from what the index's own one does: a push costs what it changed. None: takedowns came
    in between, so that it is to be added up. A release adds up all in any case, and so looks after this."""
    if held.complete is None or held.overlay_seq != log.newest_takedown(connection):
        return None
    return held.complete.plus(bulk_lines.moved(connection, old, version, held.entity))
