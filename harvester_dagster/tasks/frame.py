"""The task frame: which documents of a set need a task, run it on what has no usable result, keep the outcomes.

A result is stored under (task, version, fingerprint of the input); `task_use` says which input a revision has.
Nothing is invalidated: a changed value no longer matches. What is looked at in a run: revisions that came since
the last one, documents whose inputs depend on a changed result, and results that are due. In a night in which
none of these exist a task costs four index look-ups.

Belongs here: evaluating, sharing, storing, retrying. Does not belong here: what a task does.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec
from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.documents import canonical
from harvester_dagster.documents.production import STANDING
from harvester_dagster.harvesting import attempts
from harvester_dagster.harvesting.garbage import rarely_collected
from harvester_dagster.harvesting.generations import live
from harvester_dagster.harvesting.sets import find
from harvester_dagster.installation import Installation
from harvester_dagster.store.database import copy
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Subject, Task
from harvester_dagster.vocabularies import current
from harvester_dagster.vocabularies.trees import Vocabularies

BATCH = 5_000
FLUSH_SECONDS = 2.0
FLUSH_OUTCOMES = 500
EXAMPLES = 10

Again = Literal["", "failed", "expired", "all"]


class Example(NamedTuple):
    """A document to look at: how the task ended for it, and why."""

    srn: str
    kind: str
    reason: str
    seconds: float
    data: Mapping[str, Any] | None


@dataclass
class Report:
    """How a task's run over a set went, for people."""

    task: str
    looked_at: int = 0
    not_applicable: int = 0
    reused: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    why_not: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    pictures: list[Example] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, item: Item, outcome: Outcome) -> None:
        self.outcomes[outcome.kind] = self.outcomes.get(outcome.kind, 0) + 1
        example = Example(item.srn, outcome.kind, outcome.reason, 0.0, outcome.data)
        if outcome.kind in ("failure", "retry") and len(self.examples) < EXAMPLES:
            self.examples.append(example)
        has_picture = outcome.kind == "success" and outcome.data and "preview_small" in outcome.data
        if has_picture and len(self.pictures) < EXAMPLES:
            self.pictures.append(example)


class _Work(NamedTuple):
    """The documents to look at; None: all of the set. `again`: those of them that did not come with the candidate
    but are marked or due; what the candidate changes or ends of these is looked at as it is accepted, too, for the
    candidate may be rejected."""

    doc_ids: list[int] | None
    again: list[int] | None


_Reader = Callable[[str], Mapping[str, Any]]


def _whole(body: str) -> Mapping[str, Any]:
    properties: Mapping[str, Any] = msgspec.json.decode(body)["properties"]
    return properties


def _reader(task: Task) -> _Reader:
    """The properties that a task reads, and no others: passing over the rest takes a fifth of the time of decoding
    it. Inputs that documents share are decoded whole once."""
    heads = sorted({path.split(".")[1] for path in task.reads if path.startswith("$.")})
    if not all(head.isidentifier() for head in heads):
        return _whole
    properties = msgspec.defstruct("Properties", [(head, Any, None) for head in heads])
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(msgspec.defstruct("Body", [("properties", properties)]))
    return lambda body: msgspec.structs.asdict(decoder.decode(body).properties)


class _Candidate(NamedTuple):
    """A document that may need the task."""

    doc_id: int
    from_gen: int
    external_id: str
    body: str
    results: list[Any] | None


def value_at(subject: Subject, path: str) -> Any:
    """`$.a.b` in the properties, `task.a.b` in a result's data; None where there is nothing."""
    head, *rest = path.split(".")
    found: Any = subject.properties
    if head != "$":
        result = subject.results.get(head)
        found = result.data if result else None
    for name in rest:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def fingerprint(task: Task, subject: Subject, context: Context) -> bytes:
    """Over every value that the task and its condition read."""
    values: list[Any] = [value_at(subject, path) for path in task.reads]
    if task.looks_up:
        values.append(task.looks_up(subject, context))
    return canonical.digest(canonical.encode([task.name, values]))


def context_of(installation: Installation, key: str, vocabularies: Vocabularies) -> Context:
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


def run_task(
    installation: Installation,
    key: str,
    task: Task,
    *,
    run_id: str | None = None,
    again: Again = "",
    on_candidate: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Run a task over a set's open candidate, else over its accepted state; `on_candidate`: over what is staged,
    open or not. The caller has the set's lock."""
    started = time.monotonic()
    report = Report(task.name)
    if applies_here(task, installation) is None:
        _Run(installation, key, task, run_id, again, on_candidate, report, progress).all()
    report.seconds = time.monotonic() - started
    _keep_report(installation, key, report)
    return report


def _keep_report(installation: Installation, key: str, report: Report) -> None:
    """The newest report of each task is kept, for the night's report and the status."""
    outcomes = {**report.outcomes, **({"not applicable": report.not_applicable} if report.not_applicable else {})}
    examples = [[example.srn, example.kind, example.reason] for example in report.examples]
    with installation.pool.connection() as connection:
        connection.execute(
            """INSERT INTO task_report (set_id, task, finished_at, looked_at, reused, outcomes, examples, seconds)
               SELECT set_id, %s, %s, %s, %s, %s, %s, %s FROM harvest_set WHERE key = %s
               ON CONFLICT (set_id, task) DO UPDATE SET finished_at = excluded.finished_at,
                   looked_at = excluded.looked_at, reused = excluded.reused, outcomes = excluded.outcomes,
                   examples = excluded.examples, seconds = excluded.seconds""",
            (
                report.task,
                installation.clock(),
                report.looked_at,
                report.reused,
                Jsonb(outcomes),
                Jsonb(examples),
                report.seconds,
                key,
            ),
        )


class _Run:
    """One task over one set."""

    def __init__(
        self,
        installation: Installation,
        key: str,
        task: Task,
        run_id: str | None,
        again: Again,
        on_candidate: bool,
        report: Report,
        progress: Callable[[str], None],
    ):
        self.installation, self.key, self.task, self.again = installation, key, task, again
        self.report, self.progress = report, progress
        vocabularies = current.load(installation)
        self.context = context_of(installation, key, vocabularies.vocabularies)
        self.dependents = [other.name for other in installation.catalog.tasks if task.name in other.after]
        with installation.pool.connection() as connection:
            self.state = find(connection, key)
            attempt = attempts.of_run(connection, self.state, run_id)
        staged = on_candidate or (attempt is not None and self.state.staged_attempt == attempt.attempt_id)
        self.gen = self.state.accepted_gen + (1 if staged else 0)
        self.version = self._version(vocabularies.version)
        self.read = _reader(task)

    def _version(self, vocabularies: str) -> str:
        """What makes every document of the set worth another look: the task's version and the settings it may read."""
        settings = self.installation.config
        read = [settings.tasks.model_dump(mode="json"), settings.platform, self.context.settings.check_urls]
        if self.task.uses_vocabularies:
            read += [vocabularies, self.context.now.astimezone(settings.zone).year]
        return f"{self.task.version}:{canonical.digest(canonical.encode(read)).hex()}"

    def all(self) -> None:
        with rarely_collected():
            self._all()

    def _all(self) -> None:
        with self.installation.pool.connection() as connection:
            work = self._begin(connection)
        if work.doc_ids is None or work.doc_ids:
            for batch in _read_ahead(self._candidates(work.doc_ids, live("r", "%(gen)s"))):
                self._batch(batch, self.gen)
        if self.gen > self.state.accepted_gen and (work.again is None or work.again):
            for batch in self._candidates(work.again, "r.to_gen = %(gen)s AND r.from_gen < %(gen)s"):
                self._batch(batch, self.state.accepted_gen)
        with self.installation.pool.connection() as connection:
            connection.execute(
                "UPDATE task_progress SET settled = true WHERE set_id = %s AND task = %s AND NOT settled",
                (self.state.set_id, self.task.name),
            )

    def _begin(self, connection: Connection[Any]) -> _Work:
        """What to look at. Notes that the run began, so that a cut one is seen; only then are marks taken away: one
        that another set's run makes from now on stays for the next run."""
        parameters = {
            "set": self.state.set_id,
            "task": self.task.name,
            "version": self.task.version,
            "gen": self.gen,
            "now": self.context.now,
            "entity": self.task.entity,
            "progress": self.version,
        }
        row = connection.execute(
            "SELECT version, gen, settled FROM task_progress WHERE set_id = %(set)s AND task = %(task)s", parameters
        ).fetchone()
        everything = row is None or row[0] != self.version or not row[2] or bool(self.again)
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
                return _Work([], [])
        connection.execute(
            """INSERT INTO task_progress (set_id, task, version, gen, settled)
               VALUES (%(set)s, %(task)s, %(progress)s, %(gen)s, false)
               ON CONFLICT (set_id, task) DO UPDATE SET version = excluded.version, gen = excluded.gen,
                   settled = false""",
            parameters,
        )
        return _Work(None, None) if everything else _Work(sorted(fresh | again), sorted(again))

    def _candidates(self, doc_ids: list[int] | None, which: str) -> Iterator[list[_Candidate]]:
        """Revisions with their properties and the results they depend on, at most one of a document, by id."""
        results = "NULL"
        if self.task.after:
            results = f"""(SELECT json_agg(json_build_array(u.task, x.kind, x.data, x.reason, x.attempts))
                FROM task_use u JOIN LATERAL (
                    SELECT * FROM result x WHERE x.task = u.task AND x.fingerprint = u.fingerprint
                    {STANDING}) x ON true
                WHERE u.doc_id = r.doc_id AND u.from_gen = r.from_gen AND u.task = ANY (%(after)s))"""
        after_id = 0
        while True:
            with self.installation.pool.connection() as connection, connection.cursor() as cursor:
                cursor.execute(
                    f"""SELECT r.doc_id, r.from_gen, d.external_id, b.body::text, {results}
                        FROM revision r JOIN document d USING (doc_id) JOIN body b USING (doc_id, from_gen)
                        WHERE r.set_id = %(set)s AND r.entity = %(entity)s AND r.state = 'active'
                          AND {which} AND r.doc_id > %(after_id)s
                          AND (%(ids)s::bigint[] IS NULL OR r.doc_id = ANY (%(ids)s))
                        ORDER BY r.doc_id LIMIT %(limit)s""",
                    {
                        "set": self.state.set_id,
                        "entity": self.task.entity,
                        "gen": self.gen,
                        "after": list(self.task.after),
                        "after_id": after_id,
                        "ids": doc_ids,
                        "limit": BATCH,
                    },
                    binary=True,
                )
                batch = [_Candidate(*row) for row in cursor]
            if batch:
                yield batch
                after_id = batch[-1].doc_id
            if len(batch) < BATCH:
                return

    def _batch(self, batch: Sequence[_Candidate], gen: int) -> None:
        uses: list[tuple[int, int, bytes]] = []
        waiting: dict[bytes, Item] = {}
        for candidate in batch:
            subject = self._subject(candidate, self.read)
            reason = self.task.condition(subject, self.context)
            if reason is not None:
                self.report.not_applicable += 1
                self.report.why_not[reason] = self.report.why_not.get(reason, 0) + 1
                continue
            mark = fingerprint(self.task, subject, self.context)
            uses.append((candidate.doc_id, candidate.from_gen, mark))
            if mark not in waiting:
                whole = self._subject(candidate, _whole)
                waiting[mark] = Item(mark, whole, None, f"{self.key}:{candidate.external_id}")
        self.report.looked_at += len(batch)
        with self.installation.pool.connection() as connection:
            self._note_uses(connection, batch, uses, gen)
            pending = list(self._pending(connection, waiting))
        self.report.reused += len(waiting) - len(pending)
        for start in range(0, len(pending), self.task.batch):
            self._work(pending[start : start + self.task.batch])

    def _subject(self, candidate: _Candidate, read: _Reader) -> Subject:
        results = {
            name: Result(kind, data, reason, None, tried, self.context.now)
            for name, kind, data, reason, tried in candidate.results or ()
        }
        return Subject(read(candidate.body), results)

    def _note_uses(
        self, connection: Connection[Any], batch: Sequence[_Candidate], uses: Sequence[tuple[int, int, bytes]], gen: int
    ) -> None:
        """Which input each revision has now; a document whose input became another one gets a new output."""
        doc_ids = [candidate.doc_id for candidate in batch]
        parameters = {"ids": doc_ids, "task": self.task.name, "gen": gen}
        before = {
            (doc_id, from_gen): bytes(mark)
            for doc_id, from_gen, mark in connection.execute(
                f"""SELECT doc_id, from_gen, fingerprint FROM task_use u
                    WHERE doc_id = ANY (%(ids)s) AND task = %(task)s
                      AND from_gen = (SELECT max(from_gen) FROM revision r
                                      WHERE r.doc_id = u.doc_id AND {live("r", "%(gen)s")})""",
                parameters,
            )
        }
        after = {(doc_id, from_gen): mark for doc_id, from_gen, mark in uses}
        gone = [place for place, mark in before.items() if after.get(place) != mark]
        if gone:
            connection.execute(
                """DELETE FROM task_use u USING unnest(%s::bigint[], %s::int[]) g (doc_id, from_gen)
                   WHERE u.doc_id = g.doc_id AND u.from_gen = g.from_gen AND u.task = %s""",
                ([place[0] for place in gone], [place[1] for place in gone], self.task.name),
            )
        fresh = [
            (doc_id, from_gen, self.task.name, self.state.set_id, mark)
            for (doc_id, from_gen), mark in after.items()
            if before.get((doc_id, from_gen)) != mark
        ]
        if fresh:
            copy(
                connection,
                "task_use",
                ("doc_id", "from_gen", "task", "set_id", "fingerprint"),
                ("int8", "int4", "text", "int4", "bytea"),
                fresh,
            )
        changed = sorted({place[0] for place in gone} | {row[0] for row in fresh if row[1] <= self.state.accepted_gen})
        mark_dirty(connection, changed)

    def _pending(self, connection: Connection[Any], waiting: Mapping[bytes, Item]) -> Iterator[Item]:
        """Items without a usable result, with what is known of them."""
        known = {
            bytes(mark): Result(kind, data, reason, due_at, tried, finished_at)
            for mark, kind, data, reason, due_at, tried, finished_at in connection.execute(
                """SELECT fingerprint, kind, data, reason, due_at, attempts, finished_at FROM result
                   WHERE task = %s AND version = %s AND fingerprint = ANY (%s)""",
                (self.task.name, self.task.version, list(waiting)),
            )
        }
        for mark, item in waiting.items():
            result = known.get(mark)
            if result is None or self._again(result):
                yield item._replace(previous=result)

    def _again(self, result: Result) -> bool:
        due = result.due_at is not None and result.due_at <= self.context.now
        return due or self.again == "all" or (self.again == "failed" and result.kind in ("failure", "retry"))

    def _work(self, items: Sequence[Item]) -> None:
        """Run the task on a batch and store its outcomes as they come: a kill costs what was not stored yet."""
        left = {item.fingerprint: item for item in items}
        done: list[tuple[Item, Outcome]] = []
        stored_at = time.monotonic()
        trouble = "the task gave no outcome"
        try:
            for item, outcome in self.task.run(items, self.context):
                if left.pop(item.fingerprint, None):
                    done.append((item, outcome))
                if len(done) >= FLUSH_OUTCOMES or time.monotonic() - stored_at > FLUSH_SECONDS:
                    self._store(done)
                    done, stored_at = [], time.monotonic()
                    self.progress(f"{self.key}: {self.task.name}: {sum(self.report.outcomes.values()):,} done")
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
        done.extend((item, Outcome("retry", None, trouble, self.context.now)) for item in left.values())
        self._store(done)

    def _store(self, done: Iterable[tuple[Item, Outcome]]) -> None:
        """Outcomes, and in the same transaction what they make stale: outputs, and inputs of later tasks."""
        done = sorted(done, key=lambda pair: pair[0].fingerprint)  # two sets that share results never cross
        if not done:
            return
        for item, outcome in done:
            self.report.add(item, outcome)
        done = [(item, _standing(item, outcome, self.context.now)) for item, outcome in done]
        marks = [item.fingerprint for item, _ in done]
        with self.installation.pool.connection() as connection:
            connection.execute(
                """INSERT INTO result (task, version, fingerprint, kind, data, reason, due_at, attempts, finished_at)
                   SELECT %(task)s, %(version)s, mark, kind, data::json, reason, due_at, attempts, %(now)s
                   FROM unnest(%(marks)s::bytea[], %(kinds)s::text[], %(data)s::text[], %(reasons)s::text[],
                               %(due)s::timestamptz[], %(attempts)s::int[])
                        AS u (mark, kind, data, reason, due_at, attempts)
                   ON CONFLICT (task, version, fingerprint) DO UPDATE SET kind = excluded.kind, data = excluded.data,
                       reason = excluded.reason, due_at = excluded.due_at, attempts = excluded.attempts,
                       finished_at = excluded.finished_at""",
                {
                    "task": self.task.name,
                    "version": self.task.version,
                    "now": self.context.now,
                    "marks": marks,
                    "kinds": [outcome.kind for _, outcome in done],
                    "data": [_text(outcome.data) for _, outcome in done],
                    "reasons": [outcome.reason.replace("\0", "")[:2000] for _, outcome in done],
                    "due": [outcome.due_at for _, outcome in done],
                    "attempts": [_attempts(item, outcome) for item, outcome in done],
                },
            )
            self._mark_users(connection, [item.fingerprint for item, outcome in done if _says_more(item, outcome)])

    def _mark_users(self, connection: Connection[Any], marks: list[bytes]) -> None:
        """In every set that shares these results: outputs to make anew, and later tasks to look again.

        A revision of this set that is only staged and has no output yet needs no mark: its output is still to be
        made. Of another set's nobody knows how far its run has come.
        """
        if not marks:
            return
        parameters = {"task": self.task.name, "marks": marks, "later": self.dependents, "own": self.state.set_id}
        connection.execute(
            """INSERT INTO dirty (doc_id, set_id)
               SELECT DISTINCT u.doc_id, u.set_id FROM task_use u JOIN harvest_set s USING (set_id)
               LEFT JOIN attempt a ON a.attempt_id = s.staged_attempt
               WHERE u.task = %(task)s AND u.fingerprint = ANY (%(marks)s)
                 AND (u.set_id <> %(own)s OR u.from_gen <= s.accepted_gen OR a.outputs_made)
               ORDER BY 1 ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
            parameters,
        )
        if self.dependents:
            connection.execute(
                """INSERT INTO stale_use (task, doc_id, set_id)
                   SELECT DISTINCT later, u.doc_id, u.set_id FROM task_use u CROSS JOIN unnest(%(later)s::text[]) later
                   LEFT JOIN task_progress p ON p.set_id = u.set_id AND p.task = later
                   WHERE u.task = %(task)s AND u.fingerprint = ANY (%(marks)s)
                     AND (u.set_id <> %(own)s OR u.from_gen <= p.gen)
                   ORDER BY 1, 2 ON CONFLICT DO NOTHING""",
                parameters,
            )


def _read_ahead(batches: Iterator[list[_Candidate]]) -> Iterator[list[_Candidate]]:
    """The next batch comes from the server while one is worked on."""
    with ThreadPoolExecutor(1, thread_name_prefix="candidates") as reader:
        coming = reader.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = reader.submit(next, batches, None)
            yield batch


def mark_dirty(connection: Connection[Any], doc_ids: Sequence[int]) -> None:
    """These documents' outputs are to be made anew by the next `products/set, files/set`."""
    if doc_ids:
        connection.execute(
            """INSERT INTO dirty (doc_id, set_id) SELECT doc_id, set_id FROM document
               WHERE doc_id = ANY (%s) ORDER BY 1 ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
            (list(doc_ids),),
        )


def _text(data: Mapping[str, Any] | None) -> str | None:
    """JSON for Postgres, which takes no NUL in text."""
    return None if data is None else canonical.encode(data).decode().replace("\\u0000", "")


def _standing(item: Item, outcome: Outcome, now: datetime) -> Outcome:
    """A retry that says nothing of its own leaves the last ending standing; without a time it is due at once."""
    if outcome.kind != "retry":
        return outcome
    due_at, before = outcome.due_at or now, item.previous
    if outcome.data is None and before and before.kind != "retry":
        return outcome._replace(kind=before.kind, data=before.data, due_at=due_at)
    return outcome._replace(due_at=due_at)


def _attempts(item: Item, outcome: Outcome) -> int:
    again = outcome.kind in ("retry", "failure") or bool(outcome.reason and outcome.due_at)
    return item.previous.attempts + 1 if item.previous and again else 1


def _says_more(item: Item, outcome: Outcome) -> bool:
    """Whether anybody who read the previous result would now read something else."""
    before = item.previous
    return before is None or before.kind != outcome.kind or before.data != outcome.data
