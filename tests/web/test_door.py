"""What passes the door before Dagster's UI, and what does not: by the headers that browsers and programs send."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from harvester_dagster.config import Web
from harvester_dagster.publication.audit import Doer
from harvester_dagster.web.door import LONGEST, Door, mutations, why_closed

HOST = "localhost:3000"
MUTATION = b"query=mutation{launchRun{__typename}}"
FROM_OUR_PAGE = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}
JSON = {"content-type": "application/json"}
LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}


def status(
    method: str = "GET",
    path: str = "/runs",
    *,
    client: str = "127.0.0.1",
    kind: str = "http",
    web: Web | None = None,
    twice: str = "",
    **headers: str,
) -> int | None:
    """What the door answers with; None: it lets pass. Headers by their names, `_` for `-`."""
    named = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    raw += [(name.encode(), value.encode("latin-1")) for name, value in named.items() if name == twice]
    scope: dict[str, Any] = {"type": kind, "path": path, "client": (client, 1), "headers": raw, "query_string": b""}
    if kind == "http":
        scope["method"] = method
    found = why_closed(HTTPConnection(scope), web or Web())
    return found.status if found else None


def sent(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


def test_dagsters_own_pages_may_do_all() -> None:
    assert status(**sent(FROM_OUR_PAGE)) is None
    assert status("POST", "/graphql", **sent(FROM_OUR_PAGE | JSON)) is None
    assert status(path="/graphql", kind="websocket", **sent(FROM_OUR_PAGE)) is None
    assert status(sec_fetch_site="none", sec_fetch_mode="navigate") is None


def test_a_program_on_this_machine_asks_with_json() -> None:
    assert status("POST", "/graphql", content_type="application/json; charset=utf-8") is None
    assert status("POST", "/graphql") == 415
    assert status("POST", "/report_asset_materialization/x") == 415


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; x=application/json", "",
     "text/plain; application/json", "application/graphql", "application/json-seq", "application/jsonp"],
)  # fmt: skip
def test_what_a_form_can_send_changes_nothing(kind: str) -> None:
    assert status("POST", "/graphql", content_type=kind) == 415


def test_graphql_executes_nothing_by_get() -> None:
    for accept in ("*/*", "image/avif,image/webp", "", "application/json"):
        assert status(path="/graphql", accept=accept) == 405
    assert status("HEAD", "/graphql") == 405 and status(path="/graphql/") == 405 and status(path="/x/graphql") == 405
    assert status(path="/graphql", accept="text/html,*/*", **sent(LINK)) is None, "the playground, which only shows"


def test_a_link_may_lead_here_and_nothing_else_of_another_site() -> None:
    assert status(**sent(LINK)) is None
    assert status(**sent(LINK | {"sec-fetch-dest": "iframe"})) == 403
    assert status("POST", **sent(LINK | JSON)) == 403
    assert status(**sent(LINK | {"origin": "https://evil.example"})) == 403
    assert status(kind="websocket", **sent(LINK)) == 403
    for site in ("cross-site", "same-site"):
        for mode in ("cors", "no-cors", "websocket"):
            assert status(sec_fetch_site=site, sec_fetch_mode=mode) == 403
            assert status("POST", "/graphql", sec_fetch_site=site, sec_fetch_mode=mode, **sent(JSON)) == 403


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost", "http://localhost:3001", "http://127.0.0.1:3000",
               "http://localhost:3000.evil.example", "http://localhost:3000@evil.example", "", "http://[", "file://"]
)  # fmt: skip
def test_of_another_origin_nothing_passes(kind: str, origin: str) -> None:
    assert status("POST", "/graphql", kind=kind, origin=origin, **sent(JSON)) == 403


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:3000", "localhost.evil.example", "", "localhost@evil.example", "[", "::1",
             "evil.example@localhost", "localhost:x", "localhost/", "127.0.0.1.nip.io:3000", "local\tost"]
)  # fmt: skip
def test_under_the_name_of_somebody_else_nothing_is_read(kind: str, host: str) -> None:
    assert status(kind=kind, host=host) == 403
    assert status(kind=kind, host=host, origin=f"http://{host}") == 403


def test_our_names() -> None:
    for host in ("localhost", "LOCALHOST:3000", "127.0.0.1:3000", "[::1]:3000"):
        assert status(host=host) is None
    web = Web(host="harvest.internal", public_url="https://Harvest.example.org/metadata")
    assert status(host="harvest.example.org", web=web) is status(host="harvest.internal:3000", web=web) is None
    assert status(host="harvest.example.org") == 403


NAMES = st.from_regex(r"[a-z][a-z0-9.-]{0,20}(:[0-9]{1,5})?", fullmatch=True)


@given(host=NAMES, origin=NAMES, kind=st.sampled_from(["http", "websocket"]))
def test_nobody_acts_but_under_our_name_and_from_our_origin(host: str, origin: str, kind: str) -> None:
    allowed = status("POST", "/graphql", kind=kind, host=host, origin=f"http://{origin}", **sent(JSON)) is None
    assert allowed == (host.partition(":")[0] == "localhost" and origin == host)


@given(method=st.text("ABCDEGHILNOPSTU", min_size=1, max_size=8))
def test_methods_that_dagster_does_not_know_stay_outside(method: str) -> None:
    if method not in ("GET", "HEAD", "POST"):
        assert status(method) == 405


@pytest.mark.parametrize("name", ["host", "origin", "content-type", "accept", "sec-fetch-site"])
def test_a_header_that_comes_twice_is_refused(name: str) -> None:
    usual = sent(FROM_OUR_PAGE | JSON | {"accept": "*/*"})
    assert status("POST", "/graphql", **usual) is None
    assert status("POST", "/graphql", twice=name, **usual) == 400


def test_beyond_this_machine_the_token_is_needed_even_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    far = "192.0.2.7"
    typed = "Basic " + base64.b64encode(b"anybody:s3cret").decode()
    assert status(client=far) == 401
    assert status(client=far, authorization="Bearer ") == 401, "no token is set"
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    for right in ("Bearer s3cret", "bearer s3cret", typed):
        assert status(client=far, host="192.0.2.1:3000", authorization=right) is None
        assert status(client=far, kind="websocket", authorization=right) is None
    for wrong in (
        "Bearer s3cre",
        "s3cret",
        "Basic s3cret",
        "Basic ====",
        "Basic " + base64.b64encode(b"s3cret").decode(),
    ):
        assert status(client=far, authorization=wrong) == 401
    assert (
        status("POST", "/graphql", client=far, authorization=typed, origin="https://evil.example", **sent(JSON)) == 403
    )
    assert status(client=far, authorization=typed, sec_fetch_site="cross-site", sec_fetch_mode="no-cors") == 403


def test_what_a_proxy_passes_on_is_from_beyond_this_machine() -> None:
    for header in ("x_forwarded_for", "forwarded", "x_real_ip"):
        assert status(**{header: "127.0.0.1"}) == 401
    behind = Web(trusted_proxies=("127.0.0.1",))
    assert status(web=behind, x_forwarded_for="192.0.2.7") == 401
    assert status(web=behind, x_forwarded_for="127.0.0.1") is None
    assert status(web=behind, client="192.0.2.7", x_forwarded_for="127.0.0.1") == 401
    for header in ("forwarded", "x_real_ip"):
        assert status(web=behind, **{header: "for=192.0.2.7"}) == 401, "a trusted one that does not say for whom"


def asked(query: str, **more: Any) -> bytes:
    return json.dumps({"query": query, "variables": {}, **more}).encode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("query { runs { id } }", []),
        ("subscription { mutation }", []),
        ("query mutation { version }", []),
        ("mutation { launchRun(x: 1) { id } }", ["launchRun"]),
        ("mutation Two($a: Int) { again: startSensor { id } deletePipelineRun(runId: $a) { id } }",
         ["startSensor", "deletePipelineRun"]),
        ("query A { version } mutation B { launchRun }", ["launchRun"]),
        ("mutation { ... on Mutation { launchRun } }", ["by a fragment"]),
        ("", []),
    ],
)  # fmt: skip
def test_what_would_change_something_is_named(query: str, found: list[str]) -> None:
    assert mutations(asked(query)) == found


class Seen:
    """An application that keeps what it gets, and what the door has recorded by then."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.recorded: list[tuple[str, str]] = []
        self.client = TestClient(Door(self, Web(), self.record), base_url=f"http://{HOST}", client=("127.0.0.1", 1))

    def record(self, doer: Doer, change: str) -> None:
        assert not self.bodies, "before it is passed on"
        self.recorded.append((doer.name, change))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.bodies.append(await Request(scope, receive).body())
        await PlainTextResponse("passed")(scope, receive, send)

    def post(self, body: bytes, path: str = "/graphql") -> int:
        return self.client.post(path, content=body, headers=JSON).status_code


def test_a_change_is_recorded_and_passed_on_as_it_came() -> None:
    seen, body = Seen(), asked("mutation { launchRun { id } }")
    assert seen.post(body) == 200
    assert (seen.bodies, seen.recorded) == ([body], [("local", "launchRun")])
    assert seen.client.get("/runs").headers["x-frame-options"] == "SAMEORIGIN"


def test_what_is_reported_of_assets_is_a_change_too() -> None:
    seen = Seen()
    assert seen.post(b"{}", "/report_asset_materialization/x") == 200
    assert seen.recorded == [("local", "report_asset_materialization/x")]


@pytest.mark.parametrize(
    "body",
    [b"", b"x", b"[]", b'"mutation"', b'{"query": 1}', asked("mutation {"), asked("mutation { launchRun }").decode()
     .encode("utf-16"), b"[" * 100_000, asked("mutation " + "{a" * 50_000)],
)  # fmt: skip
def test_what_cannot_be_read_is_not_passed_on(body: bytes) -> None:
    seen = Seen()
    assert seen.post(body) == 400
    assert seen.bodies == seen.recorded == []


def test_a_request_has_a_length() -> None:
    seen = Seen()
    assert seen.post(asked("{ version }" + " " * LONGEST)) == 413
    assert seen.post(asked("{ version }" + " " * (LONGEST // 2))) == 200
