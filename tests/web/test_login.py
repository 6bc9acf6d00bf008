"""People who sign in at a provider of OpenID Connect, and what they may then, from beyond this machine."""

import asyncio
import contextlib
import dataclasses
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from playwright.sync_api import Page, expect
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from harvester_dagster import config
from harvester_dagster.config import Web
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.failures import TransientError
from harvester_dagster.publication import audit
from harvester_dagster.store.database import open_reading_pool
from harvester_dagster.web import guard
from harvester_dagster.web import serving as all_pages
from harvester_dagster.web.app import create_app
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.login_pages import LoginPages
from harvester_dagster.web.login_provider import NotSignedIn, Provider
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.own_path import own_path
from harvester_dagster.web.sessions import LASTS, Sessions, SignedIn
from tests.served import served
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, NIGHT, World
from tests.web import signing_provider
from tests.web.listening import opened_page
from tests.web.signing_provider import CLIENT, SECRET, UNKNOWN, SigningProvider, signing
from tests.web.test_operator_pages import Here, asked_back, rejected

__all__ = ["open_world", "source"]
ELSEWHERE = {"X-Forwarded-For": "192.0.2.9"}
"""What a proxy passes on that nobody has named as trusted: no request of this machine."""
WHO = "person:anna (u-1)"


class LoginSite(NamedTuple):
    url: str
    world: World
    provider: SigningProvider


class Clock:
    now = NIGHT


@pytest.fixture
def provider() -> Iterator[SigningProvider]:
    with signing(lambda: NIGHT) as found:
        yield found


@pytest.fixture
def site(open_world: OpenWorld, provider: SigningProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoginSite]:
    with serving(open_world, provider, monkeypatch) as found:
        yield found


class NoRuns(Here):
    """Nothing is begun."""

    def __init__(self) -> None:
        """Over no world."""

    def launch(self, endpoint: str, mode: str, request: int) -> None:
        raise AssertionError(endpoint, mode, request)


class serving:
    """The pages with a login, at an address that is known before they listen."""

    def __init__(
        self, open_world: OpenWorld, provider: SigningProvider, monkeypatch: pytest.MonkeyPatch, **web: Any
    ) -> None:
        self._open_world, self._provider, self._web = open_world, provider, web
        monkeypatch.setenv("LOGIN_SECRET", SECRET)
        monkeypatch.setenv("HARVESTER_TOKEN", "a-token")

    def __enter__(self) -> LoginSite:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        login = {
            "issuer": self._provider.url,
            "client_id": CLIENT,
            "client_secret_env": "LOGIN_SECRET",
            "scopes": {"operators": ["operate"], "editors": ["overwrite"]},
        }
        web = {"public_url": f"http://localhost:{port}", "login": login, **self._web}
        host = self._provider.url.removeprefix("http://")
        world = self._open_world(
            min_documents=0, installed={"web": web, "network": {"allow_hosts": [host, "127.0.0.1"]}}
        )
        self._provider.clock = world.installation.clock
        sessions = Sessions(world.installation.config.web, world.installation.pool, world.installation.clock)
        routes = [
            *OperatorPages(world.installation, Here(world), "").routes(),
            *DocumentPages(world.installation, "").routes(),
            *LoginPages(world.installation, sessions).routes(),
        ]
        self._served = served(create_app(world.installation.config.web, routes, sessions), port=port)
        self._served.__enter__()
        return LoginSite(f"http://localhost:{port}", world, self._provider)

    def __exit__(self, *_: object) -> None:
        self._served.__exit__(None, None, None)


@pytest.fixture
def page() -> Iterator[Page]:
    with opened_page() as found:
        found.set_extra_http_headers(ELSEWHERE)
        yield found


def somebody() -> requests.Session:
    """Whose requests come from beyond this machine, and who has no session yet."""
    made = requests.Session()
    made.headers.update(ELSEWHERE)
    return made


def signed_in(site: LoginSite, then: str = "/") -> tuple[requests.Session, requests.Response]:
    who = somebody()
    return who, who.get(f"{site.url}/login", params={"next": then}, timeout=30)


ADMITTED = 409
"""There is no candidate to dismiss, which is said to whoever may dismiss one."""


def press(site: LoginSite, who: requests.Session, **headers: str) -> int:
    form = {"attempt": "2"}
    return who.post(f"{site.url}/set/{KEY}/dismiss", data=form, headers=headers, timeout=30).status_code


def acts(site: LoginSite) -> list[tuple[str, str, str]]:
    with site.world.installation.pool.connection() as connection:
        return [(row.actor, row.act, row.address) for row in reversed(audit.rows(connection))]


def test_a_person_signs_in_acts_in_their_own_name_and_leaves(site: LoginSite, page: Page) -> None:
    rejected(site.world)
    page.goto(f"{site.url}/set/{KEY}/")
    dismiss = page.get_by_role("button", name="Dismiss", include_hidden=True)
    expect(page.get_by_role("heading", level=1)).to_have_text(KEY)
    expect(dismiss).to_have_count(0)
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("link", name="I am Anna").click()
    expect(page).to_have_url(f"{site.url}/set/{KEY}/")
    expect(page.get_by_role("navigation")).to_contain_text("anna (u-1)")
    (cookie,) = [each for each in page.context.cookies() if each["name"] == "harvester_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["secure"]) == (True, "Lax", False)
    asked_back(page, "Dismiss")
    expect(dismiss).to_have_count(0)
    copied = {"Cookie": f"harvester_session={cookie['value']}"}
    assert press(site, somebody(), **copied) == ADMITTED, "a copy is as good, as long as the session lasts"
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("main")).to_contain_text("At the login provider 127.0.0.1 you are still signed in")
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    assert press(site, somebody(), **copied) == 403, "a copy of the cookie is worth nothing either"
    assert [(actor, act) for actor, act, _ in acts(site)] == [
        (WHO, "sign in"),
        (WHO, "dismiss"),
        (WHO, "dismiss"),
        (WHO, "sign out"),
    ]


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"aud": "another"}, "aud"),
        ({"aud": [CLIENT, "another"]}, "azp"),
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"exp": int(NIGHT.timestamp()) - 61}, "expired"),
        ({"exp": None}, "exp"),
        ({"iat": int(NIGHT.timestamp()) + 61}, "iat|issued"),
        ({"sub": None}, "sub"),
        ({"groups": ["others"]}, "may nothing here"),
        ({"groups": {"operators": True}}, "may nothing here"),
        ({"groups": None}, "may nothing here"),
    ],
)
def test_what_is_said_of_a_person_is_proved(site: LoginSite, claims: dict[str, Any], said: str) -> None:
    site.provider.claims = claims
    who, answer = signed_in(site)
    assert answer.status_code == 403
    assert any(part in answer.text for part in said.split("|")), answer.text
    assert press(site, who) == 403 and acts(site) == []


@pytest.mark.parametrize(
    "token",
    [
        signing_provider.unsigned,
        signing_provider.by_another_key,
        signing_provider.by_an_unknown_key,
        signing_provider.by_the_public_key_as_a_secret,
        signing_provider.altered,
        lambda _claims: "no.token.at all",
        lambda _claims: "",
    ],
)
def test_a_token_that_the_provider_has_not_signed_is_none(
    site: LoginSite, token: Callable[[dict[str, Any]], str]
) -> None:
    site.provider.token = token
    who, answer = signed_in(site)
    assert answer.status_code == 403 and "not proved" in answer.text
    assert press(site, who) == 403 and acts(site) == []


def test_clocks_may_differ_by_a_minute(site: LoginSite) -> None:
    now = int(NIGHT.timestamp())
    for claims in ({"exp": now - 59}, {"iat": now + 59}, {"aud": [CLIENT]}, {"groups": "operators"}):
        site.provider.claims = claims
        who, answer = signed_in(site)
        assert (answer.status_code, press(site, who)) == (200, ADMITTED), claims


def person_of(provider: Provider) -> str:
    asked = provider.asked()
    back = requests.get(asked.address, allow_redirects=False, timeout=30).headers["Location"]
    (code,) = parse_qs(urlsplit(back).query)["code"]
    return provider.person(code, asked.nonce, asked.verifier).name


def test_a_new_key_of_the_provider_is_asked_for_and_not_too_often(site: LoginSite) -> None:
    of = site.world.installation
    eager, patient = (Provider(of.config.web, of.outside, of.clock, keys_again=seconds) for seconds in (0.0, 3_600.0))
    assert person_of(eager) == person_of(patient) == WHO
    site.provider.keys = [UNKNOWN]
    site.provider.token = signing_provider.by_an_unknown_key
    assert person_of(eager) == WHO
    with pytest.raises(NotSignedIn, match="not proved"):
        person_of(patient)
    site.provider.token = None
    with pytest.raises(NotSignedIn, match="not proved"):
        person_of(eager)


def test_a_code_is_worth_nothing_without_what_it_was_asked_with(site: LoginSite) -> None:
    of = site.world.installation
    provider = Provider(of.config.web, of.outside, of.clock)
    asked = provider.asked()
    requests.get(asked.address, allow_redirects=False, timeout=30)
    with pytest.raises(NotSignedIn, match="did not answer as it should"):
        provider.person("code-0", asked.nonce, asked.verifier[:-1] + "x")


def begun(site: LoginSite) -> tuple[requests.Session, str]:
    """Somebody at the provider, and where it sends them back to."""
    who = somebody()
    there = who.get(f"{site.url}/login", allow_redirects=False, timeout=30)
    back = who.get(there.headers["Location"], allow_redirects=False, timeout=30)
    return who, back.headers["Location"]


def test_a_login_ends_in_the_browser_in_which_it_was_begun_and_once(site: LoginSite) -> None:
    who, back = begun(site)
    assert somebody().get(back, timeout=30).status_code == 400, "in another browser"
    assert who.get(back.replace("state=", "state=x"), timeout=30).status_code == 400
    assert who.get(back, timeout=30).status_code == 400, "what came back wrong is over"
    who, back = begun(site)
    other, _ = begun(site)
    assert other.get(back, timeout=30).status_code == 400, "the state of somebody else's login"
    assert who.get(back, timeout=30).status_code == 200
    assert who.get(back, timeout=30).status_code == 400, "twice"
    who, back = begun(site)
    site.world.forward(timedelta(minutes=10))
    assert who.get(back, timeout=30).status_code == 400, "too long ago"
    who, back = begun(site)
    assert who.get(f"{back}&iss=https://elsewhere.example", timeout=30).status_code == 400
    who, back = begun(site)
    refused = who.get(back.replace("code=", "error=access_denied%1b&nocode="), timeout=30)
    assert refused.status_code == 403 and "access_denied" in refused.text and "\x1b" not in refused.text


def test_a_login_that_was_begun_costs_the_provider_one_question(site: LoginSite) -> None:
    who, back = begun(site)
    cookie = f"harvester_login={who.cookies['harvester_login']}"
    copies = [somebody().get(back, headers={"Cookie": cookie}, allow_redirects=False, timeout=30) for _ in range(3)]
    assert [copy.status_code for copy in copies] == [303, 400, 400]
    assert "come back already" in copies[1].text and len(site.provider.shown) == 1


def test_a_few_ask_the_provider_at_a_time_and_the_next_is_told(site: LoginSite) -> None:
    of = site.world.installation
    provider = Provider(of.config.web, of.outside, of.clock)
    assert person_of(provider) == WHO
    site.provider.held, site.provider.shown = threading.Event(), []

    def ask() -> None:
        with contextlib.suppress(NotSignedIn):  # it was held for longer than one waits
            provider.person("code", "nonce", "verifier")

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    begun = time.monotonic()
    while len(site.provider.shown) < len(asking):
        assert time.monotonic() < begun + 60
        time.sleep(0.01)
    with pytest.raises(NotSignedIn, match="many sign in just now"):
        provider.person("code", "nonce", "verifier")
    site.provider.held.set()
    for each in asking:
        each.join()
    site.provider.held = None
    assert len(site.provider.shown) == 4 and person_of(provider) == WHO


def test_a_provider_that_is_away_is_one_sentence_and_a_token_needs_none(site: LoginSite) -> None:
    site.provider.is_away = True
    answer = somebody().get(f"{site.url}/login", timeout=60)
    assert answer.status_code == 502
    assert "the login provider 127.0.0.1 did not answer as it should" in answer.text
    assert "a token needs no provider" in answer.text
    assert press(site, somebody(), Authorization="Bearer a-token") == ADMITTED
    site.provider.is_away = False
    begun = time.monotonic()
    while signed_in(site)[1].status_code != 200:
        assert time.monotonic() < begun + 60, "it is asked again in a while"
        time.sleep(0.2)


def test_a_provider_that_wants_to_be_left_alone_holds_nobody_for_long(site: LoginSite) -> None:
    """Neither who asks now, nor, once it answers again, who comes later; whatever it was that asked for a day."""
    who, back = begun(site)
    site.provider.asks_for = 86_400
    asked_at = time.monotonic()
    refused = who.get(back, timeout=30)
    assert refused.status_code == 403 and "asks to be left alone for 86400 seconds" in refused.text
    assert somebody().get(f"{site.url}/login", timeout=30).status_code == 502
    assert time.monotonic() < asked_at + 4, "nobody waits"
    assert len(site.provider.shown) == 1
    site.provider.asks_for = 0
    while signed_in(site)[1].status_code != 200:
        assert time.monotonic() < asked_at + 20
        time.sleep(0.2)


def test_what_others_have_asked_of_its_host_holds_nobody(site: LoginSite) -> None:
    site.provider.asks_for = 3_600
    with pytest.raises(TransientError):
        site.world.installation.outside.get(f"{site.provider.url}/.well-known/openid-configuration", attempts=1)
    site.provider.asks_for = 0
    assert signed_in(site)[1].status_code == 200


def test_who_signs_out_does_so_at_the_provider_where_it_has_a_way(site: LoginSite, page: Page) -> None:
    site.provider.document = {"end_session_endpoint": f"{site.provider.url}/leave?realm=a"}
    page.goto(f"{site.url}/login")
    page.get_by_role("link", name="I am Anna").click()
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("link", name="I leave").click()
    expect(page).to_have_url(f"{site.url}/logout")
    expect(page.get_by_role("main")).to_contain_text("The login provider 127.0.0.1 was asked to end its own")
    back = {"client_id": CLIENT, "post_logout_redirect_uri": f"{site.url}/logout"}
    assert site.provider.left == [{"realm": "a", **back}], "nothing that tells of a person"
    page.get_by_role("link", name="Sign in").click()
    page.get_by_role("link", name="I am Anna").click()
    expect(page).to_have_url(f"{site.url}/")


def test_our_session_ends_wherever_the_provider_is(site: LoginSite) -> None:
    who, _ = signed_in(site)
    cookie = f"harvester_session={who.cookies['harvester_session']}"
    of = site.world.installation
    fresh = LoginPages(of, Sessions(of.config.web, of.pool, of.clock))
    site.provider.is_away = True
    sessions = Sessions(of.config.web, of.pool, of.clock)
    with served(create_app(of.config.web, fresh.routes(), sessions)) as url:
        out = somebody().post(f"{url}/logout", headers={"Cookie": cookie}, timeout=60)
        assert (out.status_code, out.url) == (200, f"{url}/logout") and "or is away" in out.text
    assert press(site, somebody(), Cookie=cookie) == 403


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "http://127.0.0.1:1"},
        {"end_session_endpoint": "http://elsewhere.example/leave"},
        {"end_session_endpoint": "javascript:alert(1)"},
        {"token_endpoint": "http://elsewhere.example/token"},
        {"jwks_uri": "ftp://x"},
        {"token_endpoint": None},
    ],
)
def test_a_provider_that_says_nonsense_of_itself_is_not_used(site: LoginSite, document: dict[str, Any]) -> None:
    site.provider.document = document
    answer = somebody().get(f"{site.url}/login", timeout=60)
    assert answer.status_code == 502 and "the login provider" in answer.text


def test_a_session_ends_and_each_login_is_a_new_one(site: LoginSite) -> None:
    who, _ = signed_in(site)
    first = who.cookies["harvester_session"]
    assert press(site, who) == ADMITTED
    who.get(f"{site.url}/login", timeout=30)
    assert who.cookies["harvester_session"] != first
    site.world.forward(LASTS - timedelta(seconds=1))
    assert press(site, who) == ADMITTED
    site.world.forward(timedelta(seconds=1))
    assert press(site, who) == 403
    assert who.post(f"{site.url}/logout", timeout=30).status_code == 200
    for forged in ("", "x", f"{first}x", first.partition(".")[0], "e30.e30"):
        assert press(site, somebody(), Cookie=f"harvester_session={forged}") == 403


def test_a_session_is_for_pages_of_ours_and_its_scopes_alone(site: LoginSite) -> None:
    who, _ = signed_in(site)
    assert press(site, who, **{"Sec-Fetch-Site": "cross-site"}) == 403
    assert press(site, who, Origin="http://elsewhere.example") == 403
    assert who.post(f"{site.url}/logout", headers={"Origin": "http://elsewhere.example"}, timeout=30).status_code == 403
    assert press(site, who, Host="elsewhere.example") == 403
    assert who.put(f"{site.url}/api/v1/overwrite/x/", json={}, timeout=30).status_code == 403, "the API needs a token"
    site.provider.claims = {"groups": ["editors"]}
    editor, answer = signed_in(site, f"/set/{KEY}/")
    assert "<button>Harvest now</button>" not in answer.text and "Sign out" in answer.text
    assert press(site, editor) == 403
    assert "<button>Harvest now</button>" in who.get(f"{site.url}/set/{KEY}/", timeout=30).text
    assert editor.post(f"{site.url}/logout", timeout=30).status_code == 200, "whoever is in may leave"


def test_to_overwrite_takes_its_scope_and_no_other(site: LoginSite) -> None:
    site.world.source.put("a")
    site.world.night()
    page, path = f"{site.url}/document/?srn={KEY}:a", f"{site.url}/document/overwrite"
    fields = {"srn": f"{KEY}:a", "fields": '{"title": "x"}'}
    operator, _ = signed_in(site)
    assert "<button>Overwrite</button>" not in operator.get(page, timeout=30).text
    assert {operator.post(url, data=fields, timeout=30).status_code for url in (path, f"{path}/clear")} == {403}
    site.provider.claims = {"groups": ["editors"]}
    editor, _ = signed_in(site)
    assert "<button>Overwrite</button>" in editor.get(page, timeout=30).text
    assert editor.post(path, data=fields, timeout=30).status_code == 200
    assert "Take it away" in editor.get(page, timeout=30).text
    listed = "Its overwrites, newest first"
    assert listed in editor.get(page, timeout=30).text and listed not in operator.get(page, timeout=30).text
    assert listed not in requests.get(page, timeout=30, headers={"Host": "harvester.example"}).text
    assert editor.post(f"{path}/clear", data=fields, timeout=30).status_code == 200
    assert [act for _, act, _ in acts(site) if act != "sign in"] == ["overwrite", "clear overwrite"]


def test_the_address_of_a_person_is_what_a_trusted_proxy_says(
    open_world: OpenWorld, provider: SigningProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(open_world, provider, monkeypatch, trusted_proxies=["127.0.0.1"]) as site:
        signed_in(site)
        assert acts(site) == [(WHO, "sign in", "192.0.2.9")]


def test_nobody_is_led_away(site: LoginSite) -> None:
    for then in ("//elsewhere.example", "https://elsewhere.example/", "/\\elsewhere.example"):
        _, answer = signed_in(site, then)
        assert answer.url == f"{site.url}/", then
    assert signed_in(site, "/versions/?a=b")[1].url == f"{site.url}/versions/?a=b"


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "//e.example", "///e.example", "/\\e.example", "\\\\e.example", "https:e.example", "/\t/e.example"),
        *("/\n", "javascript:alert(1)", "http://[", "/x\r\nSet-Cookie: a=b", "/" + "x" * 3_000, "/é\u202e"),
        *("/login", "/login?next=/", "/login/callback?state=a&code=b", "/login#x"),
    ],
)
def test_what_is_no_path_of_ours_leads_to_the_night(text: str) -> None:
    assert own_path(text) == "/"
    assert own_path("/loginx/?a=/login") == "/loginx/?a=/login"


def test_cookies_go_by_https_alone_where_browsers_come_by_it(site: LoginSite, monkeypatch: pytest.MonkeyPatch) -> None:
    web = site.world.installation.config.web.model_copy(update={"public_url": "https://h.example"})
    answer = Response()
    sessions = Sessions(web, site.world.installation.pool, site.world.installation.clock)
    sessions.begin(answer, WHO, ["operators"])
    (session,) = answer.headers.getlist("set-cookie")
    assert session.startswith("__Host-harvester_session=")
    for part in ("HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in session
    assert "Max-Age=28800" in session
    request = Request({"type": "http", "headers": [(b"cookie", session.partition(";")[0].encode())], "client": None})
    found = sessions.actor(request)
    assert found is not None and found.scopes == {"operate"}
    fewer = web.model_copy(update={"login": web.login.model_copy(update={"scopes": {}})})
    later = Sessions(fewer, site.world.installation.pool, site.world.installation.clock).actor(request)
    assert later is not None and later.scopes == frozenset(), "what the configuration takes away is gone"


def test_cookies_are_for_https_however_it_is_written(site: LoginSite) -> None:
    web = site.world.installation.config.web.model_copy(update={"public_url": "HTTPS://h.example"})
    answer = Response()
    Sessions(web, site.world.installation.pool, site.world.installation.clock).begin(answer, WHO, ["operators"])
    assert all("; Secure" in each for each in answer.headers.getlist("set-cookie"))


@pytest.mark.parametrize(
    ("of_web", "of_login"),
    [
        ({"public_url": "http://localhost:1"}, {}),
        ({}, {"issuer": "https://elsewhere.example"}),
        ({}, {"client_id": "another"}),
        ({}, {"claim": "roles"}),
    ],
)
def test_a_session_is_for_one_installation_and_provider(
    site: LoginSite, of_web: dict[str, str], of_login: dict[str, str]
) -> None:
    of, web = site.world.installation, site.world.installation.config.web
    answer = Response()
    Sessions(web, of.pool, of.clock).begin(answer, WHO, ["operators"])
    cookie = answer.headers.getlist("set-cookie")[0].partition(";")[0]
    request = Request({"type": "http", "headers": [(b"cookie", cookie.encode())], "client": None})
    assert Sessions(web, of.pool, of.clock).of(request) is not None
    other = web.model_copy(update={"login": web.login.model_copy(update=of_login), **of_web})
    assert Sessions(other, of.pool, of.clock).of(request) is None


def cookie_of(sessions: Sessions) -> bytes:
    answer = Response()
    sessions.begin(answer, WHO, ["operators"])
    return answer.headers.getlist("set-cookie")[0].partition(";")[0].encode()


def test_nobody_is_signed_in_while_the_store_is_away(site: LoginSite) -> None:
    of = site.world.installation
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens there
        pool = open_reading_pool(f"postgresql://127.0.0.1:{taken.getsockname()[1]}/x")
        sessions = Sessions(of.config.web, pool, of.clock)
        headers = [(b"cookie", cookie_of(sessions))]
        assert sessions.actor(Request({"type": "http", "headers": headers, "client": None})) is None
        pool.close()


@pytest.mark.parametrize(
    ("path", "is_asked"),
    [("/", True), ("/set/x/", True), ("/static/a.css", False), ("/api/x", False), ("/webhook/x", False)],
)
def test_a_session_is_looked_up_for_pages_alone(site: LoginSite, path: str, is_asked: bool) -> None:
    of = site.world.installation
    sessions = Sessions(of.config.web, of.pool, of.clock)
    scope = {"type": "http", "path": path, "headers": [(b"cookie", cookie_of(sessions))], "client": None}
    known: list[bool] = []

    async def answer(scope: Scope, _receive: Receive, _send: Send) -> None:
        known.append(guard.PERSON in scope)

    async def receive() -> Message:
        raise AssertionError("nobody reads the request")

    async def send(_message: Message) -> None:
        raise AssertionError("nobody answers")

    asyncio.run(SignedIn(answer, sessions)(scope, receive, send))
    assert known == [is_asked]


def test_it_is_served_beside_all_pages(site: LoginSite) -> None:
    installation = site.world.installation
    web = installation.config.web.model_copy(update={"port": 0})
    own = dataclasses.replace(installation, config=installation.config.model_copy(update={"web": web}))
    with all_pages.served(own, NoRuns()) as url:
        there = somebody().get(f"{url}/login", allow_redirects=False, timeout=30)
        assert there.status_code == 303 and there.headers["Location"].startswith(f"{site.provider.url}/authorize?")
        text = somebody().get(f"{url}/audit/?x=y", timeout=30).text
        assert 'href="/login?next=/audit/%3Fx%3Dy"' in text and 'method="post"' not in text


def test_the_way_to_the_provider_says_what_is_asked(site: LoginSite) -> None:
    answer = somebody().get(f"{site.url}/login", allow_redirects=False, timeout=30)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(answer.headers["Location"]).query).items()}
    assert asked["redirect_uri"] == f"{site.url}/login/callback" and asked["scope"].split()[0] == "openid"
    assert answer.headers["Cache-Control"] == "no-store"
    again = somebody().get(f"{site.url}/login", allow_redirects=False, timeout=30)
    other = {name: value for name, (value,) in parse_qs(urlsplit(again.headers["Location"]).query).items()}
    assert all(len(asked[name]) >= 43 and asked[name] != other[name] for name in ("state", "nonce", "code_challenge"))


@pytest.mark.parametrize(
    ("login", "key"),
    [
        ({"issuer": "https://i.example"}, "web.login.client_id"),
        ({"issuer": "http://i.example", "client_id": "c", "scopes": {"a": ["operate"]}}, "web.login.issuer"),
        ({"issuer": "https://i.example", "client_id": "c", "scopes": {"a": ["operate"]}}, "web.public_url"),
        ({"scopes": {"a": ["all"]}}, "web.login.scopes.a"),
    ],
)
def test_a_login_that_cannot_work_is_a_mistake_of_the_configuration(login: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        config.parse({"web": {"login": login}})
    assert Web().login.issuer == ""


@pytest.mark.parametrize(
    ("public_url", "is_taken"),
    [
        ("http://h.example", False),
        ("HTTP://h.example:80/x", False),
        ("http://127.0.0.1.example", False),
        ("https://h.example", True),
        ("http://localhost:3001", True),
        ("http://[::1]:3001", True),
    ],
)
def test_a_session_goes_over_the_net_by_https_alone(public_url: str, is_taken: bool) -> None:
    login = {"issuer": "https://i.example", "client_id": "c", "scopes": {"a": ["operate"]}}
    with contextlib.nullcontext() if is_taken else pytest.raises(ConfigError, match="could be read on the way"):
        config.parse({"web": {"public_url": public_url, "login": login}})
    config.parse({"web": {"public_url": public_url}})
