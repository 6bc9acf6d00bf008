"""What was pushed to a set, taken through its steps: one generation for all that waits, judged like work of the day.

An attempt of mode `push`: its page holds the newest push of each record; no watermark moves, and a replay reads it with
the pages of harvests. Tasks that call nobody run before the verdict; the others follow (`follow_up`), in a further
attempt of that mode. Of one record the newer date of its source wins, whatever came first; without a date, what came
last. A push waits while a harvest of its set is open.

Belongs here: when a set takes pushes, which of them count, the order of the steps. Does not belong here: the inbox
(`publication/inbox.py`), publishing (`releases/push_rounds.py`).
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.catalog import World
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, inbox
from harvester_dagster.publication.inbox import Pushed, Waits, WasTaken
from harvester_dagster.sets import attempts, enrich, fetch, generations, one_record, outputs, sets, verdict
from harvester_dagster.sets.attempts import Attempt, Window
from harvester_dagster.sets.enrich import Portion
from harvester_dagster.sets.extract import Chunk, CutPage, SentRecord, extracted
from harvester_dagster.sets.fetch import Storing
from harvester_dagster.sets.generations import live, source_date
from harvester_dagster.sets.left_out import LeftOut
from harvester_dagster.sets.locked_set import LockedSet, lock_set
from harvester_dagster.sets.one_record import Came
from harvester_dagster.sets.sets import SetState
from harvester_dagster.sets.stage import stage
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import Walk

MOST_TAKEN, MOST_BYTES = 500, 20_000_000
"""Pushes in one generation."""
ROOM_AFTER = timedelta(minutes=10)
"""Work of the day between two steps of a run is given so much time; then its run counts as killed."""
FOLLOWED_AT_ONCE = Portion(5, 8)
Progress = Callable[[str], None]


class NotPushed(HarvesterError):
    """What was pushed is no record of its set; the message says why."""


class InboxFull(HarvesterError):
    """So many pushes of a set wait that no more are taken now."""


class PushLook(NamedTuple):
    """What a record would come to, were it pushed now. `is_older`: something newer of it is there already; `waits`: why
    it would wait."""

    came: Came
    is_older: bool
    waits: str


class Taken(NamedTuple):
    """What a set's inbox came to. `waits`: why nothing was taken now; `settled`: how many pushes were; `attempt`: the
    one that took some, None where all were older than what is there; `is_cut`: slower tasks have more to do."""

    key: str
    waits: str
    settled: int
    attempt: Attempt | None
    is_cut: bool = False


def read(installation: Installation, key: str, body: bytes) -> Pushed:
    """A record that was pushed to a set. Raises NotPushed."""
    kind = fetch.kind_of(installation, key)
    if kind.pushed is None:
        raise NotPushed(f"{key}: a source of the kind {kind.name} cannot push records")
    try:
        page = kind.pushed(body)
        sent = _sent(installation, key, [page])
    except SourceError as error:
        raise NotPushed(f"no record: {error.sentence}") from None
    if isinstance(sent, str):
        raise NotPushed(f"no record: {sent}")
    (record,) = sent
    return Pushed(record.external_id, record.modified_at or "", page)


def _sent(installation: Installation, key: str, pages: Sequence[bytes]) -> list[SentRecord] | str:
    """The one record of each page; else why there is none."""
    kind = fetch.kind_of(installation, key)
    chunk = []
    for number, page in enumerate(pages):
        raws = kind.cut(page)
        if len(raws) != 1:
            return f"{len(raws)} records, where one is expected"
        chunk.append(CutPage(page, number, [0], [b""]))
    found = extracted(World(installation.catalog, installation.config), Chunk(key, None, chunk))
    unreadable = [reason for _, what, reason in found.problems if what == "unreadable"]
    return unreadable[0] if unreadable else found.sent


def look(installation: Installation, key: str, found: Pushed) -> PushLook:
    """What would come of a record; nothing is stored. Raises UnknownSet."""
    with installation.pool.connection() as connection:
        state = sets.find(connection, key)
        alone = Waits(sys.maxsize, found.external_id, found.source_date, installation.clock(), False, found.page)
        is_older = not _newest(connection, installation, state, [alone])[0]
        waits = in_the_way(connection, installation, state)
    came = one_record.came(installation, state, found.external_id, found.page)
    return PushLook(came, is_older, waits)


def store(
    connection: Connection[Any],
    installation: Installation,
    key: str,
    found: Pushed,
    sender: str,
    most: int = inbox.MOST_WAITING,
) -> bool:
    """Store what was read; whether it was stored: not where the very same waits already, nor what was purged. Raises
    InboxFull, UnknownSet."""
    set_id = sets.id_of(connection, key)
    if inbox.is_full(connection, set_id, most):
        raise InboxFull(f"too many pushes of {key} wait already", "come again in a minute")
    if LeftOut(installation, connection, key, set_id).is_left_out(found.external_id):
        return False
    return inbox.put(connection, set_id, found, sender, installation.clock()) is not None


def take(
    installation: Installation,
    key: str,
    progress: Progress = lambda _: None,
    *,
    by_hand_up_to: int | None = None,
    patience: float = 0.05,
) -> Taken:
    """Take what waits into a generation. `by_hand_up_to`: what was rejected or waits up to this number, and nothing
    that came later, whatever the verdict says; `patience`: seconds to wait for the set. Raises Busy, UnknownSet."""
    by_hand = by_hand_up_to is not None
    with lock_set(installation, key, patience) as locked:
        with locked.connection() as connection:
            waits = in_the_way(connection, installation, locked.state)
            if waits:
                return Taken(key, waits, 0, None)
            if by_hand_up_to is not None:
                now = installation.clock()
                count = inbox.decide(connection, locked.set_id, now, accept=True, up_to=by_hand_up_to)
                if count:
                    audit.write(connection, "accept pushes", key, now, pushes=count)
            rows = inbox.waiting(connection, locked.set_id, MOST_TAKEN, MOST_BYTES, by_hand_up_to)
            alive, newest = _newest(connection, installation, locked.state, rows)
            lost = [row for row in rows if row not in alive]
            _settle_older(connection, lost, installation.clock())
            attempt = _opened(connection, locked, newest) if newest else None
        if attempt is None:
            return Taken(key, "", len(lost), None)
        _store(locked, attempt, newest)
        progress(f"{key}: {len(newest)} pushed records")
        attempt = _judged(locked, attempt, by_hand)
        if attempt.state == "accepted":  # cut before this, the next turn finds these older than what was taken
            lost = [row for row in rows if row not in newest]
            with locked.connection() as connection:
                _settle_older(connection, lost, installation.clock())
        return Taken(key, "", len(newest) + len(lost), attempt)


def accept(
    installation: Installation,
    key: str,
    progress: Progress = lambda _: None,
    *,
    up_to: int | None = None,
    patience: float = 30,
) -> Taken:
    """Take what was rejected and all that waits, whatever the verdict says: as many generations as that needs. `up_to`:
    the newest that somebody has seen, else that is there now; what comes later is judged as ever. `patience`: seconds
    to wait for the set. Raises Busy, UnknownSet."""
    with audit.trying(installation.pool, "accept pushes", key, installation.clock):
        with installation.pool.connection() as connection:
            set_id = sets.id_of(connection, key)
            most = inbox.newest(connection, set_id).unsettled if up_to is None else up_to
        whole = found = take(installation, key, progress, by_hand_up_to=most, patience=patience)
        while found.settled:
            found = take(installation, key, progress, by_hand_up_to=most, patience=patience)
            attempt = found.attempt or whole.attempt
            whole = whole._replace(settled=whole.settled + found.settled, attempt=attempt)
        return whole


def dismiss(installation: Installation, key: str, *, up_to: int | None = None) -> int:
    """Lay what was rejected aside for good; how many. `up_to`: the newest that somebody has seen, else that is there
    now. Raises UnknownSet."""
    with (
        audit.trying(installation.pool, "dismiss pushes", key, installation.clock),
        installation.pool.connection() as connection,
    ):
        set_id = sets.id_of(connection, key)
        most = inbox.newest(connection, set_id).rejected if up_to is None else up_to
        count = inbox.decide(connection, set_id, installation.clock(), accept=False, up_to=most)
        audit.write(connection, "dismiss pushes", key, installation.clock(), pushes=count)
        return count


def take_all(installation: Installation, key: str, progress: Progress = lambda _: None) -> None:
    """Take all that waits, as many generations as that needs. Raises Busy, UnknownSet."""
    while take(installation, key, progress).settled:
        pass


def in_the_way(connection: Connection[Any], installation: Installation, state: SetState) -> str:
    """Why a set takes no pushes now; "": it does."""
    if state.retired_at is not None or state.key not in installation.config.sets:
        return "the set is retired"
    if state.watermark is None:
        return "the set was never harvested"
    found = attempts.last(connection, state.set_id, states=attempts.OPEN)
    if found is None or found.mode == "push":
        return ""
    if found.mode == "derive":
        is_between = found.run_id is not None and installation.clock() - found.started_at < ROOM_AFTER
        return f"work of the day is going on (attempt {found.attempt_id})" if is_between else ""
    return f"a harvest is going on (attempt {found.attempt_id})"


def _settle_older(connection: Connection[Any], lost: Sequence[Waits], now: datetime) -> None:
    """What is older than something that was accepted; one that was taken before stays taken."""
    inbox.end(connection, [row.push_id for row in lost if row.is_again], "taken", now)
    fresh = [row.push_id for row in lost if not row.is_again]
    inbox.end(connection, fresh, "older", now, "something newer of it was there")


def _opened(connection: Connection[Any], locked: LockedSet, newest: Sequence[Waits]) -> Attempt:
    attempt = attempts.open_attempt(
        connection,
        locked,
        Window("push", None, f"{len(newest)} records were pushed"),
        mapping_version=fetch.mapping_version(locked.installation, locked.key),
        run_id=None,
    )
    inbox.begin(connection, [row.push_id for row in newest], attempt.attempt_id)
    return attempt


def _store(locked: LockedSet, attempt: Attempt, newest: Sequence[Waits]) -> None:
    storing = Storing(locked, attempt)
    storing.all((row.page for row in newest), Walk(locked.installation.config.sets[locked.key]))
    with locked.connection() as connection:
        connection.execute(
            "UPDATE attempt SET state = 'fetched', pages = %s, fetched_at = %s WHERE attempt_id = %s",
            (storing.pages, locked.installation.clock(), attempt.attempt_id),
        )


def _judged(locked: LockedSet, attempt: Attempt, by_hand: bool) -> Attempt:
    with locked.connection() as connection:
        attempt = attempts.by_id(connection, attempt.attempt_id)
    attempt = stage(locked, attempt)
    for rows in locked.installation.catalog.passes:
        if quick := [task for task in rows if task.quick]:
            enrich.run_tasks(locked, quick, only_new=True)
    outputs.produce(locked, attempt, only="changed")
    return verdict.conclude(locked, attempt, by_hand=by_hand)


def _newest(
    connection: Connection[Any], installation: Installation, state: SetState, rows: Sequence[Waits]
) -> tuple[list[Waits], list[Waits]]:
    """Those to which nothing newer was accepted, and of these the newest of each record; in the order in which they
    came. The others of the first are lost when the newest is accepted, and no sooner."""
    external_ids = list({row.external_id for row in rows})
    accepted = _accepted(connection, installation, state, external_ids)
    taken = {one.external_id: one for one in inbox.last_taken(connection, state.set_id, external_ids)}
    alive = [
        row
        for row in rows
        if not accepted.get(row.external_id, _NOTHING).is_newer(row)
        and not ((other := taken.get(row.external_id)) and _is_older(row, other))
    ]
    newest: dict[str, Waits] = {}
    for row in alive:
        before = newest.get(row.external_id)
        if before is None or not _is_older(row, before):
            newest[row.external_id] = row
    return alive, list(newest.values())


class _Accepted(NamedTuple):
    """What is accepted of a record: its source's date; or, where it ended, since when a harvest had it so."""

    date: str | None
    ended_by: datetime | None

    def is_newer(self, row: Waits) -> bool:
        if self.ended_by is not None:
            return _compare(row.source_date, self.ended_by.isoformat()) < 0
        if row.is_again:
            return not _is_later(row, self.date or "")
        return bool(self.date and row.source_date) and _compare(row.source_date, self.date or "") < 0


_NOTHING = _Accepted(None, None)


def _accepted(
    connection: Connection[Any], installation: Installation, state: SetState, external_ids: list[str]
) -> Mapping[str, _Accepted]:
    entity = fetch.kind_of(installation, state.key).entity
    rows = connection.execute(
        f"""SELECT d.external_id, {source_date("r", "%(gen)s")}, e.ended_by
            FROM document d
            LEFT JOIN revision r ON r.doc_id = d.doc_id AND {live("r", "%(gen)s")}
            LEFT JOIN LATERAL (
                SELECT coalesce(a.asked_at, a.started_at) AS ended_by
                FROM revision o JOIN generation g ON g.set_id = o.set_id AND g.gen = o.to_gen
                JOIN attempt a USING (attempt_id)
                WHERE o.doc_id = d.doc_id AND o.to_gen <= %(gen)s AND r.doc_id IS NULL AND a.mode <> 'push'
                ORDER BY o.to_gen DESC LIMIT 1) e ON true
            WHERE d.set_id = %(set)s AND d.entity = %(entity)s AND d.external_id = ANY (%(ids)s)""",
        {"set": state.set_id, "entity": entity, "ids": external_ids, "gen": state.accepted_gen},
    )
    return {external_id: _Accepted(written, ended_by) for external_id, written, ended_by in rows}


def _is_older(row: Waits, other: Waits | WasTaken) -> bool:
    """Whether a push is older than another one of its record: by the dates of its source; without these, or where they
    are the same, by when it came."""
    found = _compare(row.source_date, other.source_date)
    return found < 0 or (found == 0 and (row.received_at, row.push_id) < (other.received_at, other.push_id))


def _is_later(row: Waits, written: str) -> bool:
    """Whether a push that waits once more is later than what was accepted after it; without a date of its own, by when
    it came."""
    if moment(row.source_date):
        return bool(written) and _compare(row.source_date, written) > 0
    found = moment(written)
    return found is not None and row.received_at > found


def _compare(one: str, other: str) -> int:
    """Below 0: the first date is earlier; 0: they are the same at the coarser of their granularities, or cannot be
    compared."""
    x, y = moment(one), moment(other)
    if x is None or y is None:
        return 0
    if _is_day(one) or _is_day(other):
        return (x.date() > y.date()) - (x.date() < y.date())
    return (x > y) - (x < y)


def moment(written: str) -> datetime | None:
    """A source's date as a moment; None: it is no date of ISO 8601."""
    try:
        found = datetime.fromisoformat(written)
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _is_day(written: str) -> bool:
    try:
        return bool(date.fromisoformat(written))
    except ValueError:
        return False


def sets_with_attempts(connection: Connection[Any], keys: Sequence[str], since: datetime, until: datetime) -> set[str]:
    """Those of some sets whose last attempt of this mode ended then."""
    rows = connection.execute(
        """SELECT s.key FROM harvest_set s CROSS JOIN LATERAL (
               SELECT ended_at FROM attempt a WHERE a.set_id = s.set_id AND a.mode = 'push' AND ended_at IS NOT NULL
               ORDER BY attempt_id DESC LIMIT 1) a
           WHERE s.key = ANY (%s) AND a.ended_at > %s AND a.ended_at <= %s""",
        (list(keys), since, until),
    )
    return {key for (key,) in rows}


def slow_due(connection: Connection[Any], installation: Installation) -> list[tuple[str, int]]:
    """The sets whose newest generation is a push's, and whose slower tasks have not looked at it or were cut, with that
    generation."""
    slow = [task.name for task in _slow(installation)]
    return connection.execute(
        """SELECT s.key, s.accepted_gen FROM harvest_set s
           JOIN generation g ON g.set_id = s.set_id AND g.gen = s.accepted_gen JOIN attempt a USING (attempt_id)
           WHERE a.mode = 'push' AND s.retired_at IS NULL AND (
               EXISTS (SELECT FROM task_progress p WHERE p.set_id = s.set_id AND p.task = ANY (%s)
                         AND p.settled AND p.gen < s.accepted_gen)
               OR EXISTS (SELECT FROM attempt o WHERE o.set_id = s.set_id AND o.mode = 'push' AND o.state = ANY (%s)))
           ORDER BY 1""",
        (slow, list(attempts.OPEN)),
    ).fetchall()


def _slow(installation: Installation) -> list[Any]:
    tasks = installation.catalog.tasks
    return [task for task in tasks if not task.quick and enrich.applies_here(task, installation) is None]


def follow_up(installation: Installation, key: str, progress: Progress = lambda _: None) -> Taken:
    """Run the slower tasks over a portion of what was pushed, and make what comes of them a generation: what is pushed
    meanwhile waits no longer than for that. Its attempt is open before they begin: a cut one is seen by that. Raises
    Busy."""
    slow = {task.name for task in _slow(installation)}
    with lock_set(installation, key, patience=0.05) as locked:
        with locked.connection() as connection:
            if waits := in_the_way(connection, installation, locked.state):
                return Taken(key, waits, 0, None)
            why = Window("push", None, "what tasks say of pushed records")
            attempt = generations.begin(connection, locked, why)
        reports = [
            report
            for rows in installation.catalog.passes
            if (here := [task for task in rows if task.name in slow])
            for report in enrich.run_tasks(locked, here, only_new=True, portion=FOLLOWED_AT_ONCE, progress=progress)
        ]
        outputs.produce(locked, attempt, progress, only="pushed")
        is_cut = any(report.is_cut for report in reports)
        return Taken(key, "", 0, verdict.conclude(locked, attempt), is_cut)
