"""`harvester harvest SET --record ID`: one record asked for by its id, and taken through the steps of its set.

An attempt of mode `record`: its page is stored, extracted and compared as a harvest's are, and judged. It moves no
watermark, so that the next harvest asks for what it would have asked for; a replay reads its page with those of
harvests. Belongs here: when that can be done, whether what came is what was asked for, the order of the steps.
"""

import json
import shlex
import uuid
from collections import Counter, deque
from collections.abc import Callable
from typing import Literal, NamedTuple

from harvester_dagster.catalog import World
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.sets import attempts, fetch, known, steps
from harvester_dagster.sets.compare import Terms, compared, new_documents
from harvester_dagster.sets.extract import Chunk, CutPage, Extracted, SentRecord, extracted
from harvester_dagster.sets.fetch import Storing
from harvester_dagster.sets.left_out import LeftOut
from harvester_dagster.sets.locked_set import LockedSet, lock_set
from harvester_dagster.sets.sets import SetState, find
from harvester_dagster.sets.steps import SetOutcome
from harvester_dagster.sources.kind import LONGEST_ID, Single
from harvester_dagster.sources.walk import Walk

Did = Literal["new", "changed", "unchanged", "deleted", "ignored", "unreadable"]
Progress = Callable[[str], None]


class NotByItself(HarvesterError):
    """A record cannot be harvested by its id; the message says why, and what to do."""


class NeverByItself(NotByItself):
    """A record cannot be harvested by its id, and asking again would change nothing of that."""


class Came(NamedTuple):
    """What the source said of one record, and what it does to the set. `ignored`: it is deleted, and was never known;
    `state`: as extraction has it, empty without a document; `reason`: why it is unreadable, inactive or skipped."""

    set: str
    external_id: str
    did: Did
    state: str
    reason: str
    changes: dict[str, dict[str, int]]
    """Documents per entity that are new, changed, deleted."""


def look(installation: Installation, key: str, external_id: str, progress: Progress = lambda _: None) -> Came:
    """Ask the source, and say what would come of it. Raises NotByItself, UnknownRecord, SourceError, UnknownSet."""
    external_id = _checked_id(external_id)
    with installation.pool.connection() as connection:
        state = find(connection, key)
    _check(installation, state, external_id)
    with fetch.asking(installation, key, progress):
        page = _asked(installation, state, external_id).page
    return came(installation, state, external_id, page)


def harvest(
    installation: Installation, key: str, external_id: str, progress: Progress = lambda _: None
) -> tuple[Came, SetOutcome]:
    """Ask the source for a record and take what it says. Raises what `look` does; NotOpen when another run of the set
    took its place meanwhile."""
    run_id = f"record {uuid.uuid4()}"
    external_id = _checked_id(external_id)
    with lock_set(installation, key) as locked:
        _check(installation, locked.state, external_id)
        with fetch.asking(installation, key, progress):
            single = _asked(installation, locked.state, external_id)
        found = came(installation, locked.state, external_id, single.page)
        _store(locked, external_id, single, run_id)
    progress(f"{key}: {external_id} came: {found.did}")
    return found, finish(installation, key, run_id, progress)


def finish(installation: Installation, key: str, run_id: str, progress: Progress) -> SetOutcome:
    """The steps from stored pages to the verdict."""
    steps.documents(installation, key, run_id=run_id, progress=progress)
    for rows in installation.catalog.passes:
        steps.tasks(installation, key, rows, run_id=run_id, progress=progress)
    steps.outputs(installation, key, run_id=run_id, progress=progress)
    return steps.conclude(installation, key, run_id=run_id, progress=progress)


def _checked_id(external_id: str) -> str:
    """Without what no identifier has. Raises NeverByItself."""
    external_id = external_id.strip()
    try:
        length = len(external_id.encode())
    except UnicodeEncodeError:
        length = 0
    if not 0 < length <= LONGEST_ID or not external_id.isprintable():
        raise NeverByItself(
            f"{external_id[:80]!r} is no record's id",
            f"an id has 1 to {LONGEST_ID:,} bytes, and no control characters",
        )
    return external_id


def _check(installation: Installation, state: SetState, external_id: str) -> None:
    """Raises NotByItself where the set takes no single record now, or not this one; NeverByItself where that stays
    so."""
    key = state.key
    if key not in installation.config.sets:
        raise NeverByItself(f"{key} is retired", "it stays published as it is")
    if fetch.kind_of(installation, key).single is None:
        kind = installation.config.sets[key].kind
        raise NeverByItself(
            f"{key}: a source of the kind {kind} has no way to ask for one record",
            f"`harvester harvest {shlex.quote(key)}`",
        )
    if state.watermark is None:
        raise NeverByItself(f"{key} was never harvested", f"`harvester harvest {shlex.quote(key)}` brings all of it")
    with installation.pool.connection() as connection:
        if going_on := attempts.going_on(connection, state.set_id):
            raise NotByItself(
                f"{key}: a harvest is going on (attempt {going_on.attempt_id})",
                f"wait for its end; where its run was killed, `harvester harvest {shlex.quote(key)}` begins it again",
            )
        waiting = attempts.waiting(connection, state.set_id)
        is_left_out = LeftOut(installation, connection, key, state.set_id).is_left_out(external_id)
    if is_left_out:
        raise NotByItself(f"{key}: that record was purged", "`harvester takedown SRN --undo` asks for it again")
    if waiting:
        raise NotByItself(
            f"{key}: a rejected candidate waits",
            f"see `harvester accept {shlex.quote(key)} --dry-run`, then accept or dismiss it",
        )


def _asked(installation: Installation, state: SetState, external_id: str) -> Single:
    """The record as it came. Raises NeverByItself when its source says that it is of other sets."""
    request = fetch.request_of(installation, state.key, None)
    single = fetch.kind_of(installation, state.key).single
    assert single is not None
    found = single(request, external_id, installation.outside)
    if request.spec == "*" or any(is_within(name, request.spec) for name in found.sets):
        return found
    if found.sets:
        raise NeverByItself(
            f"{state.key}: {external_id} is not of this set but of {', '.join(found.sets[:5])}",
            "where it was in this set before, `harvester set reconcile` ends it under the verdict",
        )
    with installation.pool.connection() as connection:
        entity = fetch.kind_of(installation, state.key).entity
        is_known = known.ids_of(connection, state.set_id, entity, [external_id])
    if not is_known and installation.config.sets[state.key].kind == "oai-pmh":
        raise NeverByItself(
            f"{state.key}: {external_id} does not say of which sets it is, and never came with this one",
            f"`harvester set reconcile {shlex.quote(state.key)}` asks for all that the set lists",
        )
    return found


def is_within(name: str, spec: str) -> bool:
    """Whether a set is another one, or a part of it: `a:b` is within `a`."""
    return name == spec or name.startswith(f"{spec}:")


def read_single(installation: Installation, key: str, page: bytes) -> Extracted:
    """What a page of one record holds."""
    world = World(installation.catalog, installation.config)
    return extracted(world, Chunk(key, None, [CutPage(page, 0, [0], [b""])]))


def came(installation: Installation, state: SetState, external_id: str, page: bytes) -> Came:
    """What a page of one record does to a set as it is accepted; nothing is stored. Raises NotByItself where it holds
    another one."""
    found = read_single(installation, state.key, page)
    if not found.sent:
        name, _, reason = found.problems[0]
        _check_name(state.key, external_id, name or external_id)
        return Came(state.key, external_id, "unreadable", "", reason, {})
    (sent,) = found.sent
    _check_name(state.key, external_id, sent.external_id)
    changes, was_known = _changes(installation, state, sent)
    entity = fetch.kind_of(installation, state.key).entity
    if not sent.documents:
        return Came(state.key, external_id, "deleted" if was_known else "ignored", "", "", changes)
    did: Did = "new" if changes.get(entity, {}).get("new") else "changed" if changes else "unchanged"
    root = sent.documents[0]
    return Came(state.key, external_id, did, root.state, json.loads(root.body)["reason"], changes)


def _check_name(key: str, asked: str, came: str) -> None:
    if came != asked:
        raise NotByItself(
            f"{key}: asked for {asked}, its source answered with {came:.200}", "the source must mend that"
        )


def _changes(installation: Installation, state: SetState, sent: SentRecord) -> tuple[dict[str, dict[str, int]], bool]:
    """What a record changes of the accepted state, and whether something of it was live."""
    accepted = state._replace(accepted_gen=state.accepted_gen - 1)  # whose candidate is what is accepted now
    terms = Terms(state.set_id, state.candidate_gen, fetch.kind_of(installation, state.key).entity)
    with installation.pool.connection() as connection:
        before = known.look_up(connection, accepted, terms.entity, [sent.external_id])
    ids = deque(-1 - number for number in range(new_documents([sent], before)))
    writes = compared([sent], before, terms, ids).writes
    began = {row[0]: row[2] for row in writes.revisions}
    entities = {row.doc_id: row.entity for row in before.values()} | began
    told = {
        "new": began.keys() - set(writes.close),
        "changed": began.keys() & set(writes.close),
        "deleted": set(writes.close) - began.keys(),
    }
    changes: dict[str, dict[str, int]] = {}
    for what, doc_ids in told.items():
        for entity, count in Counter(entities[doc_id] for doc_id in doc_ids).items():
            changes.setdefault(entity, {})[what] = count
    return changes, any(row.from_gen is not None for row in before.values())


def _store(locked: LockedSet, external_id: str, single: Single, run_id: str) -> None:
    installation = locked.installation
    with locked.connection() as connection:
        attempt = attempts.open_attempt(
            connection,
            locked,
            attempts.window_of_record(external_id),
            mapping_version=fetch.mapping_version(installation, locked.key),
            run_id=run_id,
        )
    storing = Storing(locked, attempt)
    storing.all(iter([single.page]), Walk(installation.config.sets[locked.key]))
    with locked.connection() as connection:
        connection.execute(
            "UPDATE attempt SET state = 'fetched', pages = 1, fetched_at = %s WHERE attempt_id = %s",
            (installation.clock(), attempt.attempt_id),
        )
