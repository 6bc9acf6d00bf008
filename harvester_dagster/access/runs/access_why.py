"""Why a document may be read by whom, and what would be if: the batch's own functions, asked one question.

Belongs here: one document with its journal, the trace of the rules, and the update that would be sent; and deciding a
whole index again under another assumption, without writing. Does not belong here: rules, pages, the command line.
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec

from harvester_dagster.access.decide import decisions
from harvester_dagster.access.decide.decider import Decider, already_told
from harvester_dagster.access.decide.decisions import StoredDecision
from harvester_dagster.access.decide.journals import Journal, by_issn, read_journal
from harvester_dagster.access.decide.rules import Case, Decision, Step, trace, without
from harvester_dagster.access.decide.solr_document import SolrDocument, from_fields
from harvester_dagster.access.runs import journal_store, run_rows
from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.runs.figures import change
from harvester_dagster.access.runs.modes import MODES
from harvester_dagster.access.solr.collection import AccessChange
from harvester_dagster.access.solr.reader import PAGES_AHEAD, walk
from harvester_dagster.failures import HarvesterError
from harvester_dagster.processes.read_ahead import Stopped, read_ahead

_SAMPLES = 20
_CLUSTER = 10


class BadJournals(HarvesterError):
    """Journals that cannot be read."""


class Why(NamedTuple):
    """Everything about one decision. `update` is what would be sent now; None: Solr says so already."""

    document: SolrDocument
    case: Case
    decision: Decision
    steps: Sequence[Step]
    update: Mapping[str, Any] | None
    stored: StoredDecision | None
    """What the last run that met it decided."""
    journals_read_at: datetime | None


def why(job: Enricher, identifier: str) -> list[Why]:
    """The documents with this Solr id, else up to ten with this cluster id, as Solr has them at this moment and
    sorted by id; none when there is no such document. Raises OutsideError."""
    found = job.solr.search("{!term f=id v=$wanted}", wanted=identifier, fl="id", rows=1) or job.solr.search(
        "{!term f=cluster_id_ss v=$wanted}", wanted=identifier, fl="id", rows=_CLUSTER
    )
    if not found:
        return []
    shelf = journal_store.load(job.pool, job.solr.name)
    decider = job.decider(shelf, threading.Event())
    latest = job.solr.latest([document.id for document in found])
    with job.pool.connection() as connection:
        stored = decisions.of_ids(connection, run_rows.endpoint_id(connection, job.solr.name), list(latest))
    return [_why(document, decider, stored.get(id_), shelf.read_at) for id_, document in sorted(latest.items())]


def _why(document: SolrDocument, decider: Decider, stored: StoredDecision | None, read_at: datetime | None) -> Why:
    decision = decider.one(document).decision
    case = decider.case(document)
    told = already_told(document, decision)
    update = None if told else AccessChange(document.id, document.version, decision.access, decision.info).fields()
    return Why(document, case, decision, trace(case, decider.rules), update, stored, read_at)


class ChangeSample(NamedTuple):
    """A document that would be decided differently; `before` and `after` say who may read it and by which rule."""

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
    samples: list[ChangeSample] = field(default_factory=list)


def what_if(
    job: Enricher,
    *,
    left_out: Collection[str] = (),
    journals: Mapping[str, Journal] | None = None,
    day: date | None = None,
    show: Callable[[WhatIf], None] | None = None,
    stop: threading.Event | None = None,
) -> WhatIf:
    """Decide every document as today and as it would be: without some rules, with other journals, on another day.

    `left_out`: names of rules. `journals`: by ISSN (`read_journals`); each replaces what its ISSN leads to. `show` is
    told after each page how far it is; with `stop` set, that is all. Nothing is written. Raises OutsideError,
    UnknownRule.
    """
    stop = stop or threading.Event()
    shelf = journal_store.load(job.pool, job.solr.name)
    present = job.decider(shelf, stop)
    year = job.this_year if day is None else lambda: day.year
    assumed = Decider(
        {**shelf.by_issn, **(journals or {})},
        year,
        without(left_out),
        present.resolver,
    )
    found = WhatIf()
    pages = walk(job.solr, MODES["full"].filters, "*", job.settings.page_size, stop)
    with suppress(Stopped), read_ahead(pages, count=PAGES_AHEAD, stop=stop) as coming:
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


def _note(found: WhatIf, document: SolrDocument, before: Decision, after: Decision) -> None:
    found.changed += 1
    found.changes[change(before.access, after)] += 1
    if len(found.samples) < _SAMPLES:
        title = document.title_ts[0] if document.title_ts else ""
        found.samples.append(ChangeSample(document.id, title, _in_words(before), _in_words(after)))


def _in_words(decision: Decision) -> str:
    return f"{', '.join(decision.access) or 'none'} by {decision.rule}"


def read_journals(content: bytes, name: str) -> dict[str, Journal]:
    """A JSON array of journals as Solr has them, by their ISSNs. Raises BadJournals, which says the `name` of what
    cannot be read."""
    try:
        raw = msgspec.json.decode(content, type=list[dict[str, Any]])
        return by_issn(read_journal(from_fields({"id": name, **fields}))[0] for fields in raw)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadJournals(f"{name}: a JSON array of journals is needed: {error}", "write it as Solr has them") from None


def as_json(found: Why) -> dict[str, Any]:
    """An explanation as plain data, for `--json` and the debug page."""
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
