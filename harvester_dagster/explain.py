"""`why SRN`: what happened to one document, stage by stage, from the harvest to the versions that it is in.

Answers come from the rows that the night itself wrote and from the functions that it decided with; a handful of
index look-ups, whatever the size of the store. Does not belong here: deciding anything.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection

from harvester_dagster.harvesting import attempts, sets
from harvester_dagster.harvesting.generations import live
from harvester_dagster.installation import Installation
from harvester_dagster.tasks import frame, results
from harvester_dagster.tasks.task import Result, Subject
from harvester_dagster.versions import versions
from harvester_dagster.vocabularies import current


class UnknownDocument(Exception):
    """No source ever sent this document."""


class Stage(NamedTuple):
    """One line of the story: when (ISO, UTC) and what came of it; `detail` is for machines and the curious."""

    stage: str
    at: str | None
    outcome: str
    reason: str = ""
    detail: Mapping[str, Any] | None = None


class Found(NamedTuple):
    """The document behind an SRN; an SRN is looked up, never split."""

    doc_id: int
    set_key: str
    set_id: int
    entity: str
    external_id: str
    owner_id: int | None


def look_up(installation: Installation, connection: Connection[Any], srn: str) -> Found:
    """Raises UnknownDocument, with the mend."""
    row = connection.execute(
        """SELECT d.doc_id, s.key, s.set_id, d.entity, d.external_id, d.owner_id FROM harvest_set s
           JOIN document d ON d.set_id = s.set_id AND d.entity = ANY (%(entities)s)
             AND d.external_id = substr(%(srn)s, length(s.key) + 2)
           WHERE starts_with(%(srn)s, s.key || ':') LIMIT 1""",
        {"srn": srn, "entities": [entity.name for entity in installation.catalog.entities]},
    ).fetchone()
    if row is None:
        keys = ", ".join(state.key for state in sets.all_sets(connection))
        raise UnknownDocument(f"no source has sent {srn}; an SRN is source:set:external_id, with a set of: {keys}")
    return Found(*row)


def why(installation: Installation, srn: str) -> list[Stage]:
    """The stages of a document, in the order of the night. Raises UnknownDocument."""
    with installation.pool.connection() as connection:
        try:
            found = look_up(installation, connection, srn)
        except UnknownDocument:
            unread = list(_problems(connection, srn))
            if not unread:
                raise
            return unread
        state = sets.find(connection, found.set_key)
        stages = [*_harvests(connection, state), *_revisions(connection, found, state)]
        stages += _problems(connection, srn, attempts.last(connection, state.set_id, harvests_only=True))
        if body := _live_body(connection, found, state):
            stages += _tasks(installation, connection, found, state, body)
        stages += _verdicts(connection, state)
        stages += _outputs(connection, found, state)
        stages += _versions(connection, found)
        stages += _index(connection, found)
        return stages


def _problems(connection: Connection[Any], srn: str, of: attempts.Attempt | None = None) -> Iterator[Stage]:
    """What extraction could not read or skipped over, in one harvest or in the last ones."""
    for at, kind, reason in connection.execute(
        """SELECT a.started_at, p.kind, p.reason FROM problem p JOIN attempt a USING (attempt_id)
           JOIN harvest_set s USING (set_id)
           WHERE starts_with(%(srn)s, s.key || ':') AND p.external_id = substr(%(srn)s, length(s.key) + 2)
             AND (%(of)s::bigint IS NULL OR a.attempt_id = %(of)s)
           ORDER BY a.attempt_id DESC LIMIT 5""",
        {"srn": srn, "of": of.attempt_id if of else None},
    ):
        yield Stage("extracted", at.isoformat(), kind, reason)


def _harvests(connection: Connection[Any], state: sets.SetState) -> Iterator[Stage]:
    newest = attempts.last(connection, state.set_id, harvests_only=True)
    if newest:
        yield Stage(
            "set harvested",
            newest.started_at.isoformat(),
            f"{newest.mode} harvest {newest.attempt_id}: {newest.state}",
            newest.reason or newest.why,
        )


def _revisions(connection: Connection[Any], found: Found, state: sets.SetState) -> Iterator[Stage]:
    rows = connection.execute(
        """SELECT r.from_gen, r.to_gen, r.state, r.source_modified_at, b.body::json->>'reason', g.accepted_at,
                  e.accepted_at, r.from_gen > %(gen)s
           FROM revision r JOIN body b USING (doc_id, from_gen)
           LEFT JOIN generation g ON g.set_id = r.set_id AND g.gen = r.from_gen
           LEFT JOIN generation e ON e.set_id = r.set_id AND e.gen = r.to_gen
           WHERE r.doc_id = %(doc)s ORDER BY r.from_gen""",
        {"doc": found.doc_id, "gen": state.accepted_gen},
    ).fetchall()
    for from_gen, to_gen, doc_state, source_date, reason, accepted_at, ended_at, tentative in rows:
        what = "only in the candidate" if tentative else f"generation {from_gen}"
        at = accepted_at.isoformat() if accepted_at else None
        yield Stage("extracted", at, f"{doc_state}, {what}", reason or "", {"source_modified_at": source_date})
        if to_gen is not None and to_gen <= state.accepted_gen and not any(row[0] == to_gen for row in rows):
            yield Stage("deleted", ended_at.isoformat() if ended_at else None, f"gone since generation {to_gen}")


def _live_body(connection: Connection[Any], found: Found, state: sets.SetState) -> tuple[int, str, str] | None:
    """The newest revision that tasks see: the candidate's, else the accepted one."""
    gen = state.accepted_gen + (1 if state.staged_attempt else 0)
    row = connection.execute(
        f"""SELECT r.from_gen, r.state, b.body::text FROM revision r JOIN body b USING (doc_id, from_gen)
            WHERE r.doc_id = %(doc)s AND {live("r", "%(gen)s")}""",
        {"doc": found.doc_id, "gen": gen},
    ).fetchone()
    return row if row else None


def _tasks(
    installation: Installation,
    connection: Connection[Any],
    found: Found,
    state: sets.SetState,
    body: tuple[int, str, str],
) -> Iterator[Stage]:
    """Each task's result and the rule that let it run or not: the very functions that the night uses."""
    from_gen, doc_state, text = body
    found_of: dict[str, tuple[int, Result]] = {}
    for task, version, *result in connection.execute(
        f"""SELECT u.task, x.version, x.kind, x.data, x.reason, x.due_at, x.attempts, x.finished_at
            FROM task_use u JOIN LATERAL (
                SELECT * FROM result x WHERE x.task = u.task AND x.fingerprint = u.fingerprint
                {results.STANDING}) x ON true
            WHERE u.doc_id = %s AND u.from_gen = %s""",
        (found.doc_id, from_gen),
    ):
        found_of[task] = (version, Result(*result))
    if state.key not in installation.config.sets:
        return
    context = frame.context_of(installation, state.key, current.load(installation).vocabularies)
    properties = msgspec.json.decode(text)["properties"]
    for task_row in installation.catalog.tasks:
        if task_row.entity != found.entity:
            continue
        subject = Subject(properties, {name: found_of[name][1] for name in task_row.after if name in found_of})
        not_here = frame.applies_here(task_row, installation)
        declined = not_here or (f"the document is {doc_state}" if doc_state != "active" else None)
        declined = declined or task_row.condition(subject, context)
        if declined:
            yield Stage(f"task {task_row.name}", None, "not applicable", declined)
        elif task_row.name in found_of:
            result = found_of[task_row.name][1]
            due = {"due_at": result.due_at.isoformat()} if result.due_at else {}
            detail = {**(result.data or {}), **due, "attempts": result.attempts}
            yield Stage(f"task {task_row.name}", result.finished_at.isoformat(), result.kind, result.reason, detail)
        else:
            yield Stage(f"task {task_row.name}", None, "pending", "it runs with the set's next night or backfill")


def _verdicts(connection: Connection[Any], state: sets.SetState) -> Iterator[Stage]:
    newest = attempts.last(connection, state.set_id, states=("accepted", "rejected", "dismissed"))
    if newest and newest.ended_at:
        yield Stage("verdict", newest.ended_at.isoformat(), newest.state, newest.reason, newest.verdict)


def _outputs(connection: Connection[Any], found: Found, state: sets.SetState) -> Iterator[Stage]:
    row = connection.execute(
        f"""SELECT o.from_gen, o.published, b.reasons, g.accepted_at FROM output o
            JOIN output_body b USING (doc_id, from_gen)
            LEFT JOIN generation g ON g.set_id = o.set_id AND g.gen = o.from_gen
            WHERE o.doc_id = %(doc)s AND {live("o", "%(gen)s")}""",
        {"doc": found.doc_id, "gen": state.accepted_gen},
    ).fetchone()
    if row is None:
        yield Stage("output", None, "none", "not active, not found, or not accepted: consumers do not see it")
        return
    from_gen, published, reasons, accepted_at = row
    outcome = f"published, made in generation {from_gen}" if published else "invalid: not published"
    yield Stage("output", accepted_at.isoformat() if accepted_at else None, outcome, "; ".join(reasons or ()))


def _versions(connection: Connection[Any], found: Found) -> Iterator[Stage]:
    present = versions.current(connection)
    rows = connection.execute(
        f"""SELECT v.version_id, v.promoted_at, c.version_id IS NOT NULL FROM dataset_version v
            JOIN dataset_version_set s USING (version_id)
            JOIN output o ON o.doc_id = %(doc)s AND o.published AND {live("o", "s.gen")}
            LEFT JOIN current_version c USING (version_id)
            WHERE s.set_id = %(set)s ORDER BY v.version_id DESC LIMIT 20""",
        {"doc": found.doc_id, "set": found.set_id},
    ).fetchall()
    for version_id, promoted_at, is_current in rows:
        at = promoted_at.isoformat() if promoted_at else None
        yield Stage("version", at, f"in version {version_id}" + (", the current one" if is_current else ""))
    if present and not any(row[2] for row in rows):
        yield Stage("version", None, f"not in the current version {present.version_id}")


def _index(connection: Connection[Any], found: Found) -> Iterator[Stage]:
    """What the index of the current version made of it."""
    present = versions.current(connection)
    name = present.indices.get(found.entity) if present else None
    if name is None:
        return
    row = connection.execute(
        "SELECT reason FROM search_rejected WHERE name = %s AND doc_id = %s", (name, found.doc_id)
    ).fetchone()
    yield Stage("index", None, f"left out of {name}" if row else f"sent to {name}", row[0] if row else "")
