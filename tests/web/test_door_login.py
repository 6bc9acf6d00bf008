"""Who has signed in at the pages comes to Dagster's UI through its door, which is another origin; and nobody else."""

import base64
import contextlib
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import OctKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from starlette.websockets import WebSocket, WebSocketDisconnect

from harvester_dagster import config
from harvester_dagster.config import Web
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.publication.audit import Doer
from harvester_dagster.store.database import open_reading_pool
from harvester_dagster.web import tickets
from harvester_dagster.web.door import Door
from harvester_dagster.web.door_login import DoorLogin
from harvester_dagster.web.sessions import LASTS, Session, Sessions
from harvester_dagster.web.tickets import Tickets
from tests.served import served
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import NIGHT
from tests.web.signing_provider import SigningProvider
from tests.web.test_login import WHO, LoginSite, provider, serving, somebody

__all__ = ["open_world", "provider", "source"]
NAVIGATES = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}
CHANGES = {"query": "mutation { launchRun }"}
JANE = Session("a-session", "person:jane", ["operators"], int((NIGHT + LASTS).timestamp()))


class DoorSite(NamedTuple):
    url: str
    pages: LoginSite
    recorded: list[tuple[Doer, str]]

    @property
    def web(self) -> Web:
        return self.pages.world.installation.config.web

    def login(self, app: ASGIApp, **options: Any) -> DoorLogin:
        of = self.pages.world.installation
        return DoorLogin(Door(app, of.config.web, self.record), of.config.web, of.pool, of.clock, **options)

    def record(self, doer: Doer, change: str) -> None:
        self.recorded.append((doer, change))


async def shown(request: Request) -> PlainTextResponse:
    return PlainTextResponse(f"Dagster at {request.url.path}")


async def heard(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("heard")
    await socket.receive_text()
    await socket.close()


DAGSTER = Starlette(
    routes=[Route("/{path:path}", shown, methods=["GET", "POST"]), WebSocketRoute("/graphql", heard)],
)


@pytest.fixture
def site(open_world: OpenWorld, provider: SigningProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[DoorSite]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://localhost:{port}"
    with serving(open_world, provider, monkeypatch, dagster_url=url) as pages:
        found = DoorSite(url, pages, [])
        with served(found.login(DAGSTER), port=port, proxy_headers=False):
            yield found


def go(who: requests.Session, url: str, **options: Any) -> requests.Response:
    """As a browser goes to a page."""
    return who.get(url, headers=NAVIGATES, timeout=30, **options)


def hop(who: requests.Session, url: str) -> str:
    """Where that leads."""
    answer = go(who, url, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    return answer.headers["Location"]


def change(site: DoorSite, who: requests.Session, **headers: str) -> int:
    return who.post(f"{site.url}/graphql", json=CHANGES, headers=headers, timeout=30).status_code


def socket_of(site: DoorSite) -> str:
    return f"{site.url.replace('http', 'ws')}/graphql"


def inside(site: DoorSite) -> requests.Session:
    """Somebody who has signed in, and is in Dagster's UI."""
    who = somebody()
    assert go(who, f"{site.url}/").status_code == 200
    return who


def with_ticket(site: DoorSite) -> tuple[requests.Session, str]:
    """Somebody who has signed in, and the address of the door with a ticket to which the pages send them."""
    who = somebody()
    go(who, f"{site.pages.url}/login")
    return who, hop(who, hop(who, f"{site.url}/runs"))


def test_who_signs_in_comes_to_what_was_asked_for_and_acts_in_their_own_name(site: DoorSite) -> None:
    who = somebody()
    assert change(site, who) == 401
    answer = go(who, f"{site.url}/runs/a%2Fb?tab=c%20d")
    assert (answer.url, answer.text) == (f"{site.url}/runs/a%2Fb?tab=c%20d", "Dagster at /runs/a/b")
    assert change(site, who, Origin=site.url) == 200
    assert site.recorded == [(Doer(WHO, "127.0.0.1"), "launchRun")]


def test_who_has_signed_in_already_is_not_asked_again(site: DoorSite) -> None:
    who, back = with_ticket(site)
    assert (len(site.pages.provider.shown), hop(who, back)) == (1, "/runs")
    assert change(site, who) == 200


def test_signing_out_at_the_pages_ends_it_at_the_door_and_in_copies(site: DoorSite) -> None:
    who = inside(site)
    copied = {"Cookie": f"harvester_door={who.cookies['harvester_door']}"}
    assert change(site, somebody(), **copied) == 200
    assert who.post(f"{site.pages.url}/logout", timeout=30).status_code == 200
    assert change(site, who) == change(site, somebody(), **copied) == 401
    assert hop(who, f"{site.url}/runs").startswith(f"{site.pages.url}/door?")


def test_it_ends_with_the_session_of_the_pages(site: DoorSite) -> None:
    who = somebody()
    go(who, f"{site.pages.url}/login")
    site.pages.world.forward(LASTS - timedelta(seconds=2))
    assert hop(who, hop(who, hop(who, f"{site.url}/"))) == "/"
    assert change(site, who) == 200
    site.pages.world.forward(timedelta(seconds=2))
    assert change(site, who) == 401


def test_a_ticket_is_taken_once(site: DoorSite) -> None:
    who, back = with_ticket(site)
    again = somebody()
    again.cookies.update(who.cookies)
    assert hop(who, back) == "/runs"
    refused = go(again, back)
    assert refused.status_code == 400 and f"open {site.url} again" in refused.text
    assert "harvester_door" not in again.cookies and change(site, again) == 401


def test_a_ticket_is_good_for_a_minute(site: DoorSite) -> None:
    who, back = with_ticket(site)
    site.pages.world.forward(timedelta(seconds=60))
    assert go(who, back).status_code == 400 and change(site, who) == 401


def test_a_ticket_is_worth_nothing_in_another_browser(site: DoorSite) -> None:
    """Neither to who has read it somewhere, nor as a way to have somebody work in a session that is not theirs."""
    who, back = with_ticket(site)
    thief, other = somebody(), somebody()
    hop(other, f"{site.url}/")
    assert go(thief, back).status_code == go(other, back).status_code == 400
    assert hop(who, back) == "/runs", "nobody has used it up"


def test_a_challenge_of_somebody_else_leads_nowhere(site: DoorSite) -> None:
    """They lure whoever has signed in: the ticket goes to the victim's browser, which has not their verifier."""
    victim, _ = with_ticket(site)
    attacker = somebody()
    lure = hop(attacker, f"{site.url}/")
    assert go(victim, lure).status_code == 400
    assert change(site, attacker) == 401


@pytest.mark.parametrize(
    "forged",
    [
        lambda ticket: "",
        lambda ticket: ticket[:-1] + ("A" if ticket[-1] != "A" else "Q"),
        lambda ticket: ticket.replace("..", ".A."),
        lambda ticket: f"{ticket}.",
        lambda ticket: jwe.encrypt_compact({"alg": "dir", "enc": "A256GCM"}, b"{}", OctKey.generate_key(256)),
        lambda ticket: base64.urlsafe_b64encode(b'{"alg":[],"enc":[],"crit":5}').decode() + ticket[ticket.index(".") :],
        lambda ticket: "x" * 10_000,
    ],
)
def test_a_ticket_that_the_pages_have_not_made_is_none(site: DoorSite, forged: Callable[[str], str]) -> None:
    who, back = with_ticket(site)
    (ticket,) = parse_qs(urlsplit(back).query)["ticket"]
    refused = go(who, f"{site.url}/login/back", params={"ticket": forged(ticket)})
    assert refused.status_code == 400 and change(site, who) == 401
    assert hop(who, back) == "/runs"


def test_whatever_comes_as_a_ticket_is_refused(site: DoorSite) -> None:
    of = site.pages.world.installation
    found = Tickets(of.config.web, Sessions(of.config.web, of.pool, of.clock), of.clock)

    @given(st.text() | st.lists(st.text("AQeyJ_-9", max_size=30), min_size=5, max_size=5).map(".".join))
    def refused(text: str) -> None:
        assert found.taken(text, "verifier") is None

    refused()


@pytest.mark.parametrize(
    ("of_web", "of_login"),
    [
        ({"dagster_url": "https://dagster.example"}, {}),
        ({"public_url": "https://pages.example"}, {}),
        ({}, {"issuer": "https://elsewhere.example"}),
    ],
)
def test_a_ticket_is_for_one_door_of_one_installation(
    site: DoorSite, of_web: dict[str, str], of_login: dict[str, str]
) -> None:
    of, web = site.pages.world.installation, site.web
    other = web.model_copy(update={"login": web.login.model_copy(update=of_login), **of_web})
    ours, theirs = (Tickets(each, Sessions(each, of.pool, of.clock), of.clock) for each in (web, other))
    ticket = ours.made(JANE, tickets.challenge_of("verifier"))
    assert theirs.taken(ticket, "verifier") is None
    assert ours.taken(ticket, "verifier") == JANE


def test_no_ticket_is_taken_while_the_store_is_away(site: DoorSite) -> None:
    of = site.pages.world.installation
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        with contextlib.closing(open_reading_pool(f"postgresql://127.0.0.1:{taken.getsockname()[1]}/x")) as pool:
            found = Tickets(site.web, Sessions(site.web, pool, of.clock), of.clock)
            assert found.taken(found.made(JANE, tickets.challenge_of("verifier")), "verifier") is None


def test_what_stands_in_addresses_tells_of_nobody_and_is_kept_by_nobody(site: DoorSite) -> None:
    who = somebody()
    go(who, f"{site.pages.url}/login")
    asked = go(who, f"{site.url}/runs", allow_redirects=False)
    given = go(who, asked.headers["Location"], allow_redirects=False)
    taken = go(who, given.headers["Location"], allow_redirects=False)
    for answer in (asked, given, taken):
        assert (answer.headers["Cache-Control"], answer.headers["Referrer-Policy"]) == ("no-store", "no-referrer")
    (ticket,) = parse_qs(urlsplit(given.headers["Location"]).query)["ticket"]
    parts = [base64.urlsafe_b64decode(part + "==") for part in ticket.split(".")]
    assert not any(b"anna" in part or b"operators" in part for part in parts)
    for answer, name in ((asked, "harvester_door_begun"), (taken, "harvester_door")):
        cookie = answer.headers["Set-Cookie"]
        assert cookie.startswith(f"{name}=") and "; HttpOnly" in cookie and "; SameSite=lax" in cookie


def test_without_the_scope_nobody_comes_in(site: DoorSite) -> None:
    site.pages.provider.claims = {"groups": ["editors"]}
    who = somebody()
    refused = go(who, f"{site.url}/")
    assert refused.status_code == 403 and "has not the scope" in refused.text
    assert refused.url.startswith(f"{site.pages.url}/door?") and change(site, who) == 401


def test_the_scope_is_looked_up_at_each_request(site: DoorSite) -> None:
    who, of = inside(site), site.pages.world.installation
    fewer = site.web.model_copy(update={"login": site.web.login.model_copy(update={"scopes": {"operators": ()}})})
    later = TestClient(DoorLogin(Door(DAGSTER, fewer, site.record), fewer, of.pool, of.clock), base_url=site.url)
    cookie = f"harvester_door={who.cookies['harvester_door']}"
    assert later.get("/", headers={"Cookie": cookie}).status_code == 403


@pytest.mark.parametrize("path", ["//elsewhere.example/", "/login/back/x", "/" + "x" * 3_000])
def test_nobody_is_led_away(site: DoorSite, path: str) -> None:
    who = somebody()
    go(who, f"{site.pages.url}/login")
    as_written = requests.Request("GET", "http://x", headers=dict(who.headers) | NAVIGATES).prepare()
    as_written.url = f"{site.url}{path}"
    asked = who.send(as_written, allow_redirects=False, timeout=30)
    assert hop(who, hop(who, asked.headers["Location"])) == "/"


def test_the_pages_send_tickets_to_the_door_alone(site: DoorSite) -> None:
    who, back = with_ticket(site)
    assert back.startswith(f"{site.url}/login/back?ticket=")
    for wrong in ("", "x", "x" * 44, "https://elsewhere.example/" + "x" * 17):
        assert who.get(f"{site.pages.url}/door", params={"challenge": wrong}, timeout=30).status_code == 400
    challenge = tickets.challenge_of("verifier")
    more = {"challenge": challenge, "next": "https://elsewhere.example", "dagster_url": "https://elsewhere.example"}
    answer = who.get(f"{site.pages.url}/door", params=more, allow_redirects=False, timeout=30)
    assert answer.headers["Location"].startswith(f"{site.url}/login/back?ticket=")


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-origin"},
        {**NAVIGATES, "Sec-Fetch-Dest": "iframe"},
        {**NAVIGATES, "Origin": "https://elsewhere.example"},
        {},
    ],
)
def test_a_whole_page_alone_leads_to_where_one_signs_in(site: DoorSite, headers: dict[str, str]) -> None:
    for path in ("/", "/login/back?ticket=x"):
        answer = somebody().get(f"{site.url}{path}", headers=headers, allow_redirects=False, timeout=30)
        assert answer.status_code == 401 and "WWW-Authenticate" not in answer.headers
        assert f"or that you sign in: open {site.url} in a browser" in answer.text


def test_a_session_is_for_dagsters_own_pages_alone(site: DoorSite) -> None:
    who = inside(site)
    assert change(site, who, Origin=site.pages.url) == 403, "the pages are another origin, of the same host"
    assert change(site, who, Origin="https://elsewhere.example") == change(site, who, Origin="null") == 403
    for of in ("cross-site", "same-site"):
        assert change(site, who, **{"Sec-Fetch-Site": of}) == 403
        frame = {**NAVIGATES, "Sec-Fetch-Dest": "iframe", "Sec-Fetch-Site": of}
        assert who.get(f"{site.url}/", headers=frame, timeout=30).status_code == 403
    own = f"harvester_door={who.cookies['harvester_door']}"
    assert change(site, somebody(), Cookie=own, Host="elsewhere.example") == 403
    assert who.post(f"{site.url}/graphql", data=CHANGES, timeout=30).status_code == 415
    assert who.get(f"{site.url}/graphql", params=CHANGES, timeout=30).status_code == 405
    assert site.recorded == []


def test_the_cookie_of_the_pages_is_none_of_the_door_and_the_other_way_round(site: DoorSite) -> None:
    who = inside(site)
    own, pages = who.cookies["harvester_door"], who.cookies["harvester_session"]
    for cookie in (f"harvester_session={pages}", f"harvester_door={pages}"):
        assert change(site, somebody(), Cookie=cookie) == 401
    url = f"{site.pages.url}/set/src:one/dismiss"
    for cookie in (f"harvester_door={own}", f"harvester_session={own}"):
        headers = {"Cookie": cookie}
        assert somebody().post(url, headers=headers, timeout=30).status_code == 403


def test_a_token_needs_no_provider(site: DoorSite) -> None:
    site.pages.provider.is_away = True
    typed = {"Authorization": "Basic " + base64.b64encode(b"anybody:a-token").decode()}
    asked = go(somebody(), f"{site.url}/token")
    assert (asked.status_code, asked.headers["WWW-Authenticate"]) == (401, 'Basic realm="harvester"')
    who = somebody()
    who.headers.update(typed)
    assert hop(who, f"{site.url}/token") == "/"
    assert go(who, f"{site.url}/").text == "Dagster at /" and change(site, who) == 200
    assert change(site, somebody(), Authorization="Bearer a-token") == 200
    assert {doer.name for doer, _ in site.recorded} == {"HARVESTER_TOKEN"}


def test_at_this_machine_nobody_needs_to_sign_in(site: DoorSite) -> None:
    here = requests.Session()
    assert go(here, f"{site.url}/").text == "Dagster at /" and change(site, here) == 200
    here.cookies.update(inside(site).cookies)
    assert change(site, here) == 200
    assert [doer.name for doer, _ in site.recorded] == ["local", WHO]


def test_a_socket_ends_with_its_session(site: DoorSite) -> None:
    who = inside(site)
    cookie = {"Cookie": f"harvester_door={who.cookies['harvester_door']}"}
    client = TestClient(site.login(DAGSTER, looks=0.05), base_url=site.url, client=("192.0.2.9", 1))
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(socket_of(site)):
        pass
    with client.websocket_connect(socket_of(site), headers=cookie) as opened:
        assert opened.receive_text() == "heard"
        who.post(f"{site.pages.url}/logout", timeout=30)
        with pytest.raises(WebSocketDisconnect) as ended:
            opened.receive_text()
    assert ended.value.code == 1008
    with pytest.raises(WebSocketDisconnect), client.websocket_connect(socket_of(site), headers=cookie):
        pass


def test_a_socket_lasts_as_long_as_its_session_and_ends_by_itself(site: DoorSite) -> None:
    cookie = {"Cookie": f"harvester_door={inside(site).cookies['harvester_door']}"}
    client = TestClient(site.login(DAGSTER, looks=0.01), base_url=site.url, client=("192.0.2.9", 1))
    with client.websocket_connect(socket_of(site), headers=cookie) as opened:
        assert opened.receive_text() == "heard"
        opened.send_text("enough")
        assert opened.receive()["type"] == "websocket.close"


@pytest.mark.parametrize(
    ("web", "key"),
    [
        ({"dagster_url": "https://h.example/dagster"}, "web.dagster_url"),
        ({"dagster_url": "https://h.example", "public_url": "https://h.example"}, "web.dagster_url"),
        ({"dagster_url": "ftp://h.example"}, "web.dagster_url"),
        ({"dagster_url": "http://h.example", "login": True}, "web.dagster_url"),
        ({"dagster_url": "http://d.example"}, None),
        ({"dagster_url": "https://h.example:8443/", "login": True}, None),
    ],
)
def test_an_address_of_dagsters_ui_that_cannot_work_is_a_mistake(web: dict[str, Any], key: str | None) -> None:
    login = {"issuer": "https://i.example", "client_id": "c", "scopes": {"a": ["operate"]}}
    written = {"public_url": "https://h.example", **web}
    if written.pop("login", False):
        written["login"] = login
    with pytest.raises(ConfigError, match=key) if key else contextlib.nullcontext():
        found = config.parse({"web": written})
        assert tickets.are_used(found.web) == ("login" in written)
    assert not tickets.are_used(Web(dagster_url="https://d.example"))


def test_the_pages_name_no_way_to_a_door_that_there_is_not(
    open_world: OpenWorld, provider: SigningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(open_world, provider, monkeypatch) as pages:
        challenge = tickets.challenge_of("verifier")
        assert somebody().get(f"{pages.url}/door", params={"challenge": challenge}, timeout=30).status_code == 404
