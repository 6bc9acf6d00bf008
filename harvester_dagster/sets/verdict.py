"""`check_set_integrity`: what was harvested is a proposal; here it is judged, accepted or left aside.

The rule is a pure function (`judge`); accepting is one transaction that moves the set's pointer together with its
watermark and the verdict; rejecting writes the verdict and nothing else, so falling back copies nothing.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import Any, NamedTuple

from psycopg import Connection
from psycopg.types.json import Jsonb

from harvester_dagster.config import SetSettings
from harvester_dagster.publication import audit, inbox, wishes
from harvester_dagster.sets import attempts, candidate_figures, differences, outputs, withheld
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.locked_set import LockedSet
from harvester_dagster.sets.sets import SetState


class Verdict(NamedTuple):
    """One entity's: n published documents proposed, h in the historic set."""

    n: int
    h: int
    rejected: bool
    reason: str


def judge(n: int, h: int, settings: SetSettings) -> Verdict:
    """The rule. `n = 0` with `h > 0` is rejected however small the set; else the historic set counts from
    `min_documents` on, and a loss of `max_shrink` of what is left, or more, is rejected."""
    if h == 0:
        return Verdict(n, h, False, "nothing to compare with")
    if n == 0:
        return Verdict(n, h, True, f"nothing is left of {h:,}")
    if h < settings.min_documents:
        return Verdict(n, h, False, f"{h:,} is below min_documents = {settings.min_documents}: not judged by ratio")
    if h - n > (most := may_go(h, settings.max_shrink)):
        fewer = f"{h - n:,} fewer, at most {most:,} may go (max_shrink {settings.max_shrink})"
        return Verdict(n, h, True, f"{n:,} after {h:,}: {fewer}")
    return Verdict(n, h, False, f"{n:,} after {h:,}")


def may_go(h: int, max_shrink: float) -> int:
    """How many of `h` documents may go at most: the largest k with k / (h - k) < max_shrink. Exact, with the share as
    it is written: as a binary fraction 0.07 lies beside itself."""
    share = Fraction(str(max_shrink))
    return ceil(h * share / (1 + share)) - 1


def published(connection: Connection[Any], state: SetState) -> dict[str, int]:
    """How many documents of each entity consumers see at the accepted generation."""
    row = connection.execute(
        "SELECT published FROM generation WHERE set_id = %s AND gen = %s", (state.set_id, state.accepted_gen)
    ).fetchone()
    return dict(row[0]) if row else {}


def proposed(connection: Connection[Any], state: SetState, historic: Mapping[str, int]) -> dict[str, int]:
    """The same at the candidate: the historic count and what its outputs add and take. Costs what changed."""
    rows = connection.execute(
        """SELECT entity, sum(change)::int FROM (
               SELECT entity, 1 AS change FROM output
               WHERE set_id = %(set)s AND from_gen = %(gen)s AND published
               UNION ALL
               SELECT entity, -1 FROM output WHERE set_id = %(set)s AND to_gen = %(gen)s AND published) c GROUP BY 1""",
        {"set": state.set_id, "gen": state.candidate_gen},
    )
    counts = dict(historic)
    for entity, change in rows:
        counts[entity] = counts.get(entity, 0) + change
    return counts


def conclude(locked: LockedSet, attempt: Attempt, *, by_hand: bool = False) -> Attempt:
    """Judge the staged candidate and accept it or leave it aside; by hand it is accepted whatever the rule says.

    One rejected entity rejects all, so that products and files stay in step. Raises NotOpen.
    """
    installation, key, state = locked.installation, locked.key, locked.state
    with locked.connection() as connection:
        if state.staged_attempt != attempt.attempt_id or state.accepted_gen != attempt.base_gen:
            raise attempts.NotOpen(f"{key}: attempt {attempt.attempt_id} was superseded; harvest the set again")
        withheld.settle_candidate(connection, state.set_id, state.accepted_gen)
        historic = published(connection, state)
        now_there = proposed(connection, state, historic)
        settings = installation.config.sets.get(key)
        verdicts = {
            entity.name: judge(now_there.get(entity.name, 0), historic.get(entity.name, 0), settings)
            for entity in installation.catalog.entities
            if settings and attempt.mode != "withdraw"
        }
        rejected = [f"{entity}: {verdict.reason}" for entity, verdict in verdicts.items() if verdict.rejected]
        record = Jsonb({entity: verdict._asdict() for entity, verdict in verdicts.items()})
        if rejected and not by_hand:
            before, after = {state.set_id: state.accepted_gen}, {state.set_id: state.candidate_gen}
            differs = differences.counted(connection, before, after)
            figures = Jsonb(candidate_figures.of(attempt.attempt_id, now_there, historic, differs)._asdict())
            connection.execute(
                """UPDATE attempt SET state = 'rejected', verdict = %(verdict)s, reason = %(reason)s,
                       ended_at = %(now)s, figures = %(figures)s, rejected_at = coalesce(rejected_at, %(now)s)
                   WHERE attempt_id = %(attempt)s AND state = 'staged'""",
                {
                    "verdict": record,
                    "reason": "; ".join(rejected),
                    "now": installation.clock(),
                    "figures": figures,
                    "attempt": attempt.attempt_id,
                },
            )
            inbox.settle(connection, attempt.attempt_id, "rejected", installation.clock(), "; ".join(rejected))
            if attempt.mode != "derive":  # results of due looks count all the same: the next release publishes them
                outputs.still_to_do(connection, locked)
        else:
            _accept(connection, locked, attempt, now_there, record, _by_hand(rejected) if by_hand else "")
            if by_hand:
                act = "withdraw" if attempt.mode == "withdraw" else "accept"
                audit.write(connection, act, key, installation.clock(), attempt=attempt.attempt_id, published=now_there)
        return attempts.by_id(connection, attempt.attempt_id)


def _by_hand(rejected: Sequence[str]) -> str:
    return f"accepted by hand: {'; '.join(rejected)}" if rejected else "accepted by hand"


def _accept(
    connection: Connection[Any],
    locked: LockedSet,
    attempt: Attempt,
    counts: Mapping[str, int],
    verdict: Jsonb,
    reason: str,
) -> None:
    """Move the pointer, the watermark and the verdict together. An empty candidate makes no generation."""
    state, now = locked.state, locked.installation.clock()
    gen = state.candidate_gen
    moved = connection.execute(_MOVED, {"set": state.set_id, "gen": gen}).fetchone() == (True,)
    if moved:
        connection.execute(
            "INSERT INTO generation (set_id, gen, attempt_id, accepted_at, published) VALUES (%s, %s, %s, %s, %s)",
            (state.set_id, gen, attempt.attempt_id, attempt.accept_at or now, Jsonb(dict(counts))),
        )
    extracted: dict[str, Any] = {}
    if attempt.mode in (*attempts.HARVESTS, "remap"):
        extracted["mapping_version"] = attempt.mapping_version
    if attempt.mode in attempts.HARVESTS:
        extracted["watermark"] = attempt.watermark
    if attempt.asked_for_all:
        extracted["refreshed_at"] = attempt.watermark
    if attempt.mode == "reconcile":
        extracted["reconciled_at"] = attempt.watermark
    if attempt.mode != "push":  # whose outputs are some of those that are stale
        extracted["output_version"] = outputs.version(locked.installation.catalog, locked.installation.config)
    locked.move(connection, accepted_gen=gen if moved else state.accepted_gen, staged_attempt=None, **extracted)
    done = (state.set_id, gen)
    connection.execute("SELECT FROM dirty WHERE set_id = %s AND done_in = %s ORDER BY doc_id FOR UPDATE", done)
    connection.execute("DELETE FROM dirty WHERE set_id = %s AND done_in = %s", done)
    connection.execute(
        """UPDATE attempt SET state = 'accepted', verdict = %s, reason = %s, ended_at = %s, generation = %s
           WHERE attempt_id = %s""",
        (verdict, reason, now, gen if moved else None, attempt.attempt_id),
    )
    inbox.settle(connection, attempt.attempt_id, "taken", now)
    wishes.end_those_here(connection, state.set_id, gen if moved else state.accepted_gen)
    if attempt.mode in attempts.PROPOSALS:  # what was pushed meanwhile may be newer than what its source then said
        settings = locked.installation.config.sets.get(locked.key)
        since = attempt.watermark - (settings.overlap if settings else timedelta())
        inbox.look_again(connection, state.set_id, since)


_MOVED = """
SELECT EXISTS (SELECT FROM revision WHERE set_id = %(set)s AND from_gen = %(gen)s)
    OR EXISTS (SELECT FROM revision WHERE set_id = %(set)s AND to_gen = %(gen)s)
    OR EXISTS (SELECT FROM output WHERE set_id = %(set)s AND from_gen = %(gen)s)
    OR EXISTS (SELECT FROM output WHERE set_id = %(set)s AND to_gen = %(gen)s)
"""
