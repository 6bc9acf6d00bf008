"""`harvester set reconcile`: what is known of a set beside its source's whole list of identifiers, and made the same.

Deltas miss what a source changed under an old date, deleted without a word, or left out of a list that was cut. An
attempt of mode `reconcile` lists all identifiers, asks for the records that are missing or newer than known, each by
its id, writes a page of what is gone, and then goes through the steps of a harvest to its verdict. It moves no
watermark. Killed while it lists or asks, it goes on behind what is stored.

Belongs here: when that can be done and when it is due, the order of its steps. Does not belong here: comparing
(`listed.py`), the walk along the list (`sources/`), asking for one record by hand (`one_record.py`).
"""

import shlex
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from psycopg.types.json import Jsonb

from harvester_dagster.config import SetSettings
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.sets import attempts, fetch, listed, one_record, problems
from harvester_dagster.sets.attempts import Attempt, Window
from harvester_dagster.sets.fetch import Storing
from harvester_dagster.sets.listed import Differences
from harvester_dagster.sets.locked_set import LockedSet, lock_set
from harvester_dagster.sets.sets import SetState, all_sets, find
from harvester_dagster.sets.steps import SetOutcome
from harvester_dagster.sources.kind import IdentifierLists, Single, UnknownRecord
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole, Walk
from harvester_dagster.sources.whole_pages import NoAnswer, Unanswered

MOST_ASKED = 20_000
"""Records that are asked for one by one; at four a second that is an hour and a half."""
MOST_BROKEN = 5
"""Answers on end that are none, before the source is given up for now."""
GONE_A_PAGE = 1_000
Progress = Callable[[str], None]


class NothingToReconcile(HarvesterError):
    """A set cannot be compared with its source's list of identifiers now; the message says why, and what to do."""


class Report(NamedTuple):
    """What a reconciliation found, in records. `not_given`: listed, and not to be had by their id."""

    listed: int
    known: int
    missing: int
    backdated: int
    deleted: int
    left: int
    to_come: int
    not_given: int
    examples: dict[str, list[str]]

    @property
    def missed(self) -> int:
        """How much deltas had missed."""
        return self.missing + self.backdated + self.deleted + self.left

    def __str__(self) -> str:
        told = (
            (self.missing, "that were missing"),
            (self.backdated, "that changed under an old date"),
            (self.deleted, "that are deleted"),
            (self.left, "that have left the set"),
        )
        said = ", ".join(f"{count:,} {what}" for count, what in told if count)
        more = f"; {self.not_given:,} of them were not given by their id" if self.not_given else ""
        later = f"; {self.to_come:,} more come with the next delta" if self.to_come else ""
        found = f"deltas had missed {said}{more}" if said else "deltas had missed nothing"
        return f"{self.listed:,} listed, {self.known:,} known: {found}{later}"


def due(state: SetState, settings: SetSettings, newest: Attempt | None, last: Attempt | None, now: datetime) -> str:
    """Why a set is to be reconciled now; empty: it is not. `newest`: its newest harvest; `last`: its newest
    reconciliation, whatever came of that. A harvest that asked for everything is as good as one."""
    if state.retired_at is not None or state.watermark is None:
        return ""
    if newest and (last is None or last.attempt_id < newest.attempt_id):
        if newest.is_short:
            return "the list of its newest harvest was short"
        if newest.state == "rejected":
            return "its newest harvest was rejected"
    since = max((moment for moment in (state.refreshed_at, state.reconciled_at) if moment), default=state.watermark)
    if now - since >= timedelta(days=settings.reconcile_after_days):
        return f"a reconciliation is due every {settings.reconcile_after_days} days"
    return ""


def all_due(installation: Installation) -> dict[str, str]:
    """The sets that are to be reconciled now, each with the reason."""
    found = {}
    with installation.pool.connection() as connection:
        for state in all_sets(connection):
            key, settings = state.key, installation.config.sets.get(state.key)
            if settings is None or installation.catalog.kinds[settings.kind].identifiers is None:
                continue
            newest = attempts.last(connection, state.set_id, modes=attempts.HARVESTS)
            last = attempts.last(connection, state.set_id, modes=("reconcile",))
            if attempts.going_on(connection, state.set_id) is None and (
                why := due(state, settings, newest, last, installation.clock())
            ):
                found[key] = why
    return found


def look(installation: Installation, key: str, progress: Progress = lambda _: None) -> Report:
    """List and compare, and change nothing. Raises NothingToReconcile, SourceError, UnknownSet."""
    with installation.pool.connection() as connection:
        state = find(connection, key)
    lists = _checked(installation, state)
    request = fetch.request_of(installation, key, None)
    walk = Walk(request.settings)
    pages = lists.pages(request, installation.outside, walk)
    with (
        fetch.asking(installation, key, progress),
        listed.compared(installation, state, map(lists.read, pages)) as found,
    ):
        return _report(found, walk)


def reconcile(
    installation: Installation,
    key: str,
    progress: Progress = lambda _: None,
    *,
    run_id: str | None = None,
    why: str = "",
) -> tuple[Report, SetOutcome]:
    """Make a set what its source lists, under the verdict. Raises NothingToReconcile, UnknownSet; SourceError when the
    source fails, with what it gave stored; NotOpen when another run of the set took its place meanwhile."""
    run_id = run_id or f"reconcile {uuid.uuid4()}"
    with lock_set(installation, key) as locked:
        lists = _checked(installation, locked.state)
        with fetch.asking(installation, key, progress):
            report = _Reconciling(locked, lists, run_id, why or "asked for", progress).run()
    progress(f"{key}: {report}")
    return report, one_record.finish(installation, key, run_id, progress)


def _checked(installation: Installation, state: SetState) -> IdentifierLists:
    """How the set's source lists identifiers. Raises NothingToReconcile."""
    key = state.key
    if key not in installation.config.sets:
        raise NothingToReconcile(f"{key} is retired", "it stays published as it is")
    lists = fetch.kind_of(installation, key).identifiers
    if lists is None:
        kind = installation.config.sets[key].kind
        raise NothingToReconcile(
            f"{key}: a source of the kind {kind} has no list of identifiers",
            f"`harvester harvest {shlex.quote(key)} --full` asks it for everything",
        )
    if state.watermark is None:
        raise NothingToReconcile(
            f"{key} was never harvested", f"`harvester harvest {shlex.quote(key)}` brings all of it"
        )
    with installation.pool.connection() as connection:
        if going_on := attempts.going_on(connection, state.set_id):
            raise NothingToReconcile(
                f"{key}: a harvest is going on (attempt {going_on.attempt_id})",
                f"wait for its end; where its run was killed, `harvester harvest {shlex.quote(key)}` begins it again",
            )
    return lists


def _report(found: Differences, walk: Walk) -> Report:
    left = found.counts["left"]
    lacking = (walk.announced or 0) - walk.distinct
    if 0 < left <= lacking:  # these may be all that the list lacks
        walk.note(
            f"{left:,} known records were not listed, and the list has {lacking:,} fewer than it announced: none is "
            "taken for gone"
        )
        left = 0
    examples = {what: names for what in listed.KINDS if (names := found.examples(what))}
    if not left:
        examples.pop("left", None)
    counts = found.counts
    return Report(
        found.listed,
        found.known,
        counts["missing"],
        counts["backdated"],
        counts["deleted"],
        left,
        counts["to come"],
        0,
        examples,
    )


class _Reconciling:
    """One attempt, from its opening to all of its pages stored."""

    def __init__(self, locked: LockedSet, lists: IdentifierLists, run_id: str, why: str, progress: Progress) -> None:
        self.locked, self.lists, self.progress = locked, lists, progress
        self.installation, self.key = locked.installation, locked.key
        self.request = fetch.request_of(self.installation, self.key, None)
        with locked.connection() as connection:
            self.attempt = attempts.open_attempt(
                connection,
                locked,
                Window("reconcile", None, why),
                mapping_version=fetch.mapping_version(self.installation, self.key),
                run_id=run_id,
                of_whom=fetch.of_whom(self.request),
            )
        self.not_given: list[str] = []
        progress(f"{self.key}: reconciling, {self.attempt.why}")

    def run(self) -> Report:
        """Raises SourceError; then the attempt has failed."""
        listing = Storing(self.locked, self.attempt, "identifiers")
        walk = listing.walk(self.request.settings)
        try:
            listing.all(self.lists.pages(self.request, self.installation.outside, walk), walk)
            self.progress(f"{self.key}: {walk.distinct:,} identifiers listed")
            lines = map(self.lists.read, fetch.identifier_pages(self.installation, self.attempt))
            with listed.compared(self.installation, self.locked.state, lines) as found:
                report = _report(found, walk)
                names = self._wanted(found)
                gone = self._end(found, ("deleted", "left") if report.left else ("deleted",))
            records = gone + self._ask(names)
        except SourceError as error:
            self._failed(error)
            raise
        if self.not_given:
            report.examples["not given"] = self.not_given[: listed.EXAMPLES]
        report = report._replace(not_given=len(self.not_given))
        with self.locked.connection() as connection:
            problems.note_list(connection, self.locked, self.attempt, walk.notes)
            connection.execute(
                """UPDATE attempt SET state = 'fetched', fetched_at = %s, pages = %s, report = %s
                   WHERE attempt_id = %s AND state = 'open'""",
                (self.installation.clock(), records, Jsonb(report._asdict()), self.attempt.attempt_id),
            )
        return report

    def _failed(self, error: SourceError) -> None:
        with self.locked.connection() as connection:
            attempts.fail(
                connection,
                self.locked,
                self.attempt,
                str(error),
                is_cut=isinstance(error, Unanswered),
                is_short=isinstance(error, NotWhole) and error.short,
            )

    def _wanted(self, found: Differences) -> list[str]:
        """The records to ask for."""
        wanted = found.counts["missing"] + found.counts["backdated"]
        if wanted > MOST_ASKED:
            raise SourceError(
                f"{self.key}: {wanted:,} records are missing or changed, and no more than {MOST_ASKED:,} are asked for "
                "one by one",
                f"`harvester harvest {shlex.quote(self.key)} --full` asks for everything",
            )
        return [name for what in ("missing", "backdated") for name in found.of(what)]

    def _ask(self, wanted: Sequence[str]) -> int:
        """Store the records of these ids, each as it came; how many pages there are."""
        storing = Storing(self.locked, self.attempt)
        stored = {self._name(page) for page in storing.walk(self.request.settings).stored()}
        names = [name for name in wanted if name not in stored and not storing.left_out.is_left_out(name)]
        storing.all(self._asked(names), Walk(self.request.settings))
        if names:
            self.progress(f"{self.key}: {len(names) - len(self.not_given):,} records asked for by their ids")
        return storing.pages

    def _asked(self, names: Sequence[str]) -> Iterator[bytes]:
        broken = 0
        for name in names:
            try:
                single = self._single(name)
                broken = 0
            except Unanswered as error:
                broken += 1
                if not isinstance(error, NoAnswer) or broken >= MOST_BROKEN:
                    raise
                single = None
            if single is None or self._name(single.page) != name:
                self.not_given.append(name)
            else:
                yield single.page

    def _single(self, name: str) -> Single | None:
        single = fetch.kind_of(self.installation, self.key).single
        assert single is not None
        try:
            return single(self.request, name, self.installation.outside)
        except UnknownRecord:
            return None

    def _name(self, page: bytes) -> str | None:
        found = one_record.read_single(self.installation, self.key, page)
        return found.sent[0].external_id if found.sent else found.problems[0][0]

    def _end(self, found: Differences, kinds: Sequence[str]) -> int:
        """Store our pages of what is gone; how many. What a killed run stored of them is replaced."""
        attempt_id = self.attempt.attempt_id
        with self.locked.connection() as connection:
            rows = connection.execute(
                "SELECT object_key FROM page_bundle WHERE attempt_id = %s AND holds = 'gone'", (attempt_id,)
            ).fetchall()
            self.installation.objects.delete(key for (key,) in rows)
            connection.execute("DELETE FROM page_bundle WHERE attempt_id = %s AND holds = 'gone'", (attempt_id,))
        storing = Storing(self.locked, self.attempt, "gone")
        walk = storing.walk(self.request.settings)
        storing.all(map(self.lists.gone, found.by_parts(kinds, GONE_A_PAGE)), walk)
        return storing.pages
