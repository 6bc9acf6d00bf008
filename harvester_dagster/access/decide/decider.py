"""Deciding documents with what an installation knows: journals in memory, the year, perhaps the DOI resolver.

Belongs here: what the batch, the writers' second look, `why` and `what-if` share. Does not belong here: the rules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from harvester_dagster.access.decide import doi
from harvester_dagster.access.decide.decisions import DecidedDocument
from harvester_dagster.access.decide.journals import Journal, issns_of
from harvester_dagster.access.decide.rules import NO_RULE, RULES, Case, Decision, Rule, case_of, decide
from harvester_dagster.access.decide.solr_document import Problem, SolrDocument


class Judged(NamedTuple):
    """A document as it was read, what was decided about it, and the bad data that was met on the way."""

    document: SolrDocument
    decision: Decision
    problems: tuple[Problem, ...]

    @property
    def verdict(self) -> DecidedDocument:
        """The decision as it is stored; its ISSNs, normalized and separated by spaces, find it when a journal
        changes."""
        document = self.document
        issns = " ".join(issns_of(document)) if document.issn_ss or document.eissn_ss else ""
        return DecidedDocument(document.id, document.version, self.decision, issns.replace("\0", ""))


@dataclass(frozen=True)
class Decider:
    """What an installation decides with. One object serves all threads of a run."""

    journals: Mapping[str, Journal]
    this_year: Callable[[], int]
    """The year of the decision: a run that passes New Year's Eve decides in both."""
    rules: Sequence[Rule] = RULES
    resolver: doi.Resolver | None = None

    def page(self, documents: Sequence[SolrDocument]) -> list[Judged]:
        """Decide documents, in their order. The resolver, where there is one, is asked in one go for all that need
        it."""
        year, journals, rules = self.this_year(), self.journals, self.rules
        judged = []
        for document in documents:
            case = case_of(document, journals, year)
            judged.append(Judged(document, decide(case, rules), case.problems))
        return self._resolved(judged) if self.resolver else judged

    def one(self, document: SolrDocument) -> Judged:
        """Decide one document, in the same way as a page."""
        return self.page([document])[0]

    def case(self, document: SolrDocument) -> Case:
        """A document in the rules' words, with the resolver's answer where a decision would ask for it: for showing
        to people."""
        case = case_of(document, self.journals, self.this_year())
        if self.resolver and decide(case, self.rules).rule == NO_RULE:
            known = doi.known_until(self.resolver.look_up([document]), document.id)
            return case._replace(open_access=known.open_access)
        return case

    def _resolved(self, judged: list[Judged]) -> list[Judged]:
        """The resolver is asked only about what no other rule answered."""
        assert self.resolver is not None
        open_ = [each.document for each in judged if each.decision.rule == NO_RULE]
        known = self.resolver.look_up(open_) if open_ else {}
        return [self._with(each, known[each.document.id]) if each.document.id in known else each for each in judged]

    def _with(self, judged: Judged, known: doi.Known) -> Judged:
        case = case_of(judged.document, self.journals, self.this_year(), known.open_access)
        decision = decide(case, self.rules)
        days = [day for day in (decision.valid_until, known.until) if day is not None]
        return judged._replace(decision=decision._replace(valid_until=min(days, default=None)))


def already_told(document: SolrDocument, decision: Decision) -> bool:
    """Whether Solr already holds this decision, so that no update is sent. The order of the access values does not
    matter."""
    if document.fulltext_info_ss != (decision.info,):
        return False
    access = document.fulltext_availability_ss
    return access == decision.access or (
        len(access) == len(decision.access) and frozenset(access) == frozenset(decision.access)
    )
