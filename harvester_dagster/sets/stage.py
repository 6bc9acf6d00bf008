"""From stored pages to a candidate: extract what is not known by its raw bytes, compare, write what differs.

A candidate is the set's next, tentative generation (`generations.py`). Belongs here: the order of reading (`read.py`),
looking up (`known.py`), comparing (`compare.py`), writing (`write.py`) and counting (`tally.py`), and what a complete
harvest ends. Everything goes by batches of records: one look-up, the closes, three COPYs. Memory: what is known of the
accepted records, three batches, and what is being extracted.
"""

from collections import deque
from collections.abc import Callable
from typing import Any

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.processes.cycle_collection import rarely_collected
from harvester_dagster.publication import inbox
from harvester_dagster.sets import attempts, generations, known, problems, write
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.compare import Terms, compared, new_documents
from harvester_dagster.sets.extract import Extracted, SentRecord
from harvester_dagster.sets.fetch import kind_of
from harvester_dagster.sets.known import AcceptedRecords
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sets.read import Reading
from harvester_dagster.sets.tally import Counting
from harvester_dagster.sets.write import Writer


def stage(locked: LockedSet, attempt: Attempt, progress: Callable[[str], None] = lambda _: None) -> Attempt:
    """Stage a fetched attempt's candidate; idempotent: begins by cleaning."""
    with locked.connection() as connection:
        generations.clean(connection, locked, attempt.attempt_id)
        locked.move(connection, staged_attempt=None)  # not before all of it is there
        connection.execute(
            f"DELETE FROM problem WHERE attempt_id = %s AND NOT ({problems.OF_LIST})", (attempt.attempt_id,)
        )
        run = _Staging(connection, locked, attempt)
    with rarely_collected():
        run.all_pages(progress)
    with locked.connection() as connection:
        counts = run.counting.counts(connection)
        tally = run.counting.tally(connection, run.reading.records, counts[run.terms.entity])
        connection.execute(
            """UPDATE attempt SET records = %s, counts = %s, tally = %s, outputs_made = false,
                   state = CASE state WHEN 'fetched' THEN 'staged' ELSE state END
               WHERE attempt_id = %s""",
            (run.reading.records, Jsonb(counts), Jsonb(tally._asdict()), attempt.attempt_id),
        )
        if attempt.state in attempts.OPEN:
            locked.move(connection, staged_attempt=attempt.attempt_id)
        return attempts.by_id(connection, attempt.attempt_id)


class _Staging:
    """One run: the parts, the batch that grows, and what was touched so far."""

    def __init__(self, connection: Connection[Any], locked: LockedSet, attempt: Attempt) -> None:
        self.locked, self.attempt, self.limits = locked, attempt, locked.installation.limits
        state, entity = locked.state, kind_of(locked.installation, locked.key).entity
        self.terms = Terms(state.set_id, state.candidate_gen, entity, anew=attempt.mode == "reset")
        self.has_documents = known.has_documents(connection, state.set_id)
        accepted = known.raw_hashes(connection, state, entity) if attempt.complete and self.has_documents else {}
        self.accepted = AcceptedRecords(
            attempt.mapping_version, accepted, skips=attempt.mode != "reset", most_repeated=self.limits.repeated
        )
        self.reading = Reading(locked.installation, locked.key, attempt, self.accepted, self.limits.extracted)
        self.writer = Writer(locked)
        self.counting = Counting(connection, locked, attempt, entity)
        self.problems = self.counting.problems
        self.batch: list[SentRecord] = []
        self.ids: deque[int] = deque()
        self.touched: set[int] = set()
        self.is_repeated = False
        """Whether a record came once more after it was touched: what it was may have come back."""

    def all_pages(self, progress: Callable[[str], None]) -> None:
        with self.writer:
            for found in self.reading:
                self._take(found)
                if max(len(self.batch), len(self.problems.waiting)) >= self.limits.compared or self.accepted.is_full:
                    self._flush()
                    progress(f"{self.locked.key}: {self.reading.records:,} records compared")
            self._flush()
        with self.locked.connection() as connection:
            self.writer.analyze(connection)
        if self.attempt.complete:
            self._close_unseen()
        if self.is_repeated:
            with self.locked.connection() as connection:
                write.keep_dates(connection, self.locked)
                if not self.terms.anew:
                    self.counting.restored(write.restore(connection, self.locked))

    def _take(self, found: Extracted) -> None:
        self.counting.came(found)
        self.batch += found.sent

    def _flush(self) -> None:
        """Compare the batch and hand its writes on: the server works while the next is extracted."""
        if self.problems.waiting:
            self._write_problems()
        batch, self.batch = {sent.external_id: sent for sent in self.batch}, []
        if batch:
            self._compare(batch)
        self.reading.all_compared()

    def _write_problems(self) -> None:
        """A record that cannot be extracted counts as seen."""
        with self.locked.connection() as connection:
            unreadable = self.problems.unreadable()
            self.problems.write(connection)
            if unreadable and self.accepted.unseen:
                ids = known.ids_of(connection, self.terms.set_id, self.terms.entity, unreadable)
                self.counting.kept_unread += len(self.accepted.unseen.intersection(ids))
                self.accepted.see(ids)

    def _compare(self, batch: dict[str, SentRecord]) -> None:
        self.writer.settle(batch.keys())
        with self.locked.connection() as connection:
            before = (
                known.look_up(connection, self.locked.state, self.terms.entity, batch) if self.has_documents else {}
            )
            records = [
                sent
                for sent in batch.values()
                if (root := before.get((self.terms.entity, sent.external_id))) is None
                or self.accepted.contradict(root, sent.number)
            ]
            lacking = new_documents(records, before) - len(self.ids)
            self.ids.extend(write.new_ids(connection, lacking, self.limits.ids))
        self.is_repeated |= not self.touched.isdisjoint(row.doc_id for row in before.values())
        found = compared(records, before, self.terms, self.ids, self.touched)
        self.touched |= found.touched
        self.counting.compared(found.unchanged, (*found.writes.close, *found.writes.undo))
        self.writer.write(found.writes, batch.keys())
        self.has_documents = True

    def _close_unseen(self) -> None:
        """What a complete harvest did not contain is gone, with all that it owned; unless records so broken that they
        have no name may be all that is missed."""
        self._see_pushed()
        unseen = sorted(self.accepted.unseen)
        if 0 < len(unseen) <= self.problems.nameless:
            self.problems.note(
                f"{len(unseen)} known records did not come, and {self.problems.nameless} came that are too broken to "
                "have a name: none is taken for gone"
            )
            self._write_problems()
            return
        self.counting.gone = len(unseen)
        for start in range(0, len(unseen), self.limits.compared):
            with self.locked.connection() as connection:
                write.close_with_parts(connection, self.locked, unseen[start : start + self.limits.compared])

    def _see_pushed(self) -> None:
        """A list may lag behind what its source has just pushed, by as much as a delta allows for."""
        settings = self.locked.installation.config.sets.get(self.locked.key)
        if not self.accepted.unseen or settings is None:
            return
        with self.locked.connection() as connection:
            since = self.attempt.watermark - settings.overlap
            shown = f"{since.astimezone(self.locked.installation.config.zone):%Y-%m-%d %H:%M}"
            pushed = inbox.taken_since(connection, self.terms.set_id, since)
            late = self.accepted.unseen.intersection(
                known.ids_of(connection, self.terms.set_id, self.terms.entity, pushed)
            )
        if late:
            self.accepted.see(late)
            self.problems.note(
                f"{len(late)} records that were pushed since {shown} did not come: they stay until the next whole list"
            )
            self._write_problems()
