"""`why SRN`: what happened to one document, stage by stage, from the harvest to the versions that it is in.

Answers come from the rows that the night itself wrote and from the functions that it decided with; a handful of
index look-ups, whatever the size of the store. Does not belong here: deciding anything.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection

from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import overwrites, takedowns
from harvester_dagster.search.search_side import SearchSide, search_side
from harvester_dagster.sets import attempts, enrich, problems, sets, task_inputs, task_results, versions
from harvester_dagster.sets.generations import live
from harvester_dagster.tasks.task import Result, Subject
from harvester_dagster.vocabularies import current
from harvester_dagster.vocabularies.current import VocabularyLost
from harvester_dagster.vocabularies.trees import Vocabularies

PARTS_NAMED = 5


class UnknownDocument(HarvesterError):
    """No source ever sent this document."""


class Stage(NamedTuple):
    """One line of the story: when (ISO, UTC) and what came of it; `detail` is for machines and the curious."""

    stage: str
    at: str | None
    outcome: str
    reason: str = ""
    detail: Mapping[str, Any] | None = None


class FoundDocument(NamedTuple):
    """The document behind an SRN; an SRN is looked up, never split."""

    doc_id: int
    set_key: str
    set_id: int
    entity: str
    external_id: str
    owner_id: int | None


def look_up(installation: Installation, connection: Connection[Any], srn: str) -> FoundDocument:
    """The document that an SRN names. Raises UnknownDocument, with the mend."""
    row = connection.execute(
        """SELECT d.doc_id, s.key, s.set_id, d.entity, d.external_id, d.owner_id FROM harvest_set s
           JOIN document d ON d.set_id = s.set_id AND d.entity = ANY (%(entities)s)
             AND d.external_id = substr(%(srn)s, length(s.key) + 2)
           WHERE starts_with(%(srn)s, s.key || ':') LIMIT 1""",
        {"srn": srn, "entities": [entity.name for entity in installation.catalog.entities]},
    ).fetchone()
    if row is None:
        keys = ", ".join(state.key for state in sets.all_sets(connection))
        raise UnknownDocument(f"no source has sent {srn}", f"an SRN is source:set:external_id, with a set of: {keys}")
    return FoundDocument(*row)


def why(installation: Installation, srn: str) -> list[Stage]:
    """The stages of a document, in the order of the night. Raises UnknownDocument, and StorageError when no object can
    be read now."""
    with installation.pool.connection() as connection:
        try:
            found = look_up(installation, connection, srn)
        except UnknownDocument:
            unread = list(_problems(connection, srn))
            if not unread:
                raise
            return unread
    vocabularies, lost = _vocabularies(installation)
    side = search_side(installation)
    with installation.pool.connection() as connection:
        state = sets.find(connection, found.set_key)
        stages = [*_harvests(connection, state), *_revisions(connection, found, state)]
        stages += _family(connection, found, state)
        stages += _overwrites(connection, found)
        stages += _takedown(connection, found)
        stages += _problems(connection, srn, attempts.last(connection, state.set_id, modes=attempts.HARVESTS))
        if body := _live_body(connection, found, state):
            stages += _tasks(installation, connection, found, state, body, vocabularies, lost)
        stages += _verdicts(connection, state)
        stages += _outputs(connection, found, state)
        stages += _versions(connection, found)
        stages += _index(connection, found)
        stages += _index_form(installation, connection, found)
        stages += _search(side)
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
    newest = attempts.last(connection, state.set_id, modes=attempts.HARVESTS)
    if newest:
        yield Stage(
            "set harvested",
            newest.started_at.isoformat(),
            f"{newest.mode} harvest {newest.attempt_id}: {newest.state}",
            newest.reason or newest.why,
        )
        for note in problems.of_list(connection, newest.attempt_id):
            yield Stage("its list", newest.started_at.isoformat(), "note", note)


def _revisions(connection: Connection[Any], found: FoundDocument, state: sets.SetState) -> Iterator[Stage]:
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
        if to_gen is None or any(row[0] == to_gen for row in rows):
            continue
        if to_gen <= state.accepted_gen:
            yield Stage("deleted", ended_at.isoformat() if ended_at else None, f"gone since generation {to_gen}")
        elif state.staged_attempt:
            said = f"only in the candidate of attempt {state.staged_attempt}, which is not accepted"
            yield Stage("deleted", None, said, "what was accepted stays until it is")


def _family(connection: Connection[Any], found: FoundDocument, state: sets.SetState) -> Iterator[Stage]:
    """What it is a part of, and its own parts: each has a story of its own."""
    if found.owner_id is not None:
        owner = connection.execute("SELECT external_id FROM document WHERE doc_id = %s", (found.owner_id,)).fetchone()
        srn = f"{found.set_key}:{owner[0] if owner else ''}"
        yield Stage("part of", None, srn, detail={"documents": [srn]})
    rows = connection.execute(
        f"""SELECT d.entity, count(*), (array_agg(d.external_id ORDER BY d.external_id))[:%(most)s]
            FROM document d JOIN revision r ON r.doc_id = d.doc_id AND {live("r", "%(gen)s")}
            WHERE d.owner_id = %(doc)s GROUP BY 1 ORDER BY 1""",
        {"doc": found.doc_id, "gen": state.accepted_gen, "most": PARTS_NAMED},
    )
    for entity, count, names in rows:
        more = f", and {count - len(names):,} more" if count > len(names) else ""
        srns = [f"{found.set_key}:{name}" for name in names]
        yield Stage(entity, None, f"{count:,}", ", ".join(srns) + more, {"documents": srns})


def _overwrites(connection: Connection[Any], found: FoundDocument) -> Iterator[Stage]:
    """What a person corrected, or gave back last; who it was, and when. What is taken down keeps its values."""
    is_shown = takedowns.find(connection, found.owner_id or found.doc_id) is None
    if newest := overwrites.newest(connection, found.doc_id):
        at, fields, by = newest.at.isoformat(), newest.fields, f"by {newest.actor or 'somebody'}"
        if fields is None:
            yield Stage("overwrite", at, f"taken away {by}", "the source's values stand")
        else:
            said = f"whatever its source sends; {overwrites.WHEN_SHOWN}"
            what = f"{', '.join(fields)} overwritten {by}"
            yield Stage("overwrite", at, what, said, fields if is_shown else None)


def _takedown(connection: Connection[Any], found: FoundDocument) -> Iterator[Stage]:
    """Who took it, or what owns it, down; or purged it."""
    if taken := takedowns.find(connection, found.owner_id or found.doc_id):
        what = {"none": "taken down", "asked": "taken down, to be purged", "done": "purged"}[taken.purge]
        said = "nobody is shown it, in whatever version, whatever its source sends"
        yield Stage("takedown", taken.at.isoformat(), f"{what} by {taken.actor}", said)


def _live_body(connection: Connection[Any], found: FoundDocument, state: sets.SetState) -> tuple[int, str, str] | None:
    """The newest revision that tasks see: the candidate's, else the accepted one, which a candidate may delete."""
    for gen in (state.candidate_gen, state.accepted_gen) if state.staged_attempt else (state.accepted_gen,):
        row = connection.execute(
            f"""SELECT r.from_gen, r.state, b.body::text FROM revision r JOIN body b USING (doc_id, from_gen)
                WHERE r.doc_id = %(doc)s AND {live("r", "%(gen)s")}""",
            {"doc": found.doc_id, "gen": gen},
        ).fetchone()
        if row:
            from_gen, doc_state, body = row
            return from_gen, doc_state, body
    return None


def properties(connection: Connection[Any], found: FoundDocument) -> Mapping[str, Any] | None:
    """What its source says of a document, as its tasks see it: the candidate's, where one stands. None: there is
    nothing, or it is taken down."""
    body = _live_body(connection, found, sets.find(connection, found.set_key))
    if body is None or takedowns.find(connection, found.owner_id or found.doc_id):
        return None
    read: Mapping[str, Any] = msgspec.json.decode(body[2])["properties"]
    return read


def _vocabularies(installation: Installation) -> tuple[Vocabularies, str]:
    """All of them; or none, and which is lost. Before a connection is taken, for it takes one."""
    try:
        return current.load(installation.pool, installation.objects).vocabularies, ""
    except VocabularyLost as error:
        return current.NONE.vocabularies, str(error)


def _tasks(
    installation: Installation,
    connection: Connection[Any],
    found: FoundDocument,
    state: sets.SetState,
    body: tuple[int, str, str],
    vocabularies: Vocabularies,
    lost: str,
) -> Iterator[Stage]:
    """Each task's result and the rule that let it run or not: the very functions that the night uses."""
    from_gen, doc_state, text = body
    found_of: dict[str, tuple[int, Result]] = {}
    for task, version, *result in connection.execute(
        f"""SELECT u.task, x.version, x.kind, x.data, x.reason, x.due_at, x.attempts, x.finished_at
            FROM task_use u JOIN LATERAL (
                SELECT * FROM result x WHERE x.task = u.task AND x.fingerprint = u.fingerprint
                {task_results.STANDING}) x ON true
            WHERE u.doc_id = %s AND u.from_gen = %s""",
        (found.doc_id, from_gen),
    ):
        found_of[task] = (version, Result(*result))
    if state.key not in installation.config.sets:
        return
    context = enrich.context_of(installation, state.key, vocabularies)
    properties = msgspec.json.decode(text)["properties"]
    for task_row in installation.catalog.tasks:
        if task_row.entity != found.entity:
            continue
        subject = Subject(properties, {name: found_of[name][1] for name in task_row.after if name in found_of})
        not_here = enrich.applies_here(task_row, installation)
        declined = not_here or (f"the document is {doc_state}" if doc_state != "active" else None)
        waits = lost if task_row.uses_vocabularies else ""
        if not waits:
            declined = declined or task_inputs.evaluated(task_row, subject, context).why_not
        if declined:
            yield Stage(f"task {task_row.name}", None, "not applicable", declined)
        elif task_row.name in found_of:
            result = found_of[task_row.name][1]
            due = {"due_at": result.due_at.isoformat()} if result.due_at else {}
            detail = {**(result.data or {}), **due, "attempts": result.attempts}
            yield Stage(f"task {task_row.name}", result.finished_at.isoformat(), result.kind, result.reason, detail)
        else:
            said = waits or "it runs with the set's next night or backfill"
            yield Stage(f"task {task_row.name}", None, "pending", said)


def _verdicts(connection: Connection[Any], state: sets.SetState) -> Iterator[Stage]:
    newest = attempts.last(connection, state.set_id, states=("accepted", "rejected", "dismissed"))
    if newest and newest.ended_at:
        yield Stage("verdict", newest.ended_at.isoformat(), newest.state, newest.reason, newest.verdict)


def _outputs(connection: Connection[Any], found: FoundDocument, state: sets.SetState) -> Iterator[Stage]:
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
    withheld = "taken down: not published" if reasons is None else "invalid: not published"
    outcome = f"published, made in generation {from_gen}" if published else withheld
    yield Stage("output", accepted_at.isoformat() if accepted_at else None, outcome, "; ".join(reasons or ()))


def _versions(connection: Connection[Any], found: FoundDocument) -> Iterator[Stage]:
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


def _index(connection: Connection[Any], found: FoundDocument) -> Iterator[Stage]:
    """What the index of the current version made of it, where that version shows it at all."""
    present = versions.current(connection)
    name = present.indices.get(found.entity) if present else None
    if present is None or name is None:
        return
    row = connection.execute(
        f"""SELECT (SELECT reason FROM search_rejected r WHERE r.name = %(name)s AND r.doc_id = o.doc_id) FROM output o
            WHERE o.doc_id = %(doc)s AND o.published AND {live("o", "%(gen)s")}""",
        {"name": name, "doc": found.doc_id, "gen": present.generations.get(found.set_id, 0)},
    ).fetchone()
    if row is None:
        yield Stage("index", None, f"not in {name}", f"version {present.version_id} does not show it")
    else:
        yield Stage("index", None, f"left out of {name}" if row[0] else f"sent to {name}", row[0] or "")


def _search(side: SearchSide | None) -> Iterator[Stage]:
    """That searches show something else than what is published, where they do."""
    if side and side.state == "behind":
        why = f"version {side.version_id} is current, and searches do not show it yet: {side.reason}"
        yield Stage("search", side.since.isoformat() if side.since else None, side.state, why)


def _index_form(installation: Installation, connection: Connection[Any], found: FoundDocument) -> Iterator[Stage]:
    """What of the published output is left out of its form in the index, by the function that makes it."""
    form = installation.catalog.index_form(found.entity)
    row = (
        form
        and connection.execute(
            f"""SELECT b.body FROM output o JOIN output_body b USING (doc_id, from_gen)
            JOIN current_version c ON true
            JOIN dataset_version_set v ON v.version_id = c.version_id AND v.set_id = o.set_id AND {live("o", "v.gen")}
            WHERE o.doc_id = %s AND o.published""",
            (found.doc_id,),
        ).fetchone()
    )
    if form and row:
        for note in form.notes(msgspec.json.decode(row[0])):
            yield Stage("index form", None, "differs", note)
