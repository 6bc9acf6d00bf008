"""One Solr collection: what it is asked, and what its answers mean.

Belongs here: the requests and their errors, which are those of `failures.py`, raised with Solr's own message.
Small questions and the commit go through pysolr. Pages and updates do not: pysolr decodes pages with the standard
library (75,000 documents/s against 480,000 by a typed decoder), and hands back an update's answer as unread text.
Does not belong here: retries (the reader's and the writers' business), rules.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlencode

import msgspec
import requests

from harvester_dagster.access.decide.solr_document import (
    ACCESS_FIELD,
    FIELDS,
    INFO_FIELD,
    SolrDocument,
    SolrPage,
    Undecodable,
    from_fields,
    page,
)
from harvester_dagster.config import Metastore, secret
from harvester_dagster.failures import OutsideError, PermanentError, TransientError
from harvester_dagster.outside.http import MIB, Answer, Outside, retry_after_seconds

BIB = "superformat_s:bib"
PATIENCE = 120.0
"""Seconds for which a Solr that does not answer, or is overloaded, is asked again: a restart takes less."""
_MAX_ANSWER = 512 * MIB
_TRANSIENT = frozenset({408, 425, 429, 502, 503, 504})
_ANY_STATUS = range(400, 600)
_NEEDED = (ACCESS_FIELD, INFO_FIELD, "superformat_s")
_FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
_JSON = {"Content-Type": "application/json"}

Parameters = Mapping[str, str | int | Sequence[str]]


class AccessChange(NamedTuple):
    """One atomic update: sent with the version that was decided on, so that a newer document is left alone."""

    id: str
    version: int
    access: tuple[str, ...]
    info: str

    def fields(self) -> dict[str, Any]:
        """What Solr is sent. Version 1 means "must exist": a deleted document is not brought back as a stub."""
        return {
            "id": self.id,
            "_version_": self.version or 1,
            ACCESS_FIELD: {"set": self.access},
            INFO_FIELD: {"set": self.info},
        }


class Moved(msgspec.Struct, gc=False):
    """A document's id and version, without the rest: what a search for moved documents asks for."""

    id: str
    version: int = msgspec.field(name="_version_")


class _MovedResponse(msgspec.Struct):
    docs: list[Moved]


class _MovedAnswer(msgspec.Struct):
    response: _MovedResponse
    nextCursorMark: str


class _Updated(msgspec.Struct):
    adds: tuple[str | int, ...] = ()


_updated = msgspec.json.Decoder(_Updated)
_moved = msgspec.json.Decoder(_MovedAnswer)
_encode = msgspec.json.Encoder().encode


class Solr:
    """One collection of an endpoint. One object serves all threads; `outside` keeps the connections.

    `timeout`: seconds for one question; `patience`: those for which it is asked again.
    """

    def __init__(
        self, name: str, settings: Metastore, outside: Outside, *, timeout: float = 60, patience: float = PATIENCE
    ) -> None:
        self.name, self.patience = name, patience
        self.root, self.collection = settings.url.rstrip("/"), settings.collection
        self.alias = ""
        self.url = f"{self.root}/{self.collection}"
        self._outside = outside
        self._timeout = timeout
        self._headers = _authorization(settings)
        self.fields = (*FIELDS, "doi_ss") if settings.doi_resolver_url else FIELDS

    def use(self, collection: str) -> None:
        """Ask the collection that the configured name is an alias of; nothing changes when it is the name itself."""
        if collection != self.collection:
            self.alias, self.collection = self.alias or self.collection, collection
            self.url = f"{self.root}/{collection}"

    def check(self) -> None:
        """Ask one question that shows whether this is the collection that the enricher expects. Raises OutsideError;
        a PermanentError with code "schema" names the field that the collection lacks."""
        asked = {"fl": ",".join(_NEEDED), "includeDynamic": "true", "showDefaults": "true"}
        answer = self.told(f"{self.url}/schema/fields?{urlencode(asked)}")
        found = {field["name"]: field for field in answer.get("fields", ())}
        for name in _NEEDED:
            if name not in found or not found[name].get("stored", True):
                raise PermanentError(
                    "schema", f"{self.url}: the schema has no stored field {name}; add it, then run again"
                )

    def told(self, url: str) -> dict[str, Any]:
        """What a handler answers to a GET. Raises OutsideError."""
        return _json(url, self.call("GET", url, None, {}, self._timeout).body)

    def select(self, filters: Sequence[str], cursor: str, rows: int) -> SolrPage:
        """One page of the cursor's walk over `id desc`: at most `rows` documents that pass the filter queries. The
        walk begins at the cursor "*". Raises OutsideError."""
        asked: Parameters = {
            "q": "*:*",
            "fq": filters,
            "fl": ",".join(self.fields),
            "sort": "id desc",
            "rows": rows,
            "cursorMark": cursor,
        }
        return self._page(self._ask("select", asked))

    def by_id(self, ids: Sequence[str]) -> list[SolrDocument]:
        """Those of the documents that the enricher decides, as the searcher shows them: without uncommitted updates.
        Raises OutsideError."""
        if not ids:
            return []
        wanted = {"q": "*:*", "fq": [BIB, '{!terms f=id separator="\x1f" v=$wanted}'], "wanted": "\x1f".join(ids)}
        return self._page(
            self._ask("select", {**wanted, "fl": ",".join(self.fields), "rows": len(ids), "sort": "id desc"})
        ).documents

    def latest(self, ids: Sequence[str]) -> dict[str, SolrDocument]:
        """The documents as they are at this moment, uncommitted updates included, by id. A missing one was deleted.
        Raises OutsideError."""
        body = self._ask("get", {"id": ids, "fl": ",".join(self.fields)})
        try:
            documents = [from_fields(fields) for fields in _found(self.url, body)]
        except (KeyError, TypeError) as error:
            raise _not_solr(self.url, str(error)) from None
        return {document.id: document for document in documents}

    def search(self, query: str, **parameters: str | int) -> list[SolrDocument]:
        """A few documents for showing to people; `parameters` are Solr's. Raises OutsideError."""
        return [from_fields(fields) for fields in self._pysolr().search(query, **parameters)]

    def count(self, filters: Sequence[str]) -> int:
        """How many documents pass the filter queries. Raises OutsideError."""
        return int(self._pysolr().search("*:*", fq=list(filters), rows=0).hits)

    def highest_version(self) -> int:
        """The highest `_version_` that the searcher shows; 0 for an empty collection. Raises OutsideError."""
        found = self._pysolr().search("*:*", sort="_version_ desc", rows=1, fl="_version_").docs
        return int(found[0]["_version_"]) if found else 0

    def versions(self, above: int, cursor: str, rows: int) -> tuple[list[Moved], str]:
        """One page of the documents whose version is higher than `above`, and the cursor behind it. Raises
        OutsideError."""
        asked: Parameters = {
            "q": "*:*",
            "fq": [BIB, f"_version_:[{above + 1} TO *]"],
            "fl": "id,_version_",
            "sort": "id desc",
            "rows": rows,
            "cursorMark": cursor,
        }
        body = self._ask("select", asked)
        try:
            answer = _moved.decode(body)
        except ValueError as error:
            raise _not_solr(self.url, str(error)) from None
        return answer.response.docs, answer.nextCursorMark

    def update(self, changes: Sequence[AccessChange]) -> dict[str, int]:
        """Send a batch; the new version of each document that took its change, by id. The others had moved or were
        gone.

        Raises OutsideError: then nothing is known about any of them.
        """
        path = "update?versions=true&failOnVersionConflicts=false&wt=json"
        body = self._sent(path, _encode([change.fields() for change in changes]), _JSON)
        try:
            adds = _updated.decode(body).adds
            return {str(adds[at]): int(adds[at + 1]) for at in range(0, len(adds), 2)}
        except (ValueError, IndexError) as error:
            raise _not_solr(self.url, str(error)) from None

    def add(self, documents: bytes) -> None:
        """Put whole documents (a JSON array) into the collection as they are. Raises OutsideError."""
        self._sent("update", documents, _JSON)

    def commit(self, timeout: float = 300) -> None:
        """Make what was sent durable and visible: a new searcher is opened, and waited for, `timeout` seconds at
        most. Raises OutsideError."""
        self._pysolr(timeout).commit(waitSearcher=True)

    def _pysolr(self, timeout: float | None = None) -> Any:
        import pysolr

        return pysolr.Solr(self.url, session=_Session(self, timeout or self._timeout), timeout=None)

    def _page(self, body: bytes) -> SolrPage:
        try:
            return page(body)
        except Undecodable as error:
            raise _not_solr(self.url, str(error)) from None

    def _ask(self, handler: str, asked: Parameters) -> bytes:
        return self._sent(handler, urlencode({**asked, "wt": "json"}, doseq=True), _FORM)

    def _sent(self, path: str, body: bytes | str, headers: Mapping[str, str], timeout: float = 0) -> bytes:
        return self.call("POST", f"{self.url}/{path}", body, headers, timeout or self._timeout).body

    def call(self, method: str, url: str, body: Any, headers: Mapping[str, str], timeout: float) -> Answer:
        """Make any request to this collection. Raises OutsideError with Solr's own message for a status from 300 on."""
        headers = {**headers, **self._headers}
        limits: Any = {"max_bytes": _MAX_ANSWER, "timeout": timeout, "attempts": 1, "accept": _ANY_STATUS}
        try:
            if method == "GET":
                answer = self._outside.get(url, headers=headers, **limits)
            else:
                answer = self._outside.post(url, data=body, headers=headers, **limits)
        except OutsideError as error:
            if self.url not in error.sentence:
                error.sentence = f"{self.url}: {error.sentence}"
            raise
        if answer.status >= 300:
            raise _failure(self.url, answer)
        return answer


class _Session:
    """What pysolr takes for a requests.Session: its calls leave by the one way out."""

    def __init__(self, solr: Solr, timeout: float) -> None:
        self._solr = solr
        self._timeout = timeout

    def get(self, url: str, headers: Mapping[str, str], **_unused: Any) -> requests.Response:
        return self._response(self._solr.call("GET", url, None, headers, self._timeout))

    def post(self, url: str, data: bytes, headers: Mapping[str, str], **_unused: Any) -> requests.Response:
        return self._response(self._solr.call("POST", url, data, headers, self._timeout))

    @staticmethod
    def _response(answer: Answer) -> requests.Response:
        response = requests.Response()
        response.status_code = answer.status
        response.headers.update(answer.headers)
        response.raw = io.BytesIO(answer.body)
        return response


def _authorization(settings: Metastore) -> dict[str, str]:
    user, password = secret(settings.username_env), secret(settings.password_env)
    if not user:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password or ''}".encode()).decode()}


def _failure(url: str, answer: Answer) -> OutsideError:
    """The kind of what Solr (or a proxy before it) answered."""
    status, said = answer.status, _message(answer.body)
    sentence = f"{url} answered {status}: {said}"
    if status == 403 and "read-only" in said.lower().replace("readonly", "read-only"):
        return read_only(url, said)
    if status in (401, 403):
        mend = "username_env and password_env of the endpoint name its credentials"
        return PermanentError("refused", f"{sentence} ({mend})", status=status)
    if status < 400:  # an expired session is sent to a page for people
        mend = "who stands before Solr wants a sign-in; its address must answer by itself"
        return PermanentError("refused", f"{url} answered {status}, a redirect ({mend})", status=status)
    if status in (404, 405):
        mend = "is the collection's name right, and does it have this handler?"
        return PermanentError("no-collection", f"{sentence} ({mend})", status=status)
    if status in _TRANSIENT or (status == 500 and b"error-class" not in answer.body):
        after = retry_after_seconds(answer.headers.get("Retry-After"))
        return TransientError(f"status-{status}", sentence, status=status, retry_after=after)
    return PermanentError(f"status-{status}", sentence, status=status)


def read_only(url: str, why: str) -> PermanentError:
    """The error of a collection that takes no updates, or none that last."""
    return PermanentError("read-only", f"{url} is not to be written to ({why}); name the one that takes updates")


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["error"]["msg"])[:300]
    except (ValueError, KeyError, TypeError):
        return " ".join(body[:200].decode("utf-8", "replace").split())


def _not_solr(url: str, what: str) -> TransientError:
    """A page of a proxy with status 200, or an answer that was cut: it may be Solr again in a moment."""
    return TransientError("not-solr", f"{url}: {what}")


def _json(url: str, body: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(body)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise _not_solr(url, f"what came is no answer of Solr's; it begins with {body[:120]!r}")
    return found


def _found(url: str, body: bytes) -> list[dict[str, Any]]:
    """What the real-time get answers: one id with a `doc` (null: there is none), several with a `response`."""
    answer = _json(url, body)
    if "doc" in answer:
        return [answer["doc"]] if answer["doc"] else []
    return list(answer["response"]["docs"])
