"""The page that searches the current index: a look at what its analyzers make of words, and why a hit is where it is.

Belongs here: what the page asks, and its answers as values for the template. Does not belong here: the queries
(`search/queries.py`), what an answer means (`consumers/search_answers.py`): both are those of the API's search.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.consumers import search_answers
from harvester_dagster.documents.object_addresses import ROUTE
from harvester_dagster.installation import Installation
from harvester_dagster.search import index, mapping, queries
from harvester_dagster.search.connection import NoIndex, SearchError
from harvester_dagster.search.kept_client import BadQuestion, KeptClient, NothingIndexed
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.search.queries import Fields, Search
from harvester_dagster.web.page_frame import PageFrame

_HITS = 10
_VALUES = 8
"""Of a facet that are shown."""
_WORDS = 8
_LINES = 400
"""Of an explanation; a query of many words and fields has thousands."""
_OWN = ("q", "entity", "language", "filter", "page", "why")
_PARAMETERS, _PARAMETER = 60, 1_100
"""How many, and characters of one: what a link of the page repeats of its address."""
_SHOWN = 300
"""Characters of a title, a value."""
_LANGUAGE = "language"
_FACETS = (_LANGUAGE, "technical_type", "material_types", "lom_educational_levels", "copyright.keyword", "set")
"""Of these whichever the index has."""
_SOURCE = ["srn", "title", "language", "set", "previews"]
_PICTURES = ("preview_small", "preview")


class Searchable(NamedTuple):
    """What the index of an entity can be asked for, and which analyzers read a question."""

    entity: str
    fields: Fields
    analyzers: Mapping[str, Sequence[str]]


class Hit(NamedTuple):
    """One document that was found. `picture`: an address on these pages. `marked`: where the words stand, in parts of
    which those that are true are the words."""

    srn: str
    title: str
    language: str
    set: str
    score: float | None
    picture: str
    marked: list[tuple[bool, str]]
    why: str
    """The address of this page with the score explained."""


class Value(NamedTuple):
    """A value of a facet. `href` chooses it, or lets it go."""

    value: str
    documents: int
    is_chosen: bool
    href: str


class SearchPage:
    """The page of one installation. Its client is opened by the first question."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._page = installation, PageFrame(installation.config.zone, dagster).page
        self._client = KeptClient(installation.config.index)
        self._known = cache(self._known_of)
        self._names = {entity.singular: entity.name for entity in installation.catalog.entities}

    def routes(self) -> list[Route]:
        """The route, for the application."""
        return [Route("/search/", self.search)]

    def search(self, request: Request) -> Response:
        """Hits with their scores, facets, what was probably meant, and what the analyzers made of the words."""
        asked = request.query_params
        text = _plain(asked.get("q", ""))
        values: dict[str, Any] = {"q": text, "entity": asked.get("entity", "")[:100], "longest": queries.LONGEST}
        if self._installation.config.index.url == "none":
            return self._page(request, "search.html", state="none", **values)
        try:
            known = self._known(self._entity(values["entity"]))
            return self._page(request, "search.html", state="found", **values | self._found(asked, text, known))
        except NoIndex as error:
            return self._page(request, "search.html", state="none", failed=error, **values)
        except NothingIndexed as error:
            return self._page(request, "search.html", state="nothing", failed=error, **values)
        except (SearchError, BadMapping) as error:
            status = 400 if isinstance(error, BadQuestion) else 503
            return self._page(request, "search.html", status, state="failed", failed=error, **values)

    def _entity(self, singular: str) -> str:
        """The entity of that name; where there is none, the first that has an index."""
        indexed = {
            one: name for one, name in self._names.items() if self._installation.catalog.mapping(name) is not None
        }
        return indexed.get(singular, next(iter(indexed.values())))

    def _known_of(self, entity: str) -> Searchable:
        made = mapping.definition(self._installation.catalog, entity, self._installation.config)
        if made is None:
            raise NothingIndexed("there is no such index", "it has no mapping")
        properties = made.mappings.get("properties", {})
        fields = queries.fields_of(properties)
        return Searchable(entity, fields, queries.analyzers(properties, fields))

    def _found(self, asked: QueryParams, text: str, known: Searchable) -> dict[str, Any]:
        config, fields = self._installation.config, known.fields
        alias, number = index.alias(config, known.entity), _number(asked.get("page", "1"))
        filters = _filters(asked, fields)
        facets = [name for name in dict.fromkeys((*_FACETS, *filters)) if name in fields.filters]
        question = Search(text=text, filters=filters, facets=facets, begin=(number - 1) * _HITS, size=_HITS)
        with self._installation.pool.connection() as connection:
            hidden = search_answers.withheld(connection, config, known.entity)
        questions = queries.search(question, fields).without(hidden)
        questions = questions._replace(hits=questions.hits | {"_source": _SOURCE})
        with ThreadPoolExecutor(2) as beside:  # the server works on them at once
            analysed = beside.submit(self._analysed, alias, text, known)
            words = beside.submit(self._words, alias, "" if hidden else text, fields)
            answer = self._client.searched(alias, questions)
        spoken = [one["value"] for one in search_answers.facets(answer).get(_LANGUAGE, [])]
        total, why = search_answers.total(answer), _plain(asked.get("why", ""))
        with self._installation.pool.connection() as connection:
            shown = search_answers.searched(connection, config, known.entity)
        return {
            "hits": [_hit(asked, one) for one in search_answers.documents(answer)],
            "total": total,
            "facets": {name: _values(asked, name, found, filters) for name, found in _counted(answer, facets)},
            "chosen": [(name, value, _toggled(asked, name, value)) for name in filters for value in filters[name]],
            "languages": list(dict.fromkeys([*filters.get(_LANGUAGE, ()), *spoken])),
            "language": next(iter(filters.get(_LANGUAGE, ())), ""),
            "meant": _linked(asked, search_answers.meant(answer)),
            "words": [_linked(asked, f"{before}{word}") for before, word in words.result()],
            "analysed": analysed.result(),
            "why": why,
            "explained": self._explained(alias, why, queries.scored(text, fields)) if why and why not in hidden else [],
            "version": shown,
            "before": _address(asked, page=number - 1) if number > 1 else "",
            "following": _address(asked, page=number + 1) if number * _HITS < min(total, queries.DEEPEST) else "",
            "place": question.begin,
        }

    def _words(self, alias: str, text: str, fields: Fields) -> list[tuple[str, str]]:
        """Words that begin as the last one of the text, each with what stands before it."""
        prefix = text.split(" ")[-1]
        if not prefix.isalnum() or not fields.has_completion:
            return []
        found = search_answers.words(self._client.search(alias, queries.completed(prefix)), prefix)
        before = text.removesuffix(prefix)
        return [(before, word) for word in found[:_WORDS] if word.casefold() != prefix.casefold()]

    def _analysed(self, alias: str, text: str, known: Searchable) -> list[tuple[str, list[str], Sequence[str]]]:
        """By each analyzer: its name, what it makes of the text, and the fields that it serves."""
        if not text:
            return []
        return [(name, self._client.analysed(alias, name, text), of) for name, of in known.analyzers.items()]

    def _explained(self, alias: str, srn: str, query: dict[str, Any]) -> list[str]:
        try:
            found = self._client.explained(alias, srn, query)
        except NothingIndexed:
            return ["There is no such document in the index."]
        except BadQuestion as error:
            return [error.sentence]
        lines = [*_tree(found.get("explanation", {}))]
        return lines[:_LINES] + ([f"… and {len(lines) - _LINES} more lines"] if len(lines) > _LINES else [])


def _plain(text: str) -> str:
    """A question as the server takes it: printable, and not too long."""
    return "".join(one if one.isprintable() else " " for one in text)[: queries.LONGEST].strip()


def _number(text: str) -> int:
    """Of a page that there can be."""
    is_one = text.isascii() and text.isdigit() and len(text) < 6
    return max(1, min(int(text), queries.DEEPEST // _HITS)) if is_one else 1


def _filters(asked: QueryParams, fields: Fields) -> dict[str, list[str]]:
    """What was chosen, of fields that there are."""
    found: dict[str, list[str]] = {}
    for one in asked.getlist("filter")[:50]:
        name, _, value = one.partition(":")
        if name in fields.filters and value:
            found.setdefault(name, []).append(value[:1_000])
    if (language := asked.get(_LANGUAGE, "")) and _LANGUAGE in fields.filters:
        found[_LANGUAGE] = [language[:100]]
    return found


def _hit(asked: QueryParams, document: Mapping[str, Any]) -> Hit:
    srn = str(document["srn"])
    return Hit(
        srn=srn,
        title=str(document.get("title") or "")[:_SHOWN],
        language=str(document.get(_LANGUAGE) or ""),
        set=str(document.get("set") or ""),
        score=document.get("score"),
        picture=_picture(document.get("previews")),
        marked=_marked(next((one for found in document["highlight"].values() for one in found), "")),
        why=_address(asked, why=srn),
    )


def _picture(previews: Any) -> str:
    """Where these pages serve it; "" where it is served elsewhere: pictures of other sites are not shown here."""
    if isinstance(previews, Mapping):
        for size in _PICTURES:
            parts = urlsplit(str(previews.get(size) or ""))
            if ROUTE in parts.path:
                path = parts.path[parts.path.index(ROUTE) :]
                return f"{path}?{parts.query}" if parts.query else path
    return ""


def _marked(fragment: str) -> list[tuple[bool, str]]:
    """A fragment in parts, those that the server has marked and those that it has not; the tags are gone."""
    parts = re.split(r"<em>(.*?)</em>", fragment, flags=re.DOTALL)
    return [(place % 2 == 1, part) for place, part in enumerate(parts) if part]


def _counted(answer: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    found = search_answers.facets(answer)
    yield from ((name, found[name]) for name in names if found.get(name))


def _values(
    asked: QueryParams, name: str, found: Sequence[Mapping[str, Any]], filters: Mapping[str, Sequence[str]]
) -> list[Value]:
    chosen = filters.get(name, ())
    most = sorted(found, key=lambda one: str(one["value"]) not in chosen)[: _VALUES + len(chosen)]
    named = [(str(one["value"]), one["count"]) for one in most]
    return [Value(value[:_SHOWN], count, value in chosen, _toggled(asked, name, value)) for value, count in named]


def _toggled(asked: QueryParams, name: str, value: str) -> str:
    """The address of the page where a value is chosen that was not, or the other way round."""
    one = ("filter", f"{name}:{value}")
    kept = _but(asked, "page", "why")
    if name == _LANGUAGE:  # the box of the form says the same
        was = asked.get(_LANGUAGE) == value
        kept = [pair for pair in kept if pair[0] != _LANGUAGE]
        if was:
            return _as_address(
                [pair for pair in kept if pair[0] != "filter" or not pair[1].startswith(f"{_LANGUAGE}:")]
            )
    return _as_address([pair for pair in kept if pair != one] if one in kept else [*kept, one])


def _address(asked: QueryParams, **changes: Any) -> str:
    return _as_address([*_but(asked, "why", *changes), *((name, str(value)) for name, value in changes.items())])


def _as_address(pairs: Sequence[tuple[str, str]]) -> str:
    return f"/search/?{urlencode(pairs)}"


def _linked(asked: QueryParams, text: str | None) -> tuple[str, str] | None:
    """Another question, and the address of this page with it."""
    return (text, _as_address([("q", text), *_but(asked, "q", "page", "why")])) if text else None


def _but(asked: QueryParams, *names: str) -> list[tuple[str, str]]:
    """What the page has read of its address, without these parameters: a link repeats nothing else, and no more."""
    kept = [(name, value[:_PARAMETER]) for name, value in asked.multi_items() if name in _OWN and name not in names]
    return kept[:_PARAMETERS]


def _tree(explanation: Mapping[str, Any], depth: int = 0) -> Iterator[str]:
    """The explanation as text, a line each part, indented below what it is part of."""
    if explanation:
        said = " ".join(str(explanation.get("description", "")).split())
        yield f"{'  ' * min(depth, 30)}{float(explanation.get('value', 0)):.4f}  {said[:_SHOWN]}"
        for part in explanation.get("details", ()):
            yield from _tree(part, depth + 1)
