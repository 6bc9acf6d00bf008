"""Vocabularies: trees with Dutch and English names, and values by how they begin.

Belongs here: what these paths take and give. Does not belong here: counts and trees
(`consumers/vocabulary_counts.py`).
"""

from enum import Enum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.consumers import snapshots, vocabulary_counts
from harvester_dagster.consumers.snapshots import Snapshot
from harvester_dagster.installation import Installation
from harvester_dagster.vocabularies.trees import Vocabularies
from harvester_dagster.web.api import answers
from harvester_dagster.web.api.document_routes import MOST, USUAL, Asked, reads
from harvester_dagster.web.api.problem_details import RESPONSES, ApiProblem

FieldName = Annotated[str, Path(description="The name of a vocabulary, such as disciplines", max_length=200)]
Prefix = Annotated[str, Path(description="How the value or one of its names begins", max_length=1_000)]


class TreeAsked(Asked):
    """Of the trees."""

    field: str | None = Field(None, max_length=200, description="Only of this vocabulary, such as disciplines")


class ValuesAsked(Asked):
    """Of the values of one field."""

    page_size: int = Field(USUAL, ge=1, le=MOST, description="Values at most; a longer prefix has fewer")


class VocabularyRoutes:
    """The paths of one installation's vocabularies. The last state that was asked for is kept."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._kept: tuple[Any, Vocabularies] | None = None

    def router(self) -> APIRouter:
        """Trees and values."""
        tags = list[str | Enum](["vocabularies"])
        router = APIRouter(prefix="/metadata", responses=RESPONSES, tags=tags)
        reads(router, "/tree/", self._trees, summary="Vocabularies as trees, with counts")
        reads(
            router,
            "/field-values/{field}/{prefix:path}",
            self._values,
            summary="Values of a vocabulary that begin so, the most frequent ones first",
        )
        return router

    def _trees(self, request: Request, asked: Annotated[TreeAsked, Query()]) -> Response:
        """`count`: in how many products of the current version the value occurs."""
        found, tag, known = self._now(request)
        if known is None:
            return answers.not_modified(tag)
        fields = known.fields if asked.field is None else (_checked(known, asked.field),)
        trees = [vocabulary_counts.tree(known, field).encode() for field in fields]
        return answers.sent(answers.envelope(trees, None, found), tag)

    def _values(
        self, request: Request, field: FieldName, prefix: Prefix, asked: Annotated[ValuesAsked, Query()]
    ) -> Response:
        """The value itself, or its Dutch or English name, begins so, in whatever case."""
        found, tag, known = self._now(request)
        if known is None:
            return answers.not_modified(tag)
        values = vocabulary_counts.beginning_with(
            known, _checked(known, field), prefix.removesuffix("/"), asked.page_size
        )
        results = [msgspec.json.encode(one) for one in values]
        return answers.sent(answers.envelope(results, None, found), tag)

    def _now(self, request: Request) -> tuple[Snapshot, str, Vocabularies | None]:
        """What is shown, the ETag of an answer, and the vocabularies; None: who asks has that answer."""
        with self._installation.pool.connection() as connection:
            found = snapshots.now(connection)
            state = (found.seq, *vocabulary_counts.state(connection, self._installation))
            tag = answers.tag_of(state, str(request.url))
            if answers.is_known(request, tag):
                return found, tag, None
            kept = self._kept
            if kept is not None and kept[0] == state:
                return found, tag, kept[1]
            counts = vocabulary_counts.counts_of(connection, self._installation, found)
        known = vocabulary_counts.with_counts(self._installation, counts)
        self._kept = state, known
        return found, tag, known


def _checked(known: Vocabularies, field: str) -> str:
    if field not in known.fields:
        raise ApiProblem(404, "There is no such vocabulary", f"there are: {', '.join(known.fields)}")
    return field
