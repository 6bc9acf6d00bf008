"""Outputs made for what changed, in the candidate's generation, before the verdict.

A product and all that it owns are made together, from the candidate's revisions, the standing results, and the
operator's overwrites. An output whose inputs hash is unchanged is not built, one whose own hash is unchanged is not
written. Index, API, feed and diffs read only what is stored here.

Belongs here: which outputs are stale, and storing them; each batch in a transaction of its own, several at once: while
one waits for the server, another is made. Does not belong here: making them (`assemble.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.documents import object_addresses, output
from harvester_dagster.installation import Installation
from harvester_dagster.processes.cycle_collection import rarely_collected
from harvester_dagster.publication import takedowns
from harvester_dagster.sets.assemble import Batch, FoundResult, Live, New, StandingOutput, assembled
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sets.sets import SetState
from harvester_dagster.sets.task_results import STANDING
from harvester_dagster.store.database import analyze, copy

MOST_EXAMPLES = 10
Only = Literal["", "changed", "pushed", "overwritten"]
"""Of what is stale: all; what the candidate begins or ends; what came of a push; what a person overwrote."""
MOST_AT_ONCE = 6
"""Batches, with a connection each; the pool has eight."""


class Made(NamedTuple):
    """What a production did: outputs looked at, written, closed, and the invalid documents with their reasons."""

    looked_at: int
    written: int
    closed: int
    invalid: int
    examples: tuple[tuple[str, str], ...]


def version(catalog: Catalog, config: Config) -> str:
    """What every output was made with beside its document: the code's version, the settings that it reads, the fields
    that tasks publish, and the forms in the index, which are stored with the outputs."""
    read: list[Any] = [config.output.model_dump(mode="json"), config.tasks.dead_after_nights]
    read.append(object_addresses.made_with(config))
    read += [
        (task.entity, task.name, field.name, field.version, field.default, field.optional, field.place, field.objects)
        for task in catalog.tasks
        for field in task.publishes
    ]
    read += [form.made_with for entity in catalog.entities if (form := catalog.index_form(entity.name))]
    return f"{output.VERSION}:{canonical.digest(canonical.encode(read)).hex()}"


def stale(installation: "Installation", connection: Connection[Any], state: SetState) -> bool:
    """Whether the accepted state has outputs to make anew."""
    if state.accepted_gen and state.output_version != version(installation.catalog, installation.config):
        return True
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM dirty WHERE set_id = %s AND done_in IS NULL)", (state.set_id,)
    ).fetchone()
    return row == (True,)


def still_to_do(connection: Connection[Any], locked: LockedSet) -> None:
    """What the candidate's outputs took along stays to be made anew of the accepted state: the candidate is not, or not
    yet, accepted."""
    connection.execute(
        "UPDATE dirty SET done_in = NULL WHERE set_id = %s AND done_in = %s",
        (locked.set_id, locked.state.candidate_gen),
    )


def produce(
    locked: LockedSet, attempt: Attempt, progress: Callable[[str], None] = lambda _: None, only: Only = ""
) -> Made:
    """Make the outputs of the staged attempt. Run again, it makes only what became stale meanwhile. `only`: so that it
    is judged for nothing else; the rest stays stale."""
    installation = locked.installation
    with locked.connection() as connection:
        row = connection.execute(
            """UPDATE attempt SET accept_at = CASE WHEN outputs_made THEN accept_at ELSE %s END WHERE attempt_id = %s
               RETURNING accept_at""",
            (installation.clock(), attempt.attempt_id),
        ).fetchone()
        assert row is not None
        run = _Production(installation, locked.state, row[0])
        roots = run.roots(connection, only) if only else run.stale_roots(connection, attempt.outputs_made)
    size = installation.limits.produced
    batches = [roots[start : start + size] for start in range(0, len(roots), size)]
    made, at_once = Made(0, 0, 0, 0, ()), min(2 * installation.workers.count, MOST_AT_ONCE)
    with rarely_collected(), ThreadPoolExecutor(at_once, thread_name_prefix="outputs") as threads:
        for done, one in enumerate(threads.map(run.batch, batches), start=1):
            made = _sum(made, one)
            progress(f"{locked.key}: {min(done * size, len(roots)):,} of {len(roots):,} outputs made")
    with locked.connection() as connection:
        connection.execute("UPDATE attempt SET outputs_made = true WHERE attempt_id = %s", (attempt.attempt_id,))
        analyze(connection, "output", made.written)
    return made


def _sum(one: Made, other: Made) -> Made:
    return Made(
        one.looked_at + other.looked_at,
        one.written + other.written,
        one.closed + other.closed,
        one.invalid + other.invalid,
        (*one.examples, *other.examples)[:MOST_EXAMPLES],
    )


_ROOTS = """
SELECT DISTINCT coalesce(d.owner_id, d.doc_id) FROM document d JOIN ({doc_ids}) c USING (doc_id)
WHERE d.set_id = %(set)s ORDER BY 1
"""
_DIRTY = "SELECT doc_id FROM dirty WHERE set_id = %(set)s AND done_in IS NULL"
_CHANGED = """SELECT doc_id FROM revision WHERE set_id = %(set)s AND from_gen = %(gen)s
              UNION SELECT doc_id FROM revision WHERE set_id = %(set)s AND to_gen = %(gen)s"""
_PUSHED = f"""
SELECT doc_id FROM ({_DIRTY}) s JOIN revision r USING (doc_id)
JOIN generation g ON g.set_id = r.set_id AND g.gen = r.from_gen JOIN attempt a USING (attempt_id)
WHERE a.mode = 'push' AND {live("r", "%(gen)s")}
"""
_ONLY: Mapping[Only, str] = {"changed": _CHANGED, "pushed": _PUSHED, "overwritten": f"{_DIRTY} AND overwritten"}


class _Production:
    """One production over one set's candidate."""

    def __init__(self, installation: Installation, state: SetState, accept_at: datetime):
        self.installation, self.state, self.accept_at = installation, state, accept_at
        self.gen = state.candidate_gen
        self.version = version(installation.catalog, installation.config)
        self.has_outputs = False

    def stale_roots(self, connection: Connection[Any], made_before: bool) -> list[int]:
        """Products (or whatever owns) to make: what the candidate begins or ends, what is dirty, or all."""
        parameters = {"set": self.state.set_id, "gen": self.gen}
        self._look_for_outputs(connection)
        if self.state.output_version != self.version and (self.state.accepted_gen or not made_before):
            query = """SELECT doc_id FROM document WHERE set_id = %(set)s AND owner_id IS NULL ORDER BY 1"""
        else:
            query = _ROOTS.format(doc_ids=_DIRTY if made_before else f"{_DIRTY} UNION {_CHANGED}")
        return [doc_id for (doc_id,) in connection.execute(query, parameters)]

    def roots(self, connection: Connection[Any], only: Only) -> list[int]:
        """Those of them that some documents belong to."""
        self._look_for_outputs(connection)
        parameters = {"set": self.state.set_id, "gen": self.gen}
        return [doc_id for (doc_id,) in connection.execute(_ROOTS.format(doc_ids=_ONLY[only]), parameters)]

    def _look_for_outputs(self, connection: Connection[Any]) -> None:
        found = connection.execute("SELECT EXISTS (SELECT FROM output WHERE set_id = %s)", (self.state.set_id,))
        self.has_outputs = found.fetchone() == (True,)

    def batch(self, roots: Sequence[int]) -> Made:
        """Make the outputs of some products, whole or not at all."""
        with self.installation.pool.connection() as connection:
            # First, so that a result stored meanwhile makes these documents dirty again instead of being overlooked;
            # locked in the order in which results mark them, so that neither waits for the other.
            dirty = connection.execute(
                """SELECT doc_id FROM dirty WHERE done_in IS NULL AND doc_id IN (
                       SELECT doc_id FROM document WHERE doc_id = ANY (%(roots)s) OR owner_id = ANY (%(roots)s))
                   ORDER BY doc_id FOR UPDATE""",
                {"roots": list(roots)},
            ).fetchall()
            if dirty:
                connection.execute(
                    "UPDATE dirty SET done_in = %s WHERE doc_id = ANY (%s)", (self.gen, [row[0] for row in dirty])
                )
            documents = self._documents(connection, roots)
            results = self._results(connection, [document.doc_id for document in documents])
            standing = self._standing(connection, roots)
            batch = Batch(self.state.key, self.version, self.accept_at, documents, results, standing)
            new = self.installation.workers.run(assembled, batch)
            if withheld := takedowns.among(connection, roots):
                parts = {document.doc_id for document in documents if document.owner_id in withheld}
                new = [made._replace(published=made.published and made.doc_id not in withheld | parts) for made in new]
            written, closed = self._write(connection, new, standing)
        invalid = [made for made in new if made.reasons]
        names = {document.doc_id: document.external_id for document in documents if invalid}
        examples = [(f"{self.state.key}:{names[made.doc_id]}", "; ".join(made.reasons)) for made in invalid]
        return Made(len(documents), written, closed, len(invalid), tuple(examples[:MOST_EXAMPLES]))

    def _documents(self, connection: Connection[Any], roots: Sequence[int]) -> list[Live]:
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                f"""WITH these AS MATERIALIZED (
                        SELECT * FROM document WHERE doc_id = ANY (%(roots)s)
                        UNION ALL SELECT * FROM document WHERE owner_id = ANY (%(roots)s))
                    SELECT r.doc_id, r.entity, d.external_id, d.owner_id, r.state, r.hash, r.hash_gen,
                           r.source_modified_at, g.accepted_at, b.body::text, o.body::text
                    FROM these d JOIN revision r ON r.doc_id = d.doc_id AND {live("r", "%(gen)s")}
                    JOIN body b ON b.doc_id = r.doc_id AND b.from_gen = r.from_gen
                    LEFT JOIN generation g ON g.set_id = r.set_id AND g.gen = r.hash_gen
                    LEFT JOIN overwrite o ON o.doc_id = r.doc_id""",
                {"roots": list(roots), "gen": self.gen},
            )
            return sorted(map(Live._make, cursor.fetchall()))  # a fifth of the server's time, if it were to do it

    def _results(self, connection: Connection[Any], doc_ids: Sequence[int]) -> list[FoundResult]:
        wanted = [task.name for task in self.installation.catalog.tasks]
        if not wanted:
            return []
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                f"""SELECT u.doc_id, u.task, x.version, x.kind, x.data::text, x.reason, x.due_at, x.attempts,
                           x.finished_at
                    FROM revision r JOIN task_use u USING (doc_id, from_gen) JOIN LATERAL (
                        SELECT * FROM result x WHERE x.task = u.task AND x.fingerprint = u.fingerprint {STANDING}
                    ) x ON true
                    WHERE r.doc_id = ANY (%(ids)s) AND {live("r", "%(gen)s")} AND u.task = ANY (%(tasks)s)
                    ORDER BY u.doc_id, u.task""",
                {"ids": list(doc_ids), "gen": self.gen, "tasks": wanted},
            )
            return [FoundResult._make(row) for row in cursor.fetchall()]

    def _standing(self, connection: Connection[Any], roots: Sequence[int]) -> dict[int, StandingOutput]:
        if not self.has_outputs:  # the set's first outputs: the look-up took a tenth of the server's time
            return {}
        with connection.cursor(binary=True) as cursor:
            cursor.execute(
                f"""SELECT o.doc_id, o.from_gen, o.published, o.hash, o.made_from FROM output o
                    WHERE o.doc_id IN (SELECT doc_id FROM document
                                       WHERE doc_id = ANY (%(roots)s) OR owner_id = ANY (%(roots)s))
                      AND {live("o", "%(gen)s")}""",
                {"roots": list(roots), "gen": self.gen},
            )
            return {row[0]: StandingOutput._make(row[1:]) for row in cursor.fetchall()}

    def _write(
        self,
        connection: Connection[Any],
        new: Sequence[New],
        standing: Mapping[int, StandingOutput],
    ) -> tuple[int, int]:
        """Close what is gone or changed, write what is new; an output of this candidate that changes is replaced.
        How many were written, and how many closed."""
        kept = {
            made.doc_id
            for made in new
            if (before := standing.get(made.doc_id)) and before.hash == made.hash and before.published == made.published
        }
        touched = [made for made in new if made.doc_id in kept and made.stored.body]
        gone = [doc_id for doc_id in standing if doc_id not in kept]
        undo = [doc_id for doc_id in gone if standing[doc_id].from_gen == self.gen]
        if undo:
            for table in ("output", "output_body"):
                connection.execute(f"DELETE FROM {table} WHERE doc_id = ANY (%s) AND from_gen = %s", (undo, self.gen))
        if gone:
            connection.execute(
                """UPDATE output SET to_gen = %(gen)s
                   WHERE doc_id = ANY (%(ids)s) AND from_gen < %(gen)s AND to_gen IS NULL""",
                {"gen": self.gen, "ids": gone},
            )
        if touched:
            connection.execute(
                f"""UPDATE output o SET made_from = u.made_from
                    FROM unnest(%(ids)s::bigint[], %(made)s::bytea[]) u (doc_id, made_from)
                    WHERE o.doc_id = u.doc_id AND {live("o", "%(gen)s")}""",
                {
                    "ids": [made.doc_id for made in touched],
                    "made": [made.made_from for made in touched],
                    "gen": self.gen,
                },
            )
        fresh = [made for made in new if made.doc_id not in kept]
        if fresh:
            copy(
                connection,
                "output",
                ("doc_id", "set_id", "entity", "from_gen", "published", "hash", "made_from"),
                ("int8", "int4", "text", "int4", "bool", "bytea", "bytea"),
                (
                    (made.doc_id, self.state.set_id, made.entity, self.gen, made.published, made.hash, made.made_from)
                    for made in fresh
                ),
            )
            copy(
                connection,
                "output_body",
                ("doc_id", "from_gen", "body", "index_head", "common_at", "reasons"),
                ("int8", "int4", "bytea", "bytea", "int4", "text[]"),
                ((made.doc_id, self.gen, *made.stored, made.reasons or None) for made in fresh),
            )
        return len(fresh), len(gone)
