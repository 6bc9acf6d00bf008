"""The one way to Dagster's web application: each request and each WebSocket handshake is looked at before it.

Dagster's GraphQL executes a mutation by a plain GET and by a POST of any content type, and looks at no Host or Origin,
so that any page in an operator's browser, and any address that this machine can be made to call, started runs.

Belongs here: what may pass. Does not belong here: who somebody is (`guard.py`), how whoever signs in gets here
(`door_login.py`), Dagster (`cli/dagster_ui.py`).
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec
from graphql import FieldNode, GraphQLError, OperationDefinitionNode, OperationType, parse
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harvester_dagster import shown_text
from harvester_dagster.config import Web
from harvester_dagster.publication.audit import Doer
from harvester_dagster.web import guard, tickets

_METHODS = frozenset({"GET", "HEAD", "POST"})
_ONCE = ("host", "origin", "content-type", "accept", "authorization", "sec-fetch-site", "sec-fetch-mode")
"""Headers of which a second one would be read by one and not by the other."""
_HEADERS = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
OWN_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
"""Of what is answered in Dagster's place."""
GRAPHQL = "/graphql"
TOKEN = "/token"
"""Where people sign in, the browser's dialogue asks for a token here alone; it is then taken along to all paths."""
LONGEST = 4 * 1024 * 1024
"""Bytes of a request: Dagster's own pages send some kilobytes; a backfill names its partitions, 100 bytes each."""
Record = Callable[[Doer, str], None]
"""Writes down who asks for what, before it is passed on."""


class _Asked(msgspec.Struct):
    """What is looked at of a GraphQL request. Dagster reads its body as JSON of an object, too."""

    query: str = ""


class Refusal(NamedTuple):
    """Why something does not pass, and the status that says so."""

    status: int
    reason: str


class Door:
    """The application `app`, for those who may use it; what they change is recorded."""

    def __init__(self, app: ASGIApp, web: Web, record: Record) -> None:
        self._app, self._web, self._record = app, web, record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, or say why not; a handshake too."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = why_closed(HTTPConnection(scope), self._web)
        if refusal is None and scope.get("method") == "POST":
            body = await _body(receive)
            refusal = await run_in_threadpool(self._recorded, Request(scope), body)
            receive = _again(body or b"", receive)
        if refusal:
            is_asked = refusal.status == 401 and (scope["path"] == TOKEN or not tickets.are_used(self._web))
            headers = OWN_HEADERS | ({"WWW-Authenticate": 'Basic realm="harvester"'} if is_asked else {})
            await PlainTextResponse(shown_text.one_line(refusal.reason) + "\n", refusal.status, headers)(
                scope, receive, send
            )
            return

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        await self._app(scope, receive, sent if scope["type"] == "http" else send)

    def _recorded(self, asked: Request, body: bytes | None) -> Refusal | None:
        """Write down what is about to be changed; why it is not passed on, where it cannot be read."""
        if body is None:
            return Refusal(413, f"more than {LONGEST:,} bytes")
        path = asked.url.path
        try:
            changes = mutations(body) if path == GRAPHQL else [path.strip("/")]
        except (ValueError, GraphQLError, RecursionError):
            return Refusal(400, "this is no GraphQL in JSON")
        actor = guard.holder_in_browser(asked, self._web) or guard.signed_in(asked) or guard.local(asked, self._web)
        for change in changes:
            self._record(actor.doer, change)
        return None


def mutations(body: bytes) -> list[str]:
    """The fields that a GraphQL request would change something by. Raises ValueError, GraphQLError, RecursionError."""
    query = msgspec.json.decode(body, type=_Asked).query
    if "mutation" not in query:
        return []
    return [
        chosen.name.value if isinstance(chosen, FieldNode) else "by a fragment"
        for operation in parse(query).definitions
        if isinstance(operation, OperationDefinitionNode) and operation.operation is OperationType.MUTATION
        for chosen in operation.selection_set.selections
    ]


async def _body(receive: Receive) -> bytes | None:
    """All of it; None: it is too long, or whoever sends it has gone."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LONGEST or message["type"] == "http.disconnect":
            return None
    return body


def _again(body: bytes, receive: Receive) -> Receive:
    """As if nobody had read it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def received() -> Message:
        return waiting.pop() if waiting else await receive()

    return received


def why_closed(asked: HTTPConnection, web: Web) -> Refusal | None:
    """What hinders a request or a handshake; None: it may pass."""
    method = asked.scope.get("method", "GET")  # a handshake has none
    if twice := [name for name in _ONCE if len(asked.headers.getlist(name)) > 1]:
        return Refusal(400, f"{twice[0]} stands there twice")
    if method not in _METHODS:
        return Refusal(405, f"{method} is not used here")
    holder = guard.holder_in_browser(asked, web)
    actor = holder or guard.signed_in(asked) or (guard.local(asked, web) if guard.is_here(asked, web) else None)
    if actor is None:
        instead = f", or that you sign in: open {web.dagster_url} in a browser" if tickets.are_used(web) else ""
        needed = f"a token is needed, such as that of {web.token_env}, as password"
        return Refusal(401, f"beyond this machine {needed}{instead}")
    if holder is None and (reason := guard.not_by_our_name(asked, web)):
        return Refusal(403, reason)
    if reason := guard.no_name(asked):  # whoever asks: Dagster would fail by it
        return Refusal(400, reason)
    if guard.OPERATE not in actor.scopes:
        return Refusal(403, f"{actor.doer.name} has not the scope {guard.OPERATE!r}")
    if not is_link(asked) and (reason := guard.not_from_our_page(asked)):
        return Refusal(403, reason)
    return None if asked.scope["type"] == "websocket" else _why_not_executed(asked, method)


def is_link(asked: HTTPConnection) -> bool:
    """Whether a whole page is asked for, as by a link in a mail; a frame in somebody's page is none."""
    headers = asked.headers
    return (
        asked.scope["type"] == "http"
        and asked.scope["method"] == "GET"
        and "origin" not in headers
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest", "document") == "document"
    )


def _why_not_executed(asked: HTTPConnection, method: str) -> Refusal | None:
    """What Dagster would execute comes as JSON, which no form, link or picture can send."""
    if method == "POST":
        kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        return (
            None if kind == "application/json" else Refusal(415, "what changes something is sent as application/json")
        )
    # With text/html Dagster shows its playground, and executes nothing.
    if asked.scope["path"].rstrip("/").endswith(GRAPHQL) and "text/html" not in asked.headers.get("accept", ""):
        return Refusal(405, "GraphQL is asked by POST, with JSON")
    return None
