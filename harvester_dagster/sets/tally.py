"""What is counted while a candidate is staged: its records, each under one word, and what was odd about some of them.

Belongs here: the words, the figures, and the rows of what was odd. Does not belong here: what is done with a record
(`stage.py`), what was odd about a list as a whole (`problems.py`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.sets import generations, problems
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.extract import Extracted
from harvester_dagster.sets.generations import live
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.store.database import copy

MOST_PROBLEMS = 10_000


class Tally(NamedTuple):
    """Each record of a harvest under one word: all but `gone` add up to the records that came.

    aside: unreadable, or not for this platform; ignored: it came again later on, or was deleted and never known; gone:
    was known, and a complete harvest does not contain it."""

    new: int
    changed: int
    unchanged: int
    deleted: int
    aside: int
    ignored: int
    gone: int


class Problems:
    """What was odd about records: all of it counted, a row each up to a bound."""

    def __init__(self, connection: Connection[Any], attempt_id: int) -> None:
        self.counts = {"unreadable": 0, "notes": len(problems.of_list(connection, attempt_id))}
        self.nameless = 0
        """Records that are too broken to have a name."""
        self.waiting: list[tuple[str | None, str, str]] = []
        self._attempt_id, self._kept = attempt_id, 0

    def add(self, found: Extracted) -> None:
        """What was odd about these."""
        self.waiting += found.problems
        for external_id, kind, _ in found.problems:
            self.counts["unreadable" if kind == "unreadable" else "notes"] += 1
            self.nameless += kind == "unreadable" and external_id is None

    def note(self, said: str) -> None:
        """What is odd about the harvest as a whole."""
        self.waiting.append((None, "note", said))
        self.counts["notes"] += 1

    def unreadable(self) -> list[str]:
        """The records among those that wait which could not be extracted."""
        return [external_id for external_id, kind, _ in self.waiting if kind == "unreadable" and external_id]

    def write(self, connection: Connection[Any]) -> None:
        """Rows of those that wait."""
        rows = self.waiting[: max(MOST_PROBLEMS - self._kept, 0)]
        self._kept += copy(
            connection,
            "problem",
            ("attempt_id", "external_id", "kind", "reason"),
            ("int8", "text", "text", "text"),
            [(self._attempt_id, *problem) for problem in rows],
        )
        self.waiting = []


class Counting:
    """The records of one staging; `entity` is theirs."""

    def __init__(self, connection: Connection[Any], locked: LockedSet, attempt: Attempt, entity: str) -> None:
        self.problems = Problems(connection, attempt.attempt_id)
        self.gone = 0
        """Accepted records that a complete harvest does not contain."""
        self.kept_unread = 0
        """Accepted records that came and could not be read: they stay as they were."""
        self._locked, self._attempt, self._entity = locked, attempt, entity
        self._unchanged: dict[int, str] = {}
        self._inactive: Counter[str] = Counter()

    def came(self, found: Extracted) -> None:
        """These were extracted."""
        self.problems.add(found)
        states = (sent.documents[0].state for sent in found.sent if sent.documents)
        self._inactive.update(state for state in states if state != "active")

    def compared(self, unchanged: Mapping[int, str], written: Iterable[int]) -> None:
        """Documents that are as they were, with their entity; and those that are not, whatever was said of them
        before."""
        for doc_id in written:
            self._unchanged.pop(doc_id, None)
        if not self._attempt.complete:  # else most are known to be unchanged by their raw bytes, and so are their files
            self._unchanged |= unchanged

    def restored(self, unchanged: Mapping[int, str]) -> None:
        """Documents that were another one in between, and are as they were once more."""
        self._unchanged |= unchanged

    def counts(self, connection: Connection[Any]) -> dict[str, dict[str, int]]:
        """Per entity: new, changed, deleted, unchanged; of the records: unreadable, notes, by state."""
        state, unchanged = self._locked.state, Counter(self._unchanged.values())
        counted = generations.changes(connection, state.set_id, state.candidate_gen)
        for entity in self._locked.installation.catalog.entities:
            row = counted.setdefault(entity.name, {"new": 0, "changed": 0, "deleted": 0})
            row["unchanged"] = unchanged[entity.name]
        if self._attempt.complete:
            before = connection.execute(
                f"""SELECT entity, count(*) FROM revision r
                    WHERE set_id = %(set)s AND {live("r", "%(gen)s")} GROUP BY 1""",
                {"set": state.set_id, "gen": state.accepted_gen},
            )
            for entity, had in before:
                counted[entity]["unchanged"] = had - counted[entity]["changed"] - counted[entity]["deleted"]
        counted[self._entity] |= {**self.problems.counts, **self._inactive}
        return counted

    def tally(self, connection: Connection[Any], records: int, counts: Mapping[str, int]) -> Tally:
        """Of so many records, by what `counts` says of their documents."""
        state = self._locked.state
        asked = {"set": state.set_id, "gen": state.candidate_gen, "entity": self._entity}
        new_aside, changed_aside = connection.execute(_SET_ASIDE, asked).fetchone() or (0, 0)
        kept_unread = self.kept_unread if self._attempt.complete else 0
        new, changed = counts["new"] - new_aside, counts["changed"] - changed_aside
        unchanged, deleted = counts["unchanged"] - kept_unread, counts["deleted"] - self.gone
        aside = new_aside + changed_aside + counts["unreadable"]
        ignored = records - (new + changed + unchanged + deleted + aside)
        return Tally(new, changed, unchanged, deleted, aside, max(0, ignored), self.gone)


_SET_ASIDE = """
SELECT count(*) FILTER (WHERE o.doc_id IS NULL), count(*) FILTER (WHERE o.doc_id IS NOT NULL)
FROM revision n LEFT JOIN revision o ON o.doc_id = n.doc_id AND o.to_gen = n.from_gen
WHERE n.set_id = %(set)s AND n.entity = %(entity)s AND n.from_gen = %(gen)s AND n.state <> 'active'
"""
