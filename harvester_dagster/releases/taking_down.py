"""Taking a document down, and back: one transaction after which nobody is shown it, then the index at once.

Killed before that transaction nothing was begun; killed after it the rest is done by whoever asks again, or by
`takedown_rounds.py`. Belongs here: the order of these steps. Does not belong here: the rows
(`publication/takedowns.py`), outputs (`sets/withheld.py`), the index (`search/overlay.py`), what is kept of it
(`purging.py`), how people are told (`alerts.py`).
"""

from contextlib import suppress
from typing import Any, NamedTuple

from psycopg import Connection, OperationalError
from psycopg_pool import PoolTimeout

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, log, takedowns, wishes
from harvester_dagster.publication.takedowns import NotTakenDown, Purge
from harvester_dagster.releases import alerts, purging, value_counts
from harvester_dagster.search import aliases, build, index, overlay
from harvester_dagster.search.connection import NoIndex, SearchError, connected
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.sets import withheld
from harvester_dagster.store import locks
from harvester_dagster.store.locks import Busy, Lock

INDEX_PATIENCE = 15.0
"""Seconds for which others may work on the indices; then it is deleted where consumers search, beside them."""


class Named(NamedTuple):
    """The record that is meant: its own document."""

    doc_id: int
    set_id: int
    srn: str


class TakenDown(NamedTuple):
    """What a takedown, or its undoing, came to. `documents`: of how many something was shown, or is again; `behind`:
    why the index still shows it, or does not yet; `seq`: of the publication log, None where nothing was to be told;
    `left`: why its purge is not finished, "" where it is or none was asked for."""

    srn: str
    documents: int
    seq: int | None
    purge: Purge
    behind: str
    left: str = ""


def take_down(
    installation: Installation,
    named: Named,
    reason: str,
    *,
    purge: bool = False,
    confirmed: bool = False,
    patience: float = INDEX_PATIENCE,
) -> TakenDown:
    """Show nobody a record and what it owns, in whatever version, whatever its source sends. Asked again, it finishes
    what was begun. `purge`: what is kept of it is to be removed, too (`purging.py` does). The index comes before all
    that may take long: what is kept, and who is told. Raises NotTakenDown."""
    reason = takedowns.checked_reason(reason)
    mark = takedowns.mark_of(installation.config.store, named.srn) if purge else None
    with (
        audit.trying(installation.pool, takedowns.ACT, named.srn, installation.clock),
        installation.pool.connection() as connection,
    ):
        _begin(connection, named)
        now = installation.clock()
        before = takedowns.find(connection, named.doc_id)
        is_act = before is None or (purge and before.purge != "asked")
        if is_act:
            takedowns.check_number(connection, [named.srn], now, confirmed=confirmed)
        wishes.forget(connection, named.doc_id)
        takedowns.put(connection, named.doc_id, named.set_id, reason, now, mark)
        family = withheld.family(connection, named.doc_id)
        value_counts.turn(connection, installation.catalog, family, -1)
        turned = withheld.withhold(connection, named.set_id, family)
        seq = log.write_documents(connection, named.set_id, turned, now)
        found = takedowns.find(connection, named.doc_id)
        assert found is not None
        if is_act:
            audit.write(connection, takedowns.ACT, named.srn, now, tell=True, reason=reason, purge=found.purge, seq=seq)
    behind = reach_index(installation, patience)
    if behind and not aliases.may_show_taken_down(installation):
        behind = ""
    left = purging.purge(installation, found) if found.purge == "asked" else ""
    _tell(installation)
    with installation.pool.connection() as connection:
        found = takedowns.find(connection, named.doc_id) or found
    return TakenDown(named.srn, len(turned), seq, found.purge, behind, left)


def undo(installation: Installation, named: Named) -> TakenDown:
    """Show a record and what it owns again, as its source has it. What was purged is asked for anew, by whoever asks
    next (`asking_anew.py`). Raises NotTakenDown."""
    with (
        audit.trying(installation.pool, takedowns.UNDO, named.srn, installation.clock),
        installation.pool.connection() as connection,
    ):
        _begin(connection, named)
        before = takedowns.find(connection, named.doc_id)
        if before is None:
            raise NotTakenDown(f"{named.srn} is not taken down", "`harvester takedown` without SRN lists what is")
        if before.purge == "asked":
            raise NotTakenDown(f"the purge of {named.srn} is under way", "ask for it again to finish it, then undo it")
        takedowns.lift(connection, named.doc_id)
        family = withheld.family(connection, named.doc_id)
        turned = withheld.give_back(connection, named.set_id, family)
        value_counts.turn(connection, installation.catalog, family, 1)
        now = installation.clock()
        if before.purge == "done":
            wishes.wish(connection, named.doc_id, now)
        seq = log.write_documents(connection, named.set_id, turned, now)
        audit.write(connection, takedowns.UNDO, named.srn, now, tell=True, purge=before.purge, seq=seq)
    behind = reach_index(installation)
    _tell(installation)
    return TakenDown(named.srn, len(turned), seq, before.purge, behind)


def _begin(connection: Connection[Any], named: Named) -> None:
    """Alone with the publication log, and with the set: a verdict comes before all of this, or after it."""
    locks.take_until_end(connection, Lock.PROMOTION)
    connection.execute("SELECT FROM harvest_set WHERE set_id = %s FOR UPDATE", (named.set_id,))
    row = connection.execute(
        "SELECT s.key || ':' || o.external_id FROM document d JOIN document o ON o.doc_id = d.owner_id "
        "JOIN harvest_set s ON s.set_id = o.set_id WHERE d.doc_id = %s",
        (named.doc_id,),
    ).fetchone()
    if row is not None:
        raise NotTakenDown(f"{named.srn} is part of another document", f"take that down: {row[0]}")


def _tell(installation: Installation) -> None:
    """At once, whoever is told; nobody listening is no error, and is tried again."""
    with suppress(OperationalError, PoolTimeout):
        alerts.tell_acts(installation)


def reach_index(installation: Installation, patience: float = INDEX_PATIENCE) -> str:
    """Have the index obey now. Why it does not yet, or ""; then it is tried again (`takedown_rounds.py`)."""
    try:
        with build.working(installation, patience=patience) as work:
            return aliases.move_at(work)
    except NoIndex:
        return ""
    except Busy:
        return _beside(installation)
    except (SearchError, BadMapping) as error:
        return str(error)


def _beside(installation: Installation) -> str:
    """While others make an index, which they bring up themselves: what must go, goes where consumers search."""
    try:
        with connected(installation.config.index) as client:
            for entity in installation.catalog.entities:
                names = index.targets(client, installation.config, entity.name)
                overlay.take_out(client, installation.pool, names, alone=False)
    except (SearchError, NoIndex) as error:
        return str(error)
    return ""
