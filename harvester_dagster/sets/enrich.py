"""The task frame: which documents of a set need a task, run it on what has no usable result, keep the outcomes.

Tasks that read the same documents go through them in one pass. What is looked at: revisions that came since a task's
last run, documents whose inputs depend on a changed result, and results that are due. In a night in which none of
these exist a task costs four index look-ups.

Belongs here: which documents, and the order of evaluating, noting, running. Does not belong here: what a task reads
of a document (`task_inputs.py`), how results are kept and shared (`task_results.py`), what a task does.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from math import inf
from typing import Any, Literal, NamedTuple

from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.installation import Installation
from harvester_dagster.processes.cycle_collection import rarely_collected
from harvester_dagster.processes.read_ahead import read_ahead
from harvester_dagster.sets import attempts, task_reports, task_results
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sets.task_inputs import Candidate, Evaluated, Evaluation, Reader, subject_of
from harvester_dagster.sets.task_reports import TaskReport
from harvester_dagster.store.away import is_away
from harvester_dagster.store.database import copy
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Task
from harvester_dagster.vocabularies import current
from harvester_dagster.vocabularies.current import Current, VocabularyLost
from harvester_dagster.vocabularies.trees import Vocabularies

FLUSH_OUTCOMES = 500
MOST_SETTLED = 100_000

Again = Literal["", "failed", "expired", "all"]


class Portion(NamedTuple):
    """How much of the work is done before the set is let go, for others who wait for it: what is begun within so many
    seconds, so many inputs at once."""

    seconds: float
    inputs: int


class _Work(NamedTuple):
    """The documents to look at; None: all of the set. `again`: those of them that did not come with the candidate
    but are marked or due; what the candidate changes or ends of these is looked at as it is accepted, too, for the
    candidate may be rejected."""

    doc_ids: frozenset[int] | None
    again: frozenset[int] | None


def _either(some: frozenset[int] | None, others: frozenset[int] | None) -> frozenset[int] | None:
    return None if some is None or others is None else some | others


def context_of(installation: Installation, key: str, vocabularies: Vocabularies) -> Context:
    """The world of a run of tasks over one set, at the installation's clock."""
    return Context(
        key=key,
        config=installation.config,
        settings=installation.config.sets[key],
        now=installation.clock(),
        outside=installation.outside,
        objects=installation.objects,
        bodies=installation.bodies,
        vocabularies=vocabularies,
    )


def applies_here(task: Task, installation: Installation) -> str | None:
    """None: the installation runs this task; else why not."""
    if task.name in installation.config.tasks.disabled:
        return "disabled in the configuration"
    if task.platforms and installation.config.platform not in task.platforms:
        return f"only on the platforms {', '.join(task.platforms)}"
    return None


def run_tasks(
    locked: LockedSet,
    tasks: Sequence[Task],
    *,
    run_id: str | None = None,
    again: Again = "",
    on_candidate: bool = False,
    only_new: bool = False,
    portion: Portion | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> list[TaskReport]:
    """Run tasks of one entity, none of which comes after another, over a set's open candidate, else over its accepted
    state; `on_candidate`: over what is staged, open or not. `only_new`: over nothing but revisions that came since
    their last run; what else is to be done is left to the next run, and no report is kept of it. `portion`: no more
    than that now; whether anything is left the reports say, and the next run does it."""
    started = time.monotonic()
    made = {task.name: TaskReport(task.name, task.picture) for task in tasks}
    here = [task for task in tasks if applies_here(task, locked.installation) is None]
    try:
        known = _looked_up(locked.installation, here)
    except VocabularyLost as error:  # what they have found stands, and what is new waits until it is there again
        progress(f"{locked.key}: {', '.join(made)} wait: {error}")
        for report in made.values():
            report.waits = str(error)
        return list(made.values())
    if here:
        with rarely_collected():
            _Pass(locked, here, known, run_id, again, on_candidate, only_new, portion, made, progress).all()
    for report in made.values():
        report.seconds = time.monotonic() - started
        if not only_new:
            task_reports.keep(locked, report)
    return list(made.values())


def _looked_up(installation: Installation, tasks: Sequence[Task]) -> Current:
    """The vocabularies, where any of these tasks looks into them. Raises VocabularyLost."""
    if any(task.uses_vocabularies for task in tasks):
        return current.load(installation.pool, installation.objects)
    return current.NONE


class _One:
    """One task of a pass."""

    def __init__(
        self, task: Task, report: TaskReport, context: Context, reader: Reader, version: str, dependents: Sequence[str]
    ) -> None:
        self.task, self.report, self.context, self.version, self.dependents = task, report, context, version, dependents
        self.evaluation = Evaluation(task, context, reader)
        self.settled: set[bytes] = set()
        """Inputs that this run has looked up or worked on: once is enough."""


class _Looked(NamedTuple):
    """What one task says of the documents of a batch that it looks at."""

    one: _One
    candidates: list[Candidate]
    evaluated: list[Evaluated]


_Use = tuple[int, int, str, int, bytes]
"""A row of `task_use`; an empty fingerprint: the task does not apply."""


class _Pass:
    """Some tasks over one set."""

    def __init__(
        self,
        locked: LockedSet,
        tasks: Sequence[Task],
        vocabularies: Current,
        run_id: str | None,
        again: Again,
        on_candidate: bool,
        only_new: bool,
        portion: Portion | None,
        made: Mapping[str, TaskReport],
        progress: Callable[[str], None],
    ):
        self.locked, self.again, self.only_new, self.progress = locked, again, only_new, progress
        self.installation, self.state, self.key = locked.installation, locked.state, locked.key
        installation = locked.installation
        self.ends = time.monotonic() + portion.seconds if portion else inf
        self.inputs = portion.inputs if portion else MOST_SETTLED
        self.is_cut = False
        self.context = context_of(installation, self.key, vocabularies.vocabularies)
        with installation.pool.connection() as connection:
            attempt = attempts.of_run(connection, self.state, run_id)
        staged = on_candidate or (attempt is not None and self.state.staged_attempt == attempt.attempt_id)
        self.gen = self.state.candidate_gen if staged else self.state.accepted_gen
        self.entity = tasks[0].entity
        self.after = sorted({name for task in tasks for name in task.after})
        self.reader = Reader(path for task in tasks for path in task.reads)
        self.ones = [
            _One(
                task,
                made[task.name],
                self.context,
                self.reader,
                self._version(task, vocabularies.version),
                [other.name for other in installation.catalog.tasks if task.name in other.after],
            )
            for task in tasks
        ]

    def _version(self, task: Task, vocabularies: str) -> str:
        """What makes every document of the set worth another look: the task's version and the settings it may read."""
        settings = self.installation.config
        read = [settings.tasks.model_dump(mode="json"), settings.platform, self.context.settings.check_urls]
        if task.uses_vocabularies:
            read += [vocabularies, self.context.now.astimezone(settings.zone).year]
        return f"{task.version}:{canonical.digest(canonical.encode(read)).hex()}"

    def all(self) -> None:
        with self.installation.pool.connection() as connection:
            self.first = self._is_first(connection)
            begin = self._new if self.only_new else self._begin
            works = [begin(connection, one) for one in self.ones]
        doc_ids = reduce(_either, [work.doc_ids for work in works])
        if doc_ids is None or doc_ids:
            batches = self._candidates(doc_ids, live("r", "%(gen)s"))
            self._through(batches, [work.doc_ids for work in works])
        again = reduce(_either, [work.again for work in works])
        if self.gen > self.state.accepted_gen and (again is None or again):
            batches = self._candidates(again, "r.to_gen = %(gen)s AND r.from_gen < %(gen)s")
            self._through(batches, [work.again for work in works])
        if self.is_cut:  # the next run looks at all of it once more
            return
        with self.installation.pool.connection() as connection:
            if self.only_new:
                self._note_progress(connection)
                return
            connection.execute(
                "UPDATE task_progress SET settled = true WHERE set_id = %s AND task = ANY (%s) AND NOT settled",
                (self.state.set_id, [one.task.name for one in self.ones]),
            )

    def _note_progress(self, connection: Connection[Any]) -> None:
        """Where nothing but new revisions was to be looked at, all has been; else the next run looks at everything."""
        connection.cursor().executemany(
            """UPDATE task_progress SET gen = %s
               WHERE set_id = %s AND task = %s AND version = %s AND settled AND gen < %s""",
            [(self.gen, self.state.set_id, one.task.name, one.version, self.gen) for one in self.ones],
        )

    def _new(self, connection: Connection[Any], one: _One) -> _Work:
        """The revisions that came since the task's last run. A kill before the end leaves them for the next one."""
        rows = connection.execute(
            f"""SELECT doc_id FROM revision r
                WHERE set_id = %(set)s AND entity = %(entity)s AND {live("r", "%(gen)s")}
                  AND from_gen > coalesce((SELECT least(gen, %(gen)s - 1) FROM task_progress
                                           WHERE set_id = %(set)s AND task = %(task)s), %(gen)s - 1)""",
            {"set": self.state.set_id, "entity": one.task.entity, "gen": self.gen, "task": one.task.name},
        )
        return _Work(frozenset(doc_id for (doc_id,) in rows), frozenset())

    def _is_first(self, connection: Connection[Any]) -> bool:
        """Whether none of these tasks has noted anything of the set yet."""
        row = connection.execute(
            "SELECT NOT EXISTS (SELECT FROM task_progress WHERE set_id = %s AND task = ANY (%s))",
            (self.state.set_id, [one.task.name for one in self.ones]),
        ).fetchone()
        return row == (True,)

    def _begin(self, connection: Connection[Any], one: _One) -> _Work:
        """What to look at. Notes that the run began, so that a cut one is seen; only then are marks taken away: one
        that another set's run makes from now on stays for the next run."""
        parameters = {
            "set": self.state.set_id,
            "task": one.task.name,
            "version": one.task.version,
            "gen": self.gen,
            "now": self.context.now,
            "entity": one.task.entity,
            "progress": one.version,
        }
        row = connection.execute(
            "SELECT version, gen, settled FROM task_progress WHERE set_id = %(set)s AND task = %(task)s", parameters
        ).fetchone()
        everything = row is None or row[0] != one.version or not row[2] or bool(self.again)
        fresh: set[int] = set()
        again = {
            doc_id
            for (doc_id,) in connection.execute(
                "DELETE FROM stale_use WHERE set_id = %(set)s AND task = %(task)s RETURNING doc_id", parameters
            )
        }
        if not everything and row:
            parameters["since"] = row[1]
            found = connection.execute(
                f"""SELECT doc_id, true FROM revision r WHERE set_id = %(set)s AND from_gen > %(since)s
                        AND entity = %(entity)s AND {live("r", "%(gen)s")}
                    UNION ALL SELECT u.doc_id, false FROM result JOIN task_use u USING (task, fingerprint)
                          WHERE task = %(task)s AND version = %(version)s AND due_at <= %(now)s
                            AND u.set_id = %(set)s""",
                parameters,
            )
            for doc_id, is_fresh in found:
                (fresh if is_fresh else again).add(doc_id)
            if not fresh and not again and row[1] >= self.gen:
                return _Work(frozenset(), frozenset())
        connection.execute(
            """INSERT INTO task_progress (set_id, task, version, gen, settled)
               VALUES (%(set)s, %(task)s, %(progress)s, %(gen)s, false)
               ON CONFLICT (set_id, task) DO UPDATE SET version = excluded.version, gen = excluded.gen,
                   settled = false""",
            parameters,
        )
        return _Work(None, None) if everything else _Work(frozenset(fresh | again), frozenset(again))

    def _candidates(self, doc_ids: frozenset[int] | None, which: str) -> Iterator[list[Candidate]]:
        """Revisions with their properties and the results they depend on, at most one of a document, by id."""
        found = "NULL::text"
        if self.after:
            found = f"""(SELECT json_agg(json_build_array(u.task, x.kind, x.data, x.reason, x.attempts))::text
                FROM task_use u JOIN LATERAL (
                    SELECT * FROM result x WHERE x.task = u.task AND x.fingerprint = u.fingerprint
                    {task_results.STANDING}) x ON true
                WHERE u.doc_id = r.doc_id AND u.from_gen = r.from_gen AND u.task = ANY (%(after)s))"""
        after_id, limit = 0, self.installation.limits.evaluated
        while True:
            with self.installation.pool.connection() as connection, connection.cursor() as cursor:
                cursor.execute(
                    f"""SELECT r.doc_id, r.from_gen, d.external_id, b.body::text, {found}
                        FROM revision r JOIN document d USING (doc_id) JOIN body b USING (doc_id, from_gen)
                        WHERE r.set_id = %(set)s AND r.entity = %(entity)s AND r.state = 'active'
                          AND {which} AND r.doc_id > %(after_id)s
                          AND (%(ids)s::bigint[] IS NULL OR r.doc_id = ANY (%(ids)s))
                        ORDER BY r.doc_id LIMIT %(limit)s""",
                    {
                        "set": self.state.set_id,
                        "entity": self.entity,
                        "gen": self.gen,
                        "after": self.after,
                        "after_id": after_id,
                        "ids": None if doc_ids is None else sorted(doc_ids),
                        "limit": limit,
                    },
                    binary=True,
                )
                batch = [Candidate._make(row) for row in cursor.fetchall()]
            if batch:
                yield batch
                after_id = batch[-1].doc_id
            if len(batch) < limit:
                return

    def _through(self, batches: Iterator[list[Candidate]], wanted: Sequence[frozenset[int] | None]) -> None:
        """All batches: while one is worked on, what the next one reads is noted, and the one after it evaluated."""
        with (
            read_ahead(batches) as read,
            read_ahead(self._looked(batch, wanted) for batch in read) as looked,
            read_ahead(self._noted(found) for found in looked) as noted,
        ):
            for found in noted:
                self._settle(found)

    def _looked(self, batch: list[Candidate], wanted: Sequence[frozenset[int] | None]) -> list[_Looked]:
        values = [self.reader(candidate.body) for candidate in batch]
        found = []
        for one, doc_ids in zip(self.ones, wanted, strict=True):
            if doc_ids is None:
                found.append(_Looked(one, batch, one.evaluation.of(batch, values)))
                continue
            mine = [place for place, candidate in enumerate(batch) if candidate.doc_id in doc_ids]
            candidates = [batch[place] for place in mine]
            found.append(_Looked(one, candidates, one.evaluation.of(candidates, [values[place] for place in mine])))
        return found

    def _settle(self, looked: Sequence[_Looked]) -> None:
        """Run each task on what has no usable result."""
        for one, candidates, evaluated in looked:
            waiting: dict[bytes, Candidate] = {}
            for candidate, (why_not, mark) in zip(candidates, evaluated, strict=True):
                if why_not is not None:
                    one.report.pass_over(why_not)
                elif mark not in one.settled:
                    waiting.setdefault(mark, candidate)
            one.report.looked_at += len(candidates)
            pending = self._pending(one, waiting) if waiting else []
            one.report.reused += len(waiting) - len(pending)
            if len(one.settled) > MOST_SETTLED:
                one.settled.clear()
            one.settled.update(waiting)
            at_once = min(one.task.batch, self.inputs)
            for start in range(0, len(pending), at_once):
                if time.monotonic() > self.ends:
                    self.is_cut = one.report.is_cut = True
                    break
                self._work(one, pending[start : start + at_once])

    def _noted(self, looked: list[_Looked]) -> list[_Looked]:
        """Note which input each revision has now; a document whose input became another one gets a new output."""
        with self.installation.pool.connection() as connection:
            self._note_uses(connection, looked)
        return looked

    def _note_uses(self, connection: Connection[Any], looked: Sequence[_Looked]) -> None:
        uses = [
            (candidate.doc_id, candidate.from_gen, one.task.name, self.state.set_id, mark)
            for one, candidates, evaluated in looked
            for candidate, (_, mark) in zip(candidates, evaluated, strict=True)
        ]
        before = {} if self.first else self._noted_before(connection, uses)
        gone = [use[:3] for use in uses if use[:3] in before and before[use[:3]] != use[4]] if before else []
        if gone:
            connection.execute(
                """DELETE FROM task_use u USING unnest(%s::bigint[], %s::int[], %s::text[]) g (doc_id, from_gen, task)
                   WHERE u.doc_id = g.doc_id AND u.from_gen = g.from_gen AND u.task = g.task""",
                [list(column) for column in zip(*gone, strict=True)],
            )
        fresh = [use for use in uses if use[4] and (not before or before.get(use[:3]) != use[4])]
        if fresh:
            copy(
                connection,
                "task_use",
                ("doc_id", "from_gen", "task", "set_id", "fingerprint"),
                ("int8", "int4", "text", "int4", "bytea"),
                fresh,
            )
        accepted = self.state.accepted_gen
        task_results.mark_dirty(
            connection,
            self.locked,
            sorted({place[0] for place in gone} | {row[0] for row in fresh if row[1] <= accepted}),
        )

    def _noted_before(self, connection: Connection[Any], uses: Sequence[_Use]) -> dict[tuple[int, int, str], bytes]:
        revisions = list({use[:2] for use in uses})
        rows = connection.execute(
            """SELECT u.doc_id, u.from_gen, u.task, u.fingerprint
               FROM unnest(%s::bigint[], %s::int[]) r (doc_id, from_gen) JOIN task_use u USING (doc_id, from_gen)
               WHERE u.task = ANY (%s)""",
            (
                [doc_id for doc_id, _ in revisions],
                [from_gen for _, from_gen in revisions],
                [one.task.name for one in self.ones],
            ),
            binary=True,
        )
        return {(doc_id, from_gen, task): mark for doc_id, from_gen, task, mark in rows}

    def _pending(self, one: _One, waiting: Mapping[bytes, Candidate]) -> list[Item]:
        """What has no usable result, with what is known of it."""
        with self.installation.pool.connection() as connection:
            known = task_results.known(connection, one.task, list(waiting))
        return [
            Item(
                mark,
                subject_of(candidate, self.context),
                known.get(mark),
                f"{self.key}:{candidate.external_id}",
                candidate.doc_id,
            )
            for mark, candidate in waiting.items()
            if mark not in known or self._again(known[mark])
        ]

    def _again(self, result: Result) -> bool:
        due = result.due_at is not None and result.due_at <= self.context.now
        return due or self.again == "all" or (self.again == "failed" and result.kind in ("failure", "retry"))

    def _work(self, one: _One, items: Sequence[Item]) -> None:
        """Run the task on a batch and store its outcomes as they come: a kill costs what was not stored yet."""
        left = {item.fingerprint: item for item in items}
        done: list[tuple[Item, Outcome]] = []
        stored_at, flush_seconds = time.monotonic(), self.installation.limits.outcome_seconds
        trouble = "the task gave no outcome"
        try:
            for item, outcome in one.task.run(items, self.context):
                if left.pop(item.fingerprint, None):
                    done.append((item, outcome))
                if len(done) >= FLUSH_OUTCOMES or time.monotonic() - stored_at > flush_seconds:
                    self._store(one, done)
                    done, stored_at = [], time.monotonic()
                    self.progress(f"{self.key}: {one.task.name}: {one.report.done:,} done")
        except Exception as error:
            if is_away(error):  # which says nothing of these items: the step is done again
                raise
            trouble = f"{type(error).__name__}: {error}"
        done.extend((item, Outcome("retry", None, trouble, self.context.now)) for item in left.values())
        self._store(one, done)

    def _store(self, one: _One, done: Sequence[tuple[Item, Outcome]]) -> None:
        if not done:
            return
        for item, outcome in done:
            one.report.add(item, outcome)
        with self.installation.pool.connection() as connection:
            task_results.store(connection, self.locked, one.task, done, now=self.context.now, later=one.dependents)
