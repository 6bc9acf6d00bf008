"""Cursors: where a page begins, as a text that only this installation can have made.

Belongs here: signing, and the key. Does not belong here: what a cursor says (each walk has its own words).
"""

from typing import Any

from itsdangerous import BadSignature, URLSafeSerializer

from harvester_dagster.config import Web
from harvester_dagster.store.kept_keys import kept_key
from harvester_dagster.web.api.problem_details import ApiProblem

LONGEST = 4_000
"""Characters of a cursor: an external id has at most 1,000 bytes."""


class Cursors:
    """Signs and reads cursors. `kind` tells those of one walk from those of another."""

    def __init__(self, key: str) -> None:
        self._key = key

    def made(self, kind: str, said: list[Any]) -> str:
        """The text of a cursor."""
        return self._serializer(kind).dumps(said)

    def read(self, kind: str, text: str) -> list[Any]:
        """What a cursor says. Raises ApiProblem for one that was not made here for this walk."""
        try:
            if len(text) > LONGEST:
                raise BadSignature("too long")
            said: list[Any] = self._serializer(kind).loads(text)
        except (BadSignature, ValueError):
            raise ApiProblem(
                400, "This is no cursor of this list", "follow `next` as it is given, or begin without cursor"
            ) from None
        return said

    def _serializer(self, kind: str) -> URLSafeSerializer:
        return URLSafeSerializer(self._key, salt=f"cursor of {kind}")


def key_of(web: Web) -> str:
    """The key of this installation."""
    return kept_key("cursors", web.secret_env)
