"""Searching, finding and suggesting over the search index, where there is one.

Belongs here: what these paths take and give, and the limits of a question. Does not belong here: the queries
(`search/queries.py`), what is made of the server's answers (`consumers/search_answers.py`).
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from functools import cache, partial
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.consumers import search_answers
from harvester_dagster.installation import Installation
from harvester_dagster.search import index, mapping, queries
from harvester_dagster.search.connection import NoIndex, SearchError
from harvester_dagster.search.kept_client import BadQuestion, KeptClient, NothingIndexed
from harvester_dagster.search.mapping import BadMapping
from harvester_dagster.search.queries import Fields, ValueRange
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.document_routes import Asked, reads
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

_LOG = logging.getLogger(__name__)
MOST = 100
"""Documents a page: each has its full texts."""
USUAL = 10
_LARGEST = 2**31 - 1
_FARTHEST = timedelta(hours=18)
"""From UTC that the server reads."""

EntityName = Annotated[str, Path(description="What is searched, such as product", max_length=100)]
Short = Annotated[str, Field(max_length=1_200)]
Srn = Annotated[str, Field(min_length=1, max_length=500)]  # an _id has at most 512 bytes in the index


class SearchAsked(Asked):
    """Of a search."""

    q: str = Field("", max_length=queries.LONGEST, description='Words; "a phrase", -without, one|other, begin*')
    filter: list[Short] = Field([], max_length=50, description="field:value; fields are and, values of one are or")
    range: list[Short] = Field([], max_length=20, description="field:from..to, either may be empty, both included")
    facet: list[Short] = Field([], max_length=30, description="Count the values of this field, under the other filters")
    sort: str = Field("", max_length=200, description="A field, with - for the highest first; else the best come first")
    page: int = Field(1, ge=1, le=queries.DEEPEST, description="Which page")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Documents a page")


class FindAsked(Asked):
    """Of finding by ids."""

    srn: list[Srn] = Field([], max_length=MOST, description="Documents by srn, in this order")
    external_id: list[Srn] = Field([], max_length=MOST, description="Documents by the id that their source gives them")


class WordsAsked(Asked):
    """Of words that begin so."""

    prefix: str = Field("", max_length=100, description="How the word begins")


class SimilarAsked(Asked):
    """Of documents like one."""

    srn: Srn = Field(description="The document")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Documents at most")


class AuthorAsked(Asked):
    """Of documents that name a person."""

    name: str = Field(min_length=1, max_length=200, description="The person's name")
    page_size: int = Field(USUAL, ge=1, le=MOST, description="Documents at most")


class SearchRoutes:
    """The paths of one installation's search. Its client is opened by the first question."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._client = KeptClient(installation.config.index)
        self._fields = cache(self._fields_of)

    def router(self) -> APIRouter:
        """Search, find and suggestions, below the singular name of an entity."""
        router = APIRouter(responses=RESPONSES, tags=list[str | Enum](["search"]))
        add = partial(reads, router)
        add("/search/{entity}/", self._search, summary="Documents with these words, filters, and counts of values")
        add("/search/{entity}/fields/", self._known_fields, summary="Fields to filter, count and sort by")
        add("/search/{entity}/statistics/", self._statistics, summary="How many documents can be found")
        add("/find/{entity}/", self._find, summary="Documents by their ids, as the index has them")
        add("/suggestions/{entity}/", self._words, summary="Words that begin so, the shortest first")
        add("/suggestions/{entity}/similar/", self._similar, summary="Documents like one")
        add("/suggestions/{entity}/author/", self._naming, summary="Documents that name a person who is no author")
        return router

    def _search(self, request: Request, entity: EntityName, asked: Annotated[SearchAsked, Query()]) -> Response:
        """Each document is in the form that the index has, with its `score` and `highlight`. `did_you_mean`: what q
        was probably to be, or null."""
        name, fields = self._entity(entity)
        if asked.page * asked.page_size > queries.DEEPEST:
            raise ApiProblem(400, "That is too deep", f"page × page_size is at most {queries.DEEPEST}; filter instead")
        question = queries.Search(
            text=asked.q.strip(),
            filters=_filters(asked.filter, fields),
            ranges=_ranges(asked.range, fields),
            facets=[_known(field, fields.filters) for field in dict.fromkeys(asked.facet)],
            sort=asked.sort and _sort(asked.sort, fields),
            begin=(asked.page - 1) * asked.page_size,
            size=asked.page_size,
        )
        questions = queries.search(question, fields).without(self._withheld(name))
        with _answered():
            answer = self._client.searched(index.alias(self._installation.config, name), questions)
        total = search_answers.total(answer)
        beyond = min(total, queries.DEEPEST - asked.page_size + 1)
        return self._sent(
            name,
            search_answers.documents(answer),
            following=self._page(request, asked.page + 1) if asked.page * asked.page_size < beyond else None,
            total=total,
            facets=search_answers.facets(answer),
            did_you_mean=search_answers.meant(answer),
        )

    def _known_fields(self, entity: EntityName, asked: Annotated[Asked, Query()]) -> Response:
        """`filters`: for filter, facet and sort; `ranges`: for range and sort, with their types."""
        name, fields = self._entity(entity)
        return self._sent(name, [], filters=fields.filters, ranges=fields.ranges)

    def _statistics(self, entity: EntityName, asked: Annotated[Asked, Query()]) -> Response:
        """`total`: all documents of the index."""
        name, _ = self._entity(entity)
        with _answered():
            total = self._client.count(index.alias(self._installation.config, name))
        return self._sent(name, [], total=total)

    def _find(self, entity: EntityName, asked: Annotated[FindAsked, Query()]) -> Response:
        """Those that there are, in the order in which they were asked for; a source's id may be that of several."""
        name, _ = self._entity(entity)
        if bool(asked.srn) == bool(asked.external_id):
            raise ApiProblem(400, "Say srn or external_id", "each as often as needed, at most 100 times")
        if asked.srn:
            answer = self._ask(name, queries.by_srn(asked.srn))
            return self._sent(name, search_answers.in_order(search_answers.documents(answer), asked.srn))
        answer = self._ask(name, queries.by_external_id(asked.external_id, MOST))
        return self._sent(name, search_answers.documents(answer))

    def _words(self, entity: EntityName, asked: Annotated[WordsAsked, Query()]) -> Response:
        """Words of titles and full texts, without accents."""
        name, fields = self._entity(entity)
        prefix = asked.prefix.strip()
        if not prefix or not fields.has_completion or not prefix.isprintable():  # the server refuses U+001F and such
            return self._sent(name, [])
        if self._withheld(name):
            return self._sent(name, [])
        return self._sent(name, search_answers.words(self._ask(name, queries.completed(prefix)), prefix))

    def _similar(self, entity: EntityName, asked: Annotated[SimilarAsked, Query()]) -> Response:
        """By titles and descriptions; none for a document that there is not."""
        name, fields = self._entity(entity)
        if not fields.like:
            return self._sent(name, [])
        alias = index.alias(self._installation.config, name)
        answer = self._ask(name, queries.more_like(alias, asked.srn, fields, asked.page_size))
        return self._sent(name, search_answers.documents(answer))

    def _naming(self, entity: EntityName, asked: Annotated[AuthorAsked, Query()]) -> Response:
        """Perhaps it is an author of these, too."""
        name, fields = self._entity(entity)
        answer = self._ask(name, queries.naming(asked.name, fields, asked.page_size))
        return self._sent(name, search_answers.documents(answer))

    def _entity(self, singular: str) -> tuple[str, Fields]:
        """The entity of that singular name and what its index can be asked for."""
        if self._installation.config.index.url == "none":
            raise ApiProblem(404, "This installation has no search index", "lists and changes have all documents")
        entities = {entity.singular: entity.name for entity in self._installation.catalog.entities}
        with _answered():
            fields = self._fields(entities[singular]) if singular in entities else None
        if fields is None:
            raise ApiProblem(404, "There is no such index", f"nothing is searched as {singular}")
        return entities[singular], fields

    def _fields_of(self, entity: str) -> Fields | None:
        made = mapping.definition(self._installation.catalog, entity, self._installation.config)
        return queries.fields_of(made.mappings.get("properties", {})) if made else None

    def _ask(self, entity: str, body: dict[str, Any]) -> dict[str, Any]:
        body = queries.without(body, self._withheld(entity))
        with _answered():
            return self._client.search(index.alias(self._installation.config, entity), body)

    def _withheld(self, entity: str) -> set[str]:
        """What the index shows and may not, as long as it has not heard of it."""
        with self._installation.reading.connection() as connection:
            return search_answers.withheld(connection, self._installation.config, entity)

    def _page(self, request: Request, page: int) -> str:
        asked = [(name, value) for name, value in request.query_params.multi_items() if name != "page"]
        base = answers.address(request, self._installation.config.web)
        return base + urlencode([*asked, ("page", str(page))])

    def _sent(self, entity: str, results: Sequence[Any], following: str | None = None, **more: Any) -> Response:
        with self._installation.reading.connection() as connection:
            found = search_answers.searched(connection, self._installation.config, entity)
            withheld = search_answers.withheld(connection, self._installation.config, entity)
        body = {
            "results": [one for one in results if not isinstance(one, dict) or one["srn"] not in withheld],
            "next": following,
            **more,
            "version": found.version_id,
            "seq": found.seq,
            "as_of": answers.moment(found.as_of) if found.as_of else None,
        }
        return Response(msgspec.json.encode(body), media_type=answers.JSON, headers=answers.CACHING)


@contextmanager
def _answered() -> Iterator[None]:
    """What goes wrong with the search server is a problem that says whose it is."""
    try:
        yield
    except NoIndex as error:
        raise ApiProblem(404, "This installation has no search index", error.sentence) from error
    except NothingIndexed as error:
        raise ApiProblem(417, "Nothing is indexed yet", "the first release makes the index") from error
    except (SearchError, BadMapping) as error:
        _LOG.error("search: %s", error)
        if isinstance(error, BadQuestion):
            raise ApiProblem(400, "The search index does not take this question", "ask for less at once") from error
        raise ApiProblem(503, "The search index does not answer now", headers={"Retry-After": "10"}) from error


def _known(field: str, fields: Sequence[str]) -> str:
    if field not in fields:
        raise ApiProblem(400, "There is no such field", f"{field[:100]}; there are: {', '.join(fields)}")
    return field


def _sort(sort: str, fields: Fields) -> str:
    _known(sort.removeprefix("-"), [*fields.filters, *fields.ranges])
    return sort


def _filters(asked: Sequence[str], fields: Fields) -> dict[str, list[str]]:
    chosen: dict[str, list[str]] = {}
    for one in asked:
        name, _, value = one.partition(":")
        chosen.setdefault(_known(name, fields.filters), []).append(value)
    return chosen


def _ranges(asked: Sequence[str], fields: Fields) -> dict[str, ValueRange]:
    chosen = {}
    for one in asked:
        name, _, bounds = one.partition(":")
        kind = fields.ranges[_known(name, list(fields.ranges))]
        low, dots, high = bounds.partition("..")
        if not dots:
            raise ApiProblem(400, "A range is field:from..to", "either end may be empty")
        chosen[name] = ValueRange(_bound(low, kind), _bound(high, kind))
    return chosen


def _bound(text: str, kind: str) -> str | None:
    """An end of a range as the server reads it: a day, a moment, or a number."""
    if not text:
        return None
    try:
        if kind != "date":
            number = float(text)
            if not math.isfinite(number):
                raise ValueError("no number")
            return str(max(-_LARGEST, min(_LARGEST, number)))
        if "T" not in text:
            return date.fromisoformat(text).isoformat()
        return _moment(datetime.fromisoformat(text.replace(" ", "+"))).isoformat()
    except (ValueError, OverflowError):
        expected = "a day as 2026-03-01 or a moment as 2026-03-01T02:00:00Z" if kind == "date" else "a number"
        raise ApiProblem(400, "A range cannot be read", f"{text[:50]} is not {expected}") from None


def _moment(at: datetime) -> datetime:
    """In UTC, where it says how far it is from there. Raises ValueError, OverflowError for what is nowhere on earth."""
    offset = at.utcoffset()
    if offset is None:
        return at
    if abs(offset) > _FARTHEST:
        raise ValueError("no time zone is so far from UTC")
    return at.astimezone(UTC)
