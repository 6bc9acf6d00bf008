"""People who sign in with a token, beyond this machine and where there is no login provider."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, NamedTuple

import pytest
import requests
from playwright.sync_api import Page, expect
from starlette.applications import Starlette

from harvester_dagster.config import Web
from harvester_dagster.publication import audit
from harvester_dagster.web import guard
from harvester_dagster.web.app import create_app
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.page_frame import PageFrame
from harvester_dagster.web.sessions import LASTS, Sessions
from harvester_dagster.web.token_login import ALL, EACH, WITHIN, Guesses, TokenLogin, network_of
from tests.served import served
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, NIGHT, World
from tests.web.listening import opened_page
from tests.web.test_accessibility import found_by_axe
from tests.web.test_operator_pages import Here, asked_back, rejected

__all__ = ["open_world", "source"]
SECRET = "s3cret-of-the-boss-ü"
ELSEWHERE = {"X-Forwarded-For": "192.0.2.9"}
TOKENS = {
    "boss": {"token_env": "BOSS_TOKEN", "scopes": ["operate"]},
    "reader": {"token_env": "READER_TOKEN", "scopes": ["read-raw"]},
}
ADMITTED = 409
"""There is no candidate to dismiss, which is said to whoever may dismiss one."""


class TokenSite(NamedTuple):
    url: str
    world: World


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@pytest.fixture
def site(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenSite]:
    monkeypatch.setenv("BOSS_TOKEN", SECRET)
    monkeypatch.setenv("READER_TOKEN", "of-the-reader")
    url = f"http://localhost:{free_port()}"
    web = {"public_url": url, "tokens": TOKENS, "trusted_proxies": ["127.0.0.1"]}
    world = open_world(min_documents=0, installed={"web": web})
    with served(signing_in(world), port=int(url.rpartition(":")[2])):
        yield TokenSite(url, world)


def signing_in(world: World) -> Starlette:
    """The pages of a world, with the form."""
    installation = world.installation
    web, frame = installation.config.web, PageFrame(installation.config.zone, "")
    sessions = Sessions(web, installation.pool, installation.clock)
    routes = [
        *OperatorPages(installation, Here(world), "").routes(),
        *TokenLogin(installation, sessions, frame).routes(),
    ]
    return create_app(web, routes, sessions, frame)


@pytest.fixture
def page() -> Iterator[Page]:
    with opened_page() as found:
        found.set_extra_http_headers(ELSEWHERE)
        yield found


def somebody(address: str = "192.0.2.9") -> requests.Session:
    made = requests.Session()
    made.headers["X-Forwarded-For"] = address
    return made


def sign_in(site: TokenSite, token: str, who: requests.Session | None = None, **asked: Any) -> requests.Response:
    data = {"token": token, "next": asked.pop("then", "/")}
    return (who or somebody()).post(f"{site.url}/login/token", data=data, timeout=30, **asked)


def press(site: TokenSite, who: requests.Session) -> int:
    return who.post(f"{site.url}/set/{KEY}/dismiss", data={"attempt": "1"}, timeout=30).status_code


def acts(site: TokenSite) -> list[tuple[str, str, str]]:
    with site.world.installation.pool.connection() as connection:
        return [(row.actor, row.act, row.outcome) for row in reversed(audit.rows(connection))]


def test_whoever_holds_a_token_signs_in_acts_and_leaves(site: TokenSite, page: Page) -> None:
    rejected(site.world)
    page.goto(f"{site.url}/set/{KEY}/")
    expect(page.get_by_role("button", name="Harvest now")).to_have_count(0)
    page.get_by_role("link", name="Sign in").click()
    assert found_by_axe(page) == []
    page.get_by_label("Token").fill("not-it")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("No token is like this.")
    expect(page.get_by_label("Token")).to_have_value("")
    page.get_by_label("Token").fill(f" {SECRET}\n")
    page.get_by_role("button", name="Sign in").click()
    expect(page).to_have_url(f"{site.url}/set/{KEY}/")
    expect(page.get_by_role("navigation")).to_contain_text("token:boss")
    (cookie,) = page.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("harvester_session", True, "Lax")
    assert SECRET not in str(cookie["value"])
    asked_back(page, "Dismiss")
    expect(page.get_by_role("button", name="Harvest now")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    copy = somebody()
    copy.cookies.set("harvester_session", cookie["value"])
    assert press(site, copy) == 403, "a copy of the cookie is worth nothing either"
    assert acts(site) == [
        ("unknown", "sign in", "refused"),
        *(("token:boss", act, "done") for act in ("sign in", "dismiss", "sign out")),
    ]
    assert SECRET not in str(site.world.rows("SELECT * FROM audit")) and "not-it" not in str(acts(site))


def test_a_session_has_the_scopes_of_its_token_while_that_has_its_secret(
    site: TokenSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, reader = somebody(), somebody()
    assert sign_in(site, SECRET, boss).status_code == sign_in(site, "of-the-reader", reader).status_code == 200
    assert (press(site, boss), press(site, reader)) == (ADMITTED, 403)
    site.world.forward(LASTS - timedelta(seconds=1))
    assert press(site, boss) == ADMITTED
    monkeypatch.setenv("BOSS_TOKEN", "another")
    assert press(site, boss) == 403
    monkeypatch.setenv("BOSS_TOKEN", SECRET)
    assert press(site, boss) == ADMITTED
    monkeypatch.delenv("BOSS_TOKEN")
    assert press(site, boss) == 403
    monkeypatch.setenv("BOSS_TOKEN", SECRET)
    site.world.forward(timedelta(seconds=1))
    assert press(site, boss) == 403, "it is over"


def test_who_guesses_is_not_listened_to_for_a_while(site: TokenSite) -> None:
    with ThreadPoolExecutor(20) as pool:
        told = sorted(answer.status_code for answer in pool.map(lambda _: sign_in(site, "guess"), range(20)))
    assert told == [403] * EACH + [429] * (20 - EACH)
    late = sign_in(site, SECRET)
    assert (late.status_code, late.headers["Retry-After"]) == (429, "300"), "the right one neither"
    assert "none is looked at for 5 minutes" in late.text and late.headers["Cache-Control"] == "no-store"
    assert sign_in(site, SECRET, somebody("192.0.2.10")).status_code == 200, "from elsewhere it is"
    assert len(acts(site)) == EACH + 1
    site.world.forward(WITHIN)
    assert sign_in(site, SECRET).status_code == 200
    for _ in range(3 * EACH):
        assert sign_in(site, SECRET).status_code == 200, "who is right may come as often as they like"


def test_many_who_guess_together_are_not_listened_to_either() -> None:
    guesses, now = Guesses(), NIGHT
    for number in range(ALL):
        assert guesses.begin(f"192.0.2.{number}", now + timedelta(seconds=number)) is None
    assert guesses.begin("198.51.100.1", now + timedelta(seconds=ALL)) == WITHIN - timedelta(seconds=ALL)
    guesses.was_right("192.0.2.7", now + timedelta(seconds=7))
    assert guesses.begin("198.51.100.1", now + timedelta(seconds=ALL)) is None
    assert guesses.begin("198.51.100.1", now + WITHIN) is None, "the first of them is that long ago"
    assert guesses.begin("198.51.100.1", now + WITHIN) is not None


def test_all_addresses_that_one_person_has_are_one() -> None:
    assert network_of("2001:db8:1:2::1") == network_of("2001:db8:1:2:ffff::9") != network_of("2001:db8:1:3::1")
    assert (network_of("192.0.2.1"), network_of("testclient")) == ("192.0.2.1", "testclient")


def test_nobody_is_signed_in_by_another_page_or_under_another_name(site: TokenSite) -> None:
    for headers in (
        {"Origin": "http://elsewhere.example"},
        {"Origin": site.url.replace("http", "https")},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Host": "elsewhere.example"},
        {"Host": site.url.removeprefix("http://").replace("localhost", "127.0.0.1")},
    ):
        answer = sign_in(site, SECRET, headers=headers, allow_redirects=False)
        assert (answer.status_code, answer.cookies.get_dict()) == (403, {}), headers
    assert acts(site) == []
    form = somebody().get(f"{site.url}/login/token", headers={"Host": "elsewhere.example"}, timeout=30)
    assert form.status_code == 403 and f"typed in at {site.url}/login/token alone" in form.text
    for then in ("//elsewhere.example", "https://elsewhere.example/"):
        assert sign_in(site, SECRET, then=then, allow_redirects=False).headers["Location"] == "/"


def test_by_https_nobody_else_can_have_set_the_cookie(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOSS_TOKEN", SECRET)
    web = {"public_url": "https://harvester.example.org", "tokens": TOKENS}
    with served(signing_in(open_world(installed={"web": web}))) as url:
        headers = {"Host": "harvester.example.org", "Origin": "https://harvester.example.org"}
        data = {"token": SECRET, "next": "/"}
        answer = requests.post(f"{url}/login/token", data, headers=headers, allow_redirects=False, timeout=30)
    (cookie,) = [text for text in answer.headers["Set-Cookie"].split(", ") if text.startswith("__Host-harvester_s")]
    assert {"HttpOnly", "Secure", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))


def test_the_form_is_there_where_nobody_can_read_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(url: str, **more: Any) -> str:
        return guard.login_page(Web.model_validate({"public_url": url, "tokens": TOKENS, **more}))

    monkeypatch.delenv("HARVESTER_TOKEN", raising=False)
    assert offered("https://harvester.example.org") == "", "none is set"
    monkeypatch.setenv("BOSS_TOKEN", SECRET)
    assert offered("https://harvester.example.org") == offered("http://localhost:3001") == "/login/token"
    assert offered("http://harvester.example.org") == offered("") == ""
    login = {"issuer": "https://login.example.org", "client_id": "h", "scopes": {"a": ["operate"]}}
    assert offered("https://harvester.example.org", login=login) == "/login"


def test_a_right_token_is_no_guess_whatever_hinders_the_store(site: TokenSite) -> None:
    site.world.change("ALTER TABLE audit RENAME TO audit_away")
    for _ in range(EACH + 1):
        assert sign_in(site, SECRET, allow_redirects=False).status_code in (500, 503)
    site.world.change("ALTER TABLE audit_away RENAME TO audit")
    assert sign_in(site, SECRET, allow_redirects=False).status_code == 303
