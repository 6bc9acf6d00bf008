"""What is asked of an index, as bodies for OpenSearch: pure functions of a question and of the fields that there are.

Questions, weights and limits are those of a search portal's client. Fields come from the index's own mapping, so that
what a further entity or task publishes, or a plug-in maps, is searched and filtered without a line here. Belongs here:
these bodies, and what a text may cost. Does not belong here: sending them (`kept_client.py`), HTTP.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Body = dict[str, Any]

DEEPEST = 10_000
"""Hits that can be paged through: the server's own limit of from + size."""
LONGEST = 500
"""Characters of a text: beyond it nobody searches, and parentheses nest deeper than the server's stack."""
FACET_VALUES = 2_000
_CLAUSES = 900
"""Words × fields. The server refuses 1,024 clauses of one query, and some of ours are beside the words."""
_SYNTAX = "AND|NOT|OR|PHRASE|PREFIX|PRECEDENCE|WHITESPACE|SLOP"
"""Of the simple query string; without ~ for similar words, of which each becomes 50 clauses a field."""
_NOT_SEARCHED = ("suggest_phrase", "copyright", "title", "subtitle", "description", "parties")
"""Texts that serve for something else, and those that `texts` has by their language."""
_WEIGHTS = {"titles": 5, "subtitles": 5, "contents": 3, "descriptions": 3, "transcriptions": 1, "keywords": 4}
_OTHERWISE = 2
_WORDS_AS_THEY_ARE = {"publisher_year": 3}
"""Keywords in which words are searched, too."""
_FOLDED = ".folded"
_IN_ORDER: Body = {"srn": {"order": "asc", "unmapped_type": "keyword"}}
"""So that pages of equal scores neither repeat nor lose one."""
_RANGES = ("date", "integer", "long", "float", "double", "short", "half_float", "unsigned_long")


class Fields(NamedTuple):
    """What an index can be asked for. `searched`: text fields with their weights, as `name^5`; `filters`: keywords;
    `ranges`: dates and numbers, with their types; `like`: what tells whether two documents are similar."""

    searched: tuple[str, ...]
    filters: tuple[str, ...]
    ranges: Mapping[str, str]
    like: tuple[str, ...]
    highlighted: tuple[str, ...]
    has_phrases: bool
    has_completion: bool
    has_dates: bool


class ValueRange(NamedTuple):
    """From and to, both included; None: open."""

    gte: str | None
    lte: str | None


@dataclass(frozen=True)
class Search:
    """A search. `filters`: several fields are "and", several values of one "or". `sort`: a field, with - for the
    highest first; "" for the best first."""

    text: str = ""
    filters: Mapping[str, Sequence[str]] = field(default_factory=dict)
    ranges: Mapping[str, ValueRange] = field(default_factory=dict)
    facets: Sequence[str] = ()
    sort: str = ""
    begin: int = 0
    size: int = 10


def fields_of(properties: Mapping[str, Any]) -> Fields:
    """What an index with this mapping (`properties`) can be asked for."""
    types = dict(_leaves(properties))
    texts = [name for name, kind in types.items() if kind == "text" and name.split(".")[0] not in _NOT_SEARCHED]
    bodies = [name for name in texts if name.startswith("texts.") and name.endswith(".text")]
    as_they_are = [f"{name}^{weight}" for name, weight in _WORDS_AS_THEY_ARE.items() if types.get(name) == "keyword"]
    return Fields(
        searched=(*(f"{name}^{_weight(name)}" for name in texts), *as_they_are),
        filters=tuple(name for name, kind in types.items() if kind == "keyword"),
        ranges={name: kind for name, kind in types.items() if kind in _RANGES},
        like=tuple(name for name in bodies if name.split(".")[2] in ("titles", "descriptions")),
        highlighted=tuple(name for name in bodies if name.split(".")[2] in ("contents", "descriptions")),
        has_phrases=types.get("suggest_phrase") == "text",
        has_completion=types.get("suggest_completion") == "completion",
        has_dates=types.get("published_at") == "date",
    )


def analyzers(properties: Mapping[str, Any], fields: Fields) -> dict[str, list[str]]:
    """What reads the words of a question, by the name of the analyzer: the fields that it serves."""
    searched = {name.rpartition("^")[0] for name in fields.searched}
    found: dict[str, list[str]] = {}
    for name, given in _described(properties):
        if name in searched and given["type"] == "text":
            analyzer = given.get("search_analyzer") or given.get("analyzer") or "standard"
            found.setdefault(analyzer, []).append(name)
    return found


def _described(properties: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Fields and sub-fields with what the mapping says of each, nested ones left out."""
    for name, given in properties.items():
        if "type" in given:
            yield f"{above}{name}", given
        if given.get("type") != "nested":
            yield from _described(given.get("properties", {}), f"{above}{name}.")
        yield from _described(given.get("fields", {}), f"{above}{name}.")


def _leaves(properties: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Fields and sub-fields that can be asked for, with their types."""
    for name, given in properties.items():
        if given.get("index", True) and given.get("type", "object") not in ("object", "nested"):
            yield f"{above}{name}", given["type"]
        if given.get("type") != "nested":
            yield from _leaves(given.get("properties", {}), f"{above}{name}.")
        yield from _leaves(given.get("fields", {}), f"{above}{name}.")


def _weight(name: str) -> int:
    if name.startswith("texts.") and name.endswith(".analyzed"):
        return 1  # the very word counts more than its stem
    return next((_WEIGHTS[part] for part in name.split(".") if part in _WEIGHTS), _OTHERWISE)


class Questions(NamedTuple):
    """A search as two bodies that the server works on at once: the best hits, which it finds without looking at all;
    and all that is found, counted without a score."""

    hits: Body
    counts: Body

    def without(self, srns: Collection[str]) -> "Questions":
        """The same, but for these documents."""
        return Questions(without(self.hits, srns), without(self.counts, srns))


def search(asked: Search, fields: Fields) -> Questions:
    """Words, filters, facets each under the other filters, marked words, and what may have been meant."""
    chosen: dict[str, Body] = {
        **{name: {"terms": {name: list(values)}} for name, values in asked.filters.items()},
        **{name: {"range": {name: bounds._asdict()}} for name, bounds in asked.ranges.items()},
    }
    hits: Body = {
        "from": asked.begin,
        "size": asked.size,
        "track_total_hits": False,
        "query": scored(asked.text, fields, list(chosen.values())),
        "highlight": {
            "number_of_fragments": 1,
            "fragment_size": 120,
            "max_analyzer_offset": 100_000,
            "fields": {name: {} for name in fields.highlighted},
        },
        "sort": ["_score", _IN_ORDER],
    }
    if asked.text and fields.has_phrases:
        hits["suggest"] = {"meant": _phrase(asked.text)}
    if asked.sort:
        order = "desc" if asked.sort.startswith("-") else "asc"
        hits["sort"] = [{asked.sort.removeprefix("-"): {"order": order}}, *hits["sort"]]
    counts = {
        "size": 0,
        "track_total_hits": True,
        "query": {"bool": {"filter": [_words(asked.text, fields)]}},
        "post_filter": {"bool": {"filter": list(chosen.values())}},
        "aggs": {name: _facet(name, chosen) for name in asked.facets},
    }
    return Questions(hits, counts)


def scored(text: str, fields: Fields, chosen: Sequence[Body] = ()) -> Body:
    """What finds documents with these words among those that are chosen, and says how good each is; what is new is
    better."""
    near = {"distance_feature": {"field": "published_at", "origin": "now/d", "pivot": "90d", "boost": 2}}
    # From the day on, not the moment: scores stay the same while somebody turns pages.
    should = [near] if fields.has_dates else []
    return {"bool": {"must": [_words(text, fields)], "should": should, "filter": list(chosen)}}


def _words(text: str, fields: Fields) -> Body:
    if not text:
        return {"match_all": {}}
    return {
        "simple_query_string": {
            "query": text,
            "fields": affordable(text, fields),
            "default_operator": "and",
            "flags": _SYNTAX,
            "lenient": True,
        }
    }


def affordable(text: str, fields: Fields, without: str = "") -> list[str]:
    """The fields that a text is searched in: all for a few words; for a long one those without accents, and of these
    as many as the server takes, the weightiest first. `without`: not in fields that begin so."""
    searched = [name for name in fields.searched if not (without and name.startswith(without))]
    most = _CLAUSES // (_words_in(text) or 1)
    if len(searched) <= most:
        return searched
    folded = [name for name in searched if f"{_FOLDED}^" in name] or searched
    return sorted(folded, key=lambda name: -int(name.rpartition("^")[2]))[: max(most, 1)]


def _words_in(text: str) -> int:
    """At most how many words an analyzer makes of a text: what is no letter or digit parts them, and Chinese, Japanese
    and the like are words each."""
    return sum(
        1
        for before, at in zip(f" {text}", text, strict=False)
        if ord(at) > 0x2E00 or (at.isalnum() and not before.isalnum())
    )


def _facet(name: str, chosen: Mapping[str, Body]) -> Body:
    others = [one for other, one in chosen.items() if other != name]
    return {
        "filter": {"bool": {"filter": others}},
        "aggs": {"values": {"terms": {"field": name, "size": FACET_VALUES}}},
    }


def _phrase(text: str) -> Body:
    generator = {"field": "suggest_phrase", "suggest_mode": "always"}
    phrase = {"field": "suggest_phrase", "size": 1, "gram_size": 3, "direct_generator": [generator]}
    return {"text": text, "phrase": phrase}


def by_srn(srns: Sequence[str]) -> Body:
    """Documents by their srns."""
    return {"size": len(srns), "query": {"terms": {"_id": list(srns)}}}


def by_external_id(ids: Sequence[str], size: int) -> Body:
    """Documents by the ids that their sources give them, in whichever sets."""
    return {"size": size, "query": {"terms": {"external_id": list(ids)}}, "sort": [_IN_ORDER]}


def without(body: Body, srns: Collection[str]) -> Body:
    """The same question, but for these documents, counts and facets too; words that begin so cannot be told apart."""
    if not srns or "query" not in body:
        return body
    not_these = {"ids": {"values": sorted(srns)}}
    return {**body, "query": {"bool": {"must": [body["query"]], "must_not": [not_these]}}}


def completed(prefix: str) -> Body:
    """Words that begin so."""
    completion = {"field": "suggest_completion", "size": 100}
    return {
        "size": 0,
        "_source": ["suggest_completion"],
        "suggest": {"words": {"prefix": prefix, "completion": completion}},
    }


def more_like(index: str, srn: str, fields: Fields, size: int) -> Body:
    """Documents whose titles and descriptions are like one's."""
    like = {"fields": list(fields.like), "like": [{"_index": index, "_id": srn}]}
    return {"size": size, "query": {"more_like_this": {**like, "min_term_freq": 1, "max_query_terms": 12}}}


def naming(author: str, fields: Fields, size: int) -> Body:
    """Documents that name a person who is none of their authors."""
    named = {"multi_match": {"query": author, "fields": affordable(author, fields, "authors."), "lenient": True}}
    written = {"match": {"authors.name.keyword": author}}
    return {"size": size, "query": {"bool": {"must": [named], "must_not": [written]}}}
