"""Why a document may be read by whom, and what would be if: the batch's own functions, asked one question.

Belongs here: one document with its journal, the trace of the rules, and the update that would be sent; and deciding a
whole index again under another assumption, without writing. Does not belong here: rules, pages, the command line.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from harvester_dagster.access import decisions, journal_store, runs
from harvester_dagster.access.deciding import Decider, already_told
from harvester_dagster.access.decisions import Stored
from harvester_dagster.access.documents import Document, from_fields
from harvester_dagster.access.enricher import Enricher
from harvester_dagster.access.figures import change
from harvester_dagster.access.journals import Journal, by_issn, read_journal
from harvester_dagster.access.modes import MODES
from harvester_dagster.access.reader import ahead, walk
from harvester_dagster.access.rules import Case, Decision, Step, trace, without
from harvester_dagster.access.solr import Change

_SAMPLES = 20
_CLUSTER = 10


class Why(NamedTuple):
    """Everything about one decision. `update` is what would be sent now; None: Solr says so already."""

    document: Document
    case: Case
    decision: Decision
    steps: Sequence[Step]
    update: Mapping[str, Any] | None
    stored: Stored | None
    """What the last run that met it decided."""
    journals_read_at: datetime | None


def why(job: Enricher, identifier: str) -> list[Why]:
    """The documents with this Solr id, else with this cluster id, as they are this moment."""
    found = job.solr.search("{!term f=id v=$wanted}", wanted=identifier, fl="id", rows=1) or job.solr.search(
        "{!term f=cluster_id_ss v=$wanted}", wanted=identifier, fl="id", rows=_CLUSTER
    )
    if not found:
        return []
    shelf = journal_store.load(job.pool, job.solr.name)
    decider = job.decider(shelf, threading.Event())
    latest = job.solr.latest([document.id for document in found])
    with job.pool.connection() as connection:
        stored = decisions.of_ids(connection, runs.endpoint_id(connection, job.solr.name), list(latest))
    return [_why(document, decider, stored.get(id_), shelf.read_at) for id_, document in sorted(latest.items())]


def _why(document: Document, decider: Decider, stored: Stored | None, read_at: datetime | None) -> Why:
    decision = decider.one(document).decision
    case = decider.case(document)
    told = already_told(document, decision)
    update = None if told else Change(document.id, document.version, decision.access, decision.info).fields()
    return Why(document, case, decision, trace(case, decider.rules), update, stored, read_at)


class Sample(NamedTuple):
    id: str
    title: str
    before: str
    after: str


@dataclass
class WhatIf:
    """How an assumption would change the decisions of an index."""

    documents: int = 0
    total: int = 0
    changed: int = 0
    changes: Counter[str] = field(default_factory=Counter)
    """From what to what."""
    samples: list[Sample] = field(default_factory=list)


def what_if(
    job: Enricher,
    *,
    left_out: Collection[str] = (),
    journals: Path | None = None,
    day: date | None = None,
    show: Callable[[WhatIf], None] | None = None,
) -> WhatIf:
    """Decide every document as today and as it would be: without some rules, with other journals, on another day.

    `journals`: a JSON file with journals as Solr has them; each replaces what its ISSNs lead to.
    Raises ValueError for an unknown rule or an unreadable file.
    """
    stop = threading.Event()
    shelf = journal_store.load(job.pool, job.solr.name)
    present = job.decider(shelf, stop)
    year = job.this_year if day is None else lambda: day.year
    assumed = Decider(
        shelf.by_issn if journals is None else {**shelf.by_issn, **_journals_of(journals)},
        year,
        without(left_out),
        present.resolver,
    )
    found = WhatIf()
    pages = walk(job.solr, MODES["full"].filters, "*", job.settings.page_size, stop)
    with ahead(pages, stop) as coming:
        for page, _cursor in coming:
            found.total = page.total
            now, then = present.page(page.documents), assumed.page(page.documents)
            for one, other in zip(now, then, strict=True):
                if (one.decision.access, one.decision.info) != (other.decision.access, other.decision.info):
                    _note(found, one.document, one.decision, other.decision)
            found.documents += len(page.documents)
            if show:
                show(found)
    return found


def _note(found: WhatIf, document: Document, before: Decision, after: Decision) -> None:
    found.changed += 1
    found.changes[change(before.access, after)] += 1
    if len(found.samples) < _SAMPLES:
        title = document.title_ts[0] if document.title_ts else ""
        found.samples.append(Sample(document.id, title, _in_words(before), _in_words(after)))


def _in_words(decision: Decision) -> str:
    return f"{', '.join(decision.access) or 'none'} by {decision.rule}"


def _journals_of(path: Path) -> dict[str, Journal]:
    try:
        raw = msgspec.json.decode(path.read_bytes(), type=list[dict[str, Any]])
        return by_issn(read_journal(from_fields({"id": path.name, **fields}))[0] for fields in raw)
    except (OSError, msgspec.DecodeError) as error:
        raise ValueError(f"{path}: a JSON array of journals is needed: {error}") from None


def as_json(found: Why) -> dict[str, Any]:
    """For `--json` and the debug page."""
    case, decision = found.case, found.decision
    plain: dict[str, Any] = msgspec.to_builtins(
        {
            "document": found.document,
            "journal": case.journal,
            "decision": decision._asdict(),
            "trace": [
                {"rule": step.rule.name, "when": step.rule.when, "outcome": step.outcome, "saw": dict(step.saw)}
                for step in found.steps
            ],
            "problems": [problem._asdict() for problem in case.problems],
            "update": found.update,
            "stored": found.stored._asdict() if found.stored else None,
            "journals_read_at": found.journals_read_at,
        }
    )
    return plain
