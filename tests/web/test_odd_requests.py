"""Whatever stands in a header, a path, a query, a form or JSON: the answer is one of ours, and no mistake of ours."""

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import unquote, urlencode

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from harvester_dagster.config import Web
from harvester_dagster.publication.audit import Doer
from harvester_dagster.web.app import create_app
from harvester_dagster.web.door import Door
from harvester_dagster.web.door_login import DoorLogin
from harvester_dagster.web.serving import routes_of
from harvester_dagster.web.sessions import Sessions
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import World
from tests.web.test_operator_pages import Here, failing

__all__ = ["open_world", "source"]
HOST = "localhost:3001"
NO_TEXT = ("\0", "a\0b", "\ud800", "a\udfffb")
NAMES = (
    *("task", "reason", "host", "srn", "srns", "sets", "key", "attempt", "why", "seen", "hold_seen", "version", "of"),
    *("url", "kind", "record", "endpoint", "date", "journals", "without", "instead_of", "field", "fields", "values"),
    *("q", "filter", "language", "entity", "token", "next", "actor", "act", "subject", "mode", "id", "name", "text"),
)
HEADERS = ("host", "referer", "origin", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded")
OTHERS = ("authorization", "cookie", "accept", "content-type", "if-match", "if-none-match", "range", "last-event-id")
ODD = (
    *(
        "[::::]",
        "[1.2]:3657",
        "http://[bad",
        "http://[bad]/x",
        "localhost:99999",
        "localhost:x",
        "[::1",
        "::1]",
        "@",
        "//",
    ),
    *(
        "null",
        "",
        " ",
        "a b",
        "é",
        "[v1.x]",
        "[::1%25x]",
        "\xff\xfe",
        "http://a:b@[c",
        "Basic é",
        "Basic =",
        "Bearer \xff",
    ),
    *("multipart/form-data", "multipart/form-data; boundary=", 'multipart/form-data; boundary="\xff"', "bytes=9-1,x"),
    *("application/json; charset=undefined", "text/html;q=x, */*;q=", '"1", W/"', "for=[::", "harvester_session=a.b"),
)


class Answer(NamedTuple):
    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


def ask(
    app: ASGIApp, method: str, path: str, query: str = "", body: bytes = b"", kind: str = "http", **headers: str
) -> Answer:
    """As the server passes it on; `path` is quoted, headers are named with `_` for `-`."""
    named = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope: Scope = {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in named.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 3001),
        "state": {},
    }
    sent: list[Message] = []
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(asyncio.wait_for(app(scope, receive, send), 30))
    begun = sent[0]
    text = b"".join(message.get("body", b"") for message in sent[1:])
    return Answer(begun["status"], dict(begun["headers"]), text)


class Launches(Here):
    def launch(self, endpoint: str, mode: str, request: int) -> None:
        raise AssertionError("nothing of this was asked for")


@pytest.fixture
def world(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("HARVESTER_TOKEN", "a-token")
    world = open_world(min_documents=0)
    failing(world)
    return world


@pytest.fixture
def app(world: World) -> ASGIApp:
    web = world.installation.config.web
    sessions = Sessions(web, world.installation.pool, world.installation.clock)
    return create_app(web, routes_of(world.installation, Launches(world)), sessions)


def places(app: Any) -> Iterator[tuple[str, str]]:
    """Every method and path of the pages and of the API."""
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            for path, methods in route.app.openapi()["paths"].items():
                yield from ((method.upper(), route.path + path) for method in methods)
        elif isinstance(route, Route):
            yield from ((method, route.path) for method in route.methods or () if method != "HEAD")


def filled(path: str, text: str) -> str:
    return re.sub(r"\{[^}]*\}", text, path)


def check(answer: Answer, *what: object) -> None:
    assert answer.status < 500, (what, answer)
    assert answer.headers[b"x-content-type-options"] == b"nosniff", what
    assert b"content-security-policy" in answer.headers, what


def test_no_path_is_a_mistake_of_ours(app: ASGIApp) -> None:
    for method, path in places(app):
        for text in ("%00", "a%00", "%ED%A0%80", "%FF"):
            answer = ask(app, method, filled(path, text), authorization="Bearer a-token")
            check(answer, method, path, text)
            assert "{" not in path or answer.status >= 400 or "%00" not in text, (method, path)
    check(ask(app, "GET", "/static/%00"))


def test_no_query_is_a_mistake_of_ours(app: ASGIApp) -> None:
    for method, path in places(app):
        for text in ("%00", "%ED%A0%80", "%FF"):
            query = "&".join(f"{name}={text}" for name in NAMES)
            check(ask(app, method, filled(path, "src:one"), query, authorization="Bearer a-token"), method, path, text)


def test_no_form_is_a_mistake_of_ours(app: ASGIApp) -> None:
    posts = [filled(path, "src:one") for method, path in places(app) if method == "POST"]
    fields = "".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n\\ud800\r\n' for name in (*NAMES, *NAMES)
    )
    for path in posts:
        urlencoded = {"content_type": "application/x-www-form-urlencoded", "authorization": "Bearer a-token"}
        for text in ("%00", "%ED%A0%80"):
            body = "&".join(f"{name}={text}" for name in NAMES).encode()
            check(ask(app, "POST", path, body=body, **urlencoded), path, text)
        for charset in ("unicode_escape", "undefined", "idna", "hex", "utf-7", "punycode", "no-such", "a%00b"):
            parts = {"content_type": f"multipart/form-data; boundary=x; charset={charset}"}
            check(ask(app, "POST", path, body=f"{fields}--x--\r\n".encode(), **urlencoded | parts), path, charset)


def test_no_json_is_a_mistake_of_ours(app: ASGIApp) -> None:
    writing = [(method, filled(path, "check_url")) for method, path in places(app) if method in ("POST", "PUT")]
    for method, path in writing:
        for text in NO_TEXT:
            for value in (text, [text], {text: text}):
                body = json.dumps(dict.fromkeys(NAMES, value)).encode()
                answer = ask(
                    app, method, path, body=body, content_type="application/json", authorization="Bearer a-token"
                )
                check(answer, method, path, value)
            for name in ("reason", "host"):
                body = json.dumps({name: text}).encode()
                answer = ask(
                    app, method, path, body=body, content_type="application/json", authorization="Bearer a-token"
                )
                check(answer, method, path, name, text)
        for body in (b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b""):
            check(
                ask(app, method, path, body=body, content_type="application/json", authorization="Bearer a-token"), body
            )


odd = st.one_of(st.sampled_from(ODD), st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30))
headers = st.dictionaries(
    st.sampled_from([name.replace("-", "_") for name in (*HEADERS, *OTHERS)]), odd, min_size=1, max_size=3
)


@pytest.mark.parametrize("text", ODD)
def test_no_header_is_a_mistake_of_ours(app: ASGIApp, text: str) -> None:
    for name in (*HEADERS, *OTHERS):
        for method, path in (("GET", "/"), ("GET", "/nothing"), ("POST", "/release"), ("GET", "/metrics")):
            check(ask(app, method, path, **{name.replace("-", "_"): text}), name, text, method, path)
        check(ask(app, "GET", "/api/v1/products/", **{name.replace("-", "_"): text}), name, text)


def test_a_host_that_is_no_name_is_told_as_a_page(app: ASGIApp) -> None:
    for host in ("[::::]", "[1.2]:3657", "localhost:99999"):
        answer = ask(app, "GET", "/", host=host)
        assert answer.status == 400 and b"is no name of a machine" in answer.body and b"<!doctype html>" in answer.body


@given(headers)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_made_up_header_is_a_mistake_of_ours(app: ASGIApp, given: dict[str, str]) -> None:
    for method, path in (("GET", "/"), ("POST", "/release"), ("GET", "/api/v1/products/")):
        check(ask(app, method, path, **given), given, method, path)


@given(headers)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_header_is_a_mistake_of_the_door(world: World, given: dict[str, str]) -> None:
    passed: list[str] = []

    async def dagster(scope: Scope, receive: Receive, send: Send) -> None:
        passed.append(scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def record(doer: Doer, change: str) -> None:
        pass

    web = Web(public_url="https://a.example", dagster_url="https://b.example")
    door = DoorLogin(Door(dagster, web, record), web, world.installation.pool, world.installation.clock)
    for method, path, body in (("GET", "/", b""), ("POST", "/graphql", b"{}"), ("GET", "/harvester-login", b"")):
        before = len(passed)
        answer = ask(door, method, path, "", body, **given)
        assert answer.status < 500, (given, answer)
        if len(passed) == before:
            assert answer.headers[b"x-content-type-options"] == b"nosniff", (given, answer)
            assert b"content-security-policy" in answer.headers, (given, answer)


def test_of_a_picture_too(app: ASGIApp) -> None:
    key = f"derived/ab/{'ab' * 32}/pdf_preview-1/full_size.jpg"
    assert ask(app, "GET", f"/pictures/{key}", urlencode({"of": "\0"})).status in (400, 404)
