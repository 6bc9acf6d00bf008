"""Results of tasks that failed: grouped by what went wrong and where, chosen, and made due now.

A result counts as failed where its task ended so, or is to be tried again though an earlier one stands. Looked at are
those that accepted, active documents have. Each answer is a statement or two, however many there are. Belongs here:
choosing, and making due. Does not belong here: the work itself, which the next run of the task does (`enrich.py`).
"""

import shlex
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.sets.generations import live
from harvester_dagster.tasks.task import Task

SAMPLES = 10
LOOKED = 10
"""Results of a group that are followed to their documents, where all groups are shown."""
MOST_SRNS = 1_000
FAILED = "(x.kind IN ('failure', 'retry') OR (x.reason <> '' AND x.due_at IS NOT NULL))"
"""As the partial index `result_failed` has it."""


_USES = f"""JOIN task_use u ON u.fingerprint = x.fingerprint AND u.task = x.task
        JOIN harvest_set s ON s.set_id = u.set_id AND s.retired_at IS NULL AND s.withdrawn_at IS NULL
        JOIN revision r ON r.doc_id = u.doc_id AND r.from_gen = u.from_gen AND r.state = 'active'
                       AND {live("r", "s.accepted_gen")}
        JOIN document d ON d.doc_id = u.doc_id"""
"""The accepted, active documents that have a result."""
_ALL_GROUPS = f"""
WITH counted AS MATERIALIZED (
    SELECT x.task, x.version, x.what, x.host, count(*) AS results, count(*) FILTER (WHERE x.due_at <= %(now)s) AS due,
           count(*) FILTER (WHERE x.due_at IS NULL) AS never, min(x.due_at) FILTER (WHERE x.due_at > %(now)s) AS next_at
    FROM unnest(%(tasks)s::text[], %(versions)s::int[]) t (task, version)
    JOIN result x ON x.task = t.task AND x.version = t.version AND {FAILED}
    GROUP BY x.task, x.version, x.what, x.host
), shown AS (
SELECT c.task, c.what AS reason, c.host, CASE WHEN is_whole THEN used.results ELSE c.results END AS results,
       CASE WHEN is_whole THEN used.documents END AS documents, CASE WHEN is_whole THEN used.due ELSE c.due END AS due,
       CASE WHEN is_whole THEN used.never ELSE c.never END AS never,
       CASE WHEN is_whole THEN used.next_at ELSE c.next_at END AS next_at, coalesce(used.samples, '{{}}') AS samples
FROM (SELECT *, results <= {LOOKED} AS is_whole FROM counted ORDER BY results DESC, task, what, host) c
CROSS JOIN LATERAL (
    SELECT count(DISTINCT fingerprint) AS results, count(DISTINCT doc_id) AS documents,
           count(DISTINCT fingerprint) FILTER (WHERE due_at <= %(now)s) AS due,
           count(DISTINCT fingerprint) FILTER (WHERE due_at IS NULL) AS never,
           min(due_at) FILTER (WHERE due_at > %(now)s) AS next_at, (array_agg(DISTINCT srn))[1:3] AS samples
    FROM (SELECT x.fingerprint, x.due_at, u.doc_id, s.key || ':' || d.external_id AS srn
          FROM (SELECT task, fingerprint, due_at FROM result x
                WHERE x.task = c.task AND x.version = c.version AND x.what = c.what AND x.host = c.host AND {FAILED}
                ORDER BY x.task, x.version, x.what, x.host LIMIT {LOOKED}) x
          {_USES}) of_group) used
WHERE NOT is_whole OR used.documents > 0
ORDER BY c.results DESC, c.task, c.what, c.host LIMIT %(most)s
)
SELECT * FROM shown ORDER BY results DESC, task, reason, host
"""
"""Groups are followed to their documents in this order until there are enough of them: a hundred thousand whose
documents are all gone take 2 s, and retention removes them."""


class UnknownTask(HarvesterError):
    """There is no such task."""


class NotChosen(HarvesterError):
    """Nothing was chosen, or what is not there."""


class Choice(NamedTuple):
    """Which failed results of a task; each that is given narrows it. The srn of a product means its files too; a
    `reason` is a part of what the failures page shows, in whatever case; a `host` is that of a file's URL. `exact`: one
    group of that page, whose reason and host are these and not a part of them; it may have neither."""

    srns: tuple[str, ...] = ()
    sets: tuple[str, ...] = ()
    reason: str = ""
    host: str = ""
    exact: bool = False


ALL = Choice()


class Sample(NamedTuple):
    """A document whose result failed; `due_at`: when it is tried again (None: never by itself)."""

    srn: str
    kind: str
    reason: str
    due_at: datetime | None


class Chosen(NamedTuple):
    """How many results failed, of how many documents of which sets; documents that share an input share a result."""

    results: int
    documents: int
    sets: tuple[str, ...]
    samples: tuple[Sample, ...]


class MadeAnew(NamedTuple):
    """Of results that were made due: how many wait for their task's run, and how many failed in the same way again."""

    waiting: int
    failed_again: int


class FailureGroup(NamedTuple):
    """What failed in one way: `host` is empty for documents without a URL, `samples` are a few srns. `due`: how many
    results are due already, `next_at`: when the next of the others is, `never`: how many are not tried again by
    themselves. `documents`: None where they were not counted."""

    task: str
    reason: str
    host: str
    results: int
    documents: int | None
    due: int
    never: int
    next_at: datetime | None
    samples: list[str]


def task_named(installation: Installation, name: str) -> Task:
    """The task of this name. Raises UnknownTask."""
    if name not in {task.name for task in installation.catalog.tasks}:
        raise UnknownTask(f"there is no task {name[:100]!r}", "`harvester tasks list` names them")
    return installation.catalog.task(name)


def groups(
    installation: Installation, connection: Connection[Any], srns: Sequence[str], most: int
) -> list[FailureGroup]:
    """What failed of these documents, what concerns most of them first; at most so many groups. Raises NotChosen."""
    tasks, choice = installation.catalog.tasks, Choice(tuple(srns))
    with connection.cursor(row_factory=class_row(FailureGroup)) as cursor:
        return cursor.execute(
            f"""{_failed(choice)}
                SELECT task, what AS reason, host, count(DISTINCT fingerprint) AS results,
                       count(DISTINCT doc_id) AS documents,
                       count(DISTINCT fingerprint) FILTER (WHERE due_at <= %(now)s) AS due,
                       count(DISTINCT fingerprint) FILTER (WHERE due_at IS NULL) AS never,
                       min(due_at) FILTER (WHERE due_at > %(now)s) AS next_at,
                       (array_agg(DISTINCT srn))[1:3] AS samples
                FROM failed GROUP BY task, what, host
                ORDER BY documents DESC, task, what, host LIMIT %(most)s""",
            {**_parameters(installation, connection, tasks, choice), "most": most},
        ).fetchall()


def all_groups(installation: Installation, connection: Connection[Any], most: int) -> list[FailureGroup]:
    """Everything that failed, most results first; at most so many groups.

    Read along the index: to find the documents of a hundred thousand results takes a second. So only the first LOOKED
    results of a group are followed to theirs: a group of no more is as exact as in `groups`, and left out where all its
    documents are gone; in a larger one results whose documents are gone count until retention removes them.
    """
    tasks = installation.catalog.tasks
    with connection.cursor(row_factory=class_row(FailureGroup)) as cursor:
        return cursor.execute(
            _ALL_GROUPS, {**_parameters(installation, connection, tasks, ALL), "most": most}
        ).fetchall()


def chosen(installation: Installation, connection: Connection[Any], task: Task, choice: Choice) -> Chosen:
    """What a choice means now. Raises NotChosen, also where nothing was given to choose by."""
    return _chosen(installation, connection, task, choice, "")


def make_due(installation: Installation, task: Task, choice: Choice) -> Chosen:
    """Have the next run of a task make the chosen results anew, wherever they are used; what was chosen. Raises
    NotChosen."""
    with installation.pool.connection() as connection:
        found = _chosen(installation, connection, task, choice, _MADE_DUE)
        asked: dict[str, Any] = {name: given for name, given in choice._asdict().items() if given}
        asked |= {"results": found.results, "documents": found.documents}
        audit.write(connection, "retry results", task.name, installation.clock(), "done", **asked)
    return found


def made_anew(
    installation: Installation, connection: Connection[Any], task: Task, choice: Choice, since: datetime
) -> MadeAnew:
    """What has become of results that were made due at `since`. Raises NotChosen."""
    row = connection.execute(
        f"""{_failed(choice)}
            SELECT count(DISTINCT fingerprint) FILTER (WHERE finished_at < %(since)s AND due_at <= %(since)s),
                   count(DISTINCT fingerprint) FILTER (WHERE finished_at >= %(since)s) FROM failed""",
        {**_parameters(installation, connection, [task], choice), "since": since},
    ).fetchone()
    assert row is not None
    return MadeAnew(*row)


# Locked in the order in which results are stored; one that ended well meanwhile is left alone.
_MADE_DUE = f""", mine AS (
    SELECT x.task, x.version, x.fingerprint FROM result x
    WHERE x.task = ANY (%(tasks)s) AND x.version = ANY (%(versions)s) AND {FAILED}
      AND x.fingerprint IN (SELECT fingerprint FROM failed) ORDER BY x.fingerprint FOR UPDATE
), made_due AS (
    UPDATE result x SET due_at = least(x.due_at, %(now)s) FROM mine
    WHERE x.task = mine.task AND x.version = mine.version AND x.fingerprint = mine.fingerprint
)"""


def _chosen(installation: Installation, connection: Connection[Any], task: Task, choice: Choice, then: str) -> Chosen:
    """One statement, so that a hundred thousand are looked for once."""
    if choice == ALL:
        raise NotChosen("nothing was chosen", "name documents, sets, a reason or a host")
    row = connection.execute(
        f"""{_failed(choice)}, shown AS (SELECT srn, kind, reason, due_at FROM failed ORDER BY srn LIMIT {SAMPLES})
            {then}
            SELECT count(DISTINCT fingerprint), count(DISTINCT doc_id), array_agg(DISTINCT key),
                   (SELECT array_agg(srn ORDER BY srn) FROM shown), (SELECT array_agg(kind ORDER BY srn) FROM shown),
                   (SELECT array_agg(reason ORDER BY srn) FROM shown),
                   (SELECT array_agg(due_at ORDER BY srn) FROM shown)
            FROM failed""",
        _parameters(installation, connection, [task], choice),
    ).fetchone()
    assert row is not None
    results, documents, keys, *columns = row
    samples = zip(*(column or () for column in columns), strict=True)
    return Chosen(results, documents, tuple(keys or ()), tuple(map(Sample._make, samples)))


def command(task: str, choice: Choice) -> str:
    """The command line that does what a button of the pages does: `make_due`, and a run that makes them anew."""
    words = ["harvester", "tasks", "retry", task, *choice.sets]
    words += [word for srn in choice.srns for word in ("--srn", srn)]
    words += ["--reason", choice.reason] if choice.reason else []
    words += ["--host", choice.host] if choice.host else []
    words += [*(["--exact"] if choice.exact else []), "--now"]
    return shlex.join(words)


def command_of_work(task: str, sets: Sequence[str]) -> str:
    """The command line that makes what is due anew, now."""
    return shlex.join(["harvester", "tasks", "retry", task, *sets, "--results", "expired"])


def _failed(choice: Choice) -> str:
    """A statement's beginning: `failed`, a row for each failed result of a document."""
    chosen_by = [
        "AND u.doc_id = ANY (%(ids)s)" if choice.srns else "",
        "AND s.key = ANY (%(keys)s)" if choice.sets else "",
        "AND (strpos(lower(x.reason), lower(%(reason)s)) > 0 OR strpos(lower(x.what), lower(%(reason)s)) > 0)"
        if choice.reason and not choice.exact
        else "",
    ]
    if choice.exact:
        chosen_by.append("AND x.what = %(reason)s AND x.host = %(host)s")
    elif choice.host:
        chosen_by.append("AND x.host = lower(%(host)s)")
    return f"""WITH failed AS MATERIALIZED (
        SELECT x.task, x.fingerprint, x.kind, x.reason, x.due_at, x.finished_at, d.doc_id, s.key,
               s.key || ':' || d.external_id AS srn, x.what, x.host
        FROM unnest(%(tasks)s::text[], %(versions)s::int[]) t (task, version)
        JOIN result x ON x.task = t.task AND x.version = t.version AND {FAILED}
        {_USES}
        WHERE true {" ".join(chosen_by)})"""


def _parameters(
    installation: Installation, connection: Connection[Any], tasks: Sequence[Task], choice: Choice
) -> dict[str, Any]:
    return {
        "tasks": [task.name for task in tasks],
        "versions": [task.version for task in tasks],
        "now": installation.clock(),
        "ids": _documents(connection, choice.srns),
        "keys": _known_sets(connection, choice.sets),
        "reason": _plain(choice.reason),
        "host": _plain(choice.host),
    }


def _documents(connection: Connection[Any], srns: Sequence[str]) -> list[int]:
    """The documents of these srns and what they own; each is looked up whole: an id may hold whatever it likes."""
    if len(srns) > MOST_SRNS:
        raise NotChosen(f"more than {MOST_SRNS:,} documents", "choose by a set, a reason or a host")
    rows = connection.execute(
        """SELECT srn, d.doc_id, part.doc_id FROM unnest(%s::text[]) srn
           LEFT JOIN harvest_set s ON starts_with(srn, s.key || ':')
           LEFT JOIN document d ON d.set_id = s.set_id AND d.external_id = substr(srn, length(s.key) + 2)
           LEFT JOIN document part ON part.owner_id = d.doc_id""",
        ([_plain(srn) for srn in srns],),
    ).fetchall()
    known = {srn for srn, doc_id, _ in rows if doc_id is not None}
    if unknown := [srn for srn, _, _ in rows if srn not in known]:
        raise NotChosen(f"no source has sent {unknown[0][:200]}", "an SRN is source:set:external_id")
    return sorted({doc_id for _, *ids in rows for doc_id in ids if doc_id is not None})


def _known_sets(connection: Connection[Any], keys: Sequence[str]) -> list[str]:
    known = {key for (key,) in connection.execute("SELECT key FROM harvest_set")} if keys else set()
    if unknown := [key for key in keys if key not in known]:
        raise NotChosen(f"there is no set {unknown[0][:200]}", "`harvester set list` names them")
    return list(keys)


def _plain(text: str) -> str:
    """What PostgreSQL takes."""
    return text.replace("\0", "�")
