"""The nights of an installation, and what is usual for a set: what the pages show beside what came last.

Belongs here: reading nights and harvests set-wise, a question for all sets. Does not belong here: how every set stands
(`status.py`), where a running night is (`night_progress.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from statistics import median
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.rows import class_row

from harvester_dagster.sets.attempts import HARVESTS

USUAL_OF = 14
"""So many of a set's last accepted harvests in one mode say what is usual."""
LEAST = 3
"""Of fewer nothing is usual yet."""
FAR_OFF = 2.0
"""So many times what is usual, or so many times less, is marked."""
MARKED = {"records": 20, "changes": 20, "seconds": 30}
"""What is marked, where it or what is usual reaches so much."""
LOOKED_BACK = 60
"""Harvests among which these are looked for, whatever came of them."""
CHANGES = ("new", "changed", "deleted", "gone")
"""Of a tally: what a harvest would change of what is published."""


class NightSummary(NamedTuple):
    """One night: its sets by what came of their harvests. `failed`: harvests, or whole runs."""

    night_id: int
    opened_at: datetime
    ended_at: datetime | None
    sets: int
    accepted: int
    rejected: int
    failed: int
    version_id: int | None
    """What it promoted, if anything."""
    was_released: bool
    """Whether its release has begun; a night that ended without was stopped."""
    release_failed: bool

    @property
    def instead(self) -> str:
        """What stands in place of a version."""
        if self.release_failed:
            return "release failed"
        return "stopped" if self.ended_at and not self.was_released else "none"


class Usual(NamedTuple):
    """Medians over a set's last accepted harvests in one mode. `changes`: of what is published, however."""

    records: float
    changes: float
    seconds: float
    harvests: int


class Harvest(NamedTuple):
    """One harvest of a set."""

    attempt_id: int
    mode: str
    started_at: datetime
    ended_at: datetime | None
    state: str
    records: int
    reason: str
    run_id: str | None
    night_id: int | None
    tally: Mapping[str, int] | None
    """Each of its records under one word (`sets/tally.py`); None: it was not staged."""
    rejected_at: datetime | None = None
    """First; it may have been accepted by hand since."""
    is_stopped: bool = False
    """It failed because somebody stopped its night."""

    @property
    def seconds(self) -> float:
        """From asking the source to the first verdict."""
        ended = self.rejected_at or self.ended_at
        return (ended - self.started_at).total_seconds() if ended else 0.0

    @property
    def changes(self) -> int:
        """What it would change of what is published; none where it was not staged."""
        return changes_of(self.tally or {})


def changes_of(tally: Mapping[str, int]) -> int:
    """The changes that a harvest would make, of its tally."""
    return sum(tally.get(name, 0) for name in CHANGES)


def nights(connection: Connection[Any], count: int, before: int | None = None) -> list[NightSummary]:
    """The last nights, or the last before one, newest first."""
    with connection.cursor(row_factory=class_row(NightSummary)) as cursor:
        return cursor.execute(
            """SELECT n.night_id, n.opened_at, n.ended_at, count(s.set_id) AS sets,
                      count(*) FILTER (WHERE a.state = 'accepted' AND a.rejected_at IS NULL
                                         AND s.outcome IS DISTINCT FROM 'failure') AS accepted,
                      count(*) FILTER (WHERE a.rejected_at IS NOT NULL
                                          OR a.state IN ('rejected', 'superseded', 'dismissed')) AS rejected,
                      count(*) FILTER (WHERE a.state = 'failed' AND NOT a.is_stopped
                                          OR s.outcome = 'failure' AND n.released_at IS NOT NULL) AS failed,
                      (SELECT max(version_id) FROM dataset_version v
                       WHERE v.night_id = n.night_id AND v.promoted_at IS NOT NULL) AS version_id,
                      n.released_at IS NOT NULL AS was_released, n.failed_run <> '' AS release_failed
               FROM (SELECT * FROM night WHERE %(before)s::bigint IS NULL OR night_id < %(before)s
                     ORDER BY night_id DESC LIMIT %(count)s) n
               LEFT JOIN night_set s USING (night_id)
               LEFT JOIN LATERAL (SELECT state, rejected_at, is_stopped FROM attempt a
                                  WHERE a.set_id = s.set_id AND a.night_id = n.night_id
                                  ORDER BY attempt_id DESC LIMIT 1) a ON true
               GROUP BY n.night_id, n.opened_at, n.ended_at, n.released_at, n.failed_run ORDER BY n.night_id DESC""",
            {"count": count, "before": before},
        ).fetchall()


def one_night(connection: Connection[Any], night_id: int) -> NightSummary | None:
    """That night; None: it is not kept."""
    found = nights(connection, 1, night_id + 1)
    return found[0] if found and found[0].night_id == night_id else None


_SINCE = {"superseded": "a later harvest took its place", "dismissed": "dismissed"}
"""What became of a rejection, by the state of its attempt."""


class SetOfNight(NamedTuple):
    """What came of a set in one night. `outcome`: how its run ended, and `why`, where it failed. `harvest`: the newest
    of that night; None: it came to none."""

    key: str
    outcome: str | None
    why: str
    harvest: Harvest | None

    @property
    def state(self) -> str:
        """In a word, as it was when the night ended."""
        if self.harvest and self.harvest.is_stopped:
            return "stopped"
        if self.outcome == "failure":
            return "failed"
        if self.harvest is None:
            return "not harvested"
        return "rejected" if self.harvest.state in _SINCE or self.harvest.rejected_at else self.harvest.state

    @property
    def reason(self) -> str:
        """Why, where anything is to be said."""
        return self.why or (self.harvest.reason if self.harvest else "")

    @property
    def since(self) -> str:
        """What took its place after the night, if anything; an acceptance by hand is its reason."""
        return _SINCE.get(self.harvest.state, "") if self.harvest else ""


_OF_NIGHT = ", ".join(f"a.{name}" for name in Harvest._fields)


def sets_of(connection: Connection[Any], night_id: int) -> list[SetOfNight]:
    """Every set of a night; those of which nothing was accepted first."""
    rows = connection.execute(
        f"""SELECT s.key, n.outcome, n.reason, {_OF_NIGHT} FROM night_set n JOIN harvest_set s USING (set_id)
            LEFT JOIN LATERAL (SELECT * FROM attempt a WHERE a.set_id = n.set_id AND a.night_id = n.night_id
                AND a.mode = ANY (%s) ORDER BY attempt_id DESC LIMIT 1) a ON true
            WHERE n.night_id = %s ORDER BY s.key""",
        (list(HARVESTS), night_id),
    )
    found = [
        SetOfNight(key, outcome, why, Harvest(*harvest) if harvest[0] is not None else None)
        for key, outcome, why, *harvest in rows
    ]
    return sorted(found, key=lambda each: each.state == "accepted")


_CHANGES = " + ".join(f"coalesce((tally ->> '{name}')::int, 0)" for name in CHANGES)


def usual(connection: Connection[Any]) -> dict[tuple[str, str], Usual]:
    """What was usual when the newest harvest of each set came, by the set's key and a mode: it is no part of what it is
    held against. None where fewer than LEAST harvests were accepted lately."""
    rows = connection.execute(
        f"""SELECT s.key, a.mode, percentile_cont(0.5) WITHIN GROUP (ORDER BY a.records),
                  percentile_cont(0.5) WITHIN GROUP (ORDER BY a.changes),
                  percentile_cont(0.5) WITHIN GROUP (ORDER BY a.seconds), count(*)
           FROM harvest_set s CROSS JOIN LATERAL (
               SELECT b.*, row_number() OVER (PARTITION BY mode ORDER BY attempt_id DESC) AS place FROM (
                   SELECT attempt_id, mode, state, records, {_CHANGES} AS changes,
                          extract(epoch FROM coalesce(rejected_at, ended_at) - started_at)::float8 AS seconds
                   FROM attempt c WHERE c.set_id = s.set_id AND c.mode = ANY (%(modes)s)
                   ORDER BY attempt_id DESC OFFSET 1 LIMIT %(back)s) b
               WHERE state = 'accepted') a
           WHERE a.place <= %(count)s GROUP BY s.key, a.mode HAVING count(*) >= %(least)s""",
        {"modes": list(HARVESTS), "back": LOOKED_BACK, "count": USUAL_OF, "least": LEAST},
    )
    return {(key, mode): Usual(*medians) for key, mode, *medians in rows}


def far_off(found: Mapping[str, float], usually: Usual | None) -> dict[str, str]:
    """Of the numbers of a harvest, by their names in MARKED, those that are far off what is usual, each with both."""
    known = usually._asdict() if usually else {}
    return {what: said for what in known if what in found and (said := _mark(what, found[what], known[what]))}


def _mark(what: str, is_now: float, usually: float) -> str:
    if max(is_now, usually) < MARKED[what] or usually / FAR_OFF <= is_now <= usually * FAR_OFF:
        return ""
    return f"{is_now:,.0f} {what}, usually {usually:,.0f}"


def harvests(connection: Connection[Any], set_id: int, count: int) -> list[Harvest]:
    """The last harvests of a set, newest first."""
    with connection.cursor(row_factory=class_row(Harvest)) as cursor:
        return cursor.execute(
            f"""SELECT {", ".join(Harvest._fields)} FROM attempt
               WHERE set_id = %s AND mode = ANY (%s) ORDER BY attempt_id DESC LIMIT %s""",
            (set_id, list(HARVESTS), count),
        ).fetchall()


def usual_then(harvests: Sequence[Harvest]) -> list[Usual | None]:
    """What was usual when each of these, newest first, came: of those before it, as `usual` takes them."""
    found: list[Usual | None] = []
    for place, harvest in enumerate(harvests):
        before = harvests[place + 1 : place + 1 + LOOKED_BACK]
        of = [one for one in before if one.state == "accepted" and one.mode == harvest.mode][:USUAL_OF]
        found.append(_usual_of(of) if len(of) >= LEAST else None)
    return found


def _usual_of(harvests: Sequence[Harvest]) -> Usual:
    records, changes = (median(each) for each in zip(*((one.records, one.changes) for one in harvests), strict=True))
    return Usual(records, changes, median(one.seconds for one in harvests), len(harvests))
