"""What goes wrong is told as a page like all others, or as JSON to a program; no answer is without its headers."""

from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

import pytest
import requests
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import BaseRoute, Mount, Route

from harvester_dagster.config import Web
from harvester_dagster.failures import HarvesterError, StorageError, TransientError
from harvester_dagster.store.database import open_pool
from harvester_dagster.store.locks import Busy
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import MOST_BYTES, create_app
from harvester_dagster.web.page_frame import PageFrame
from harvester_dagster.web.webhook import Webhook
from tests.served import served
from tests.sets.conftest import OpenWorld, open_world, source

__all__ = ["open_world", "source"]
DAGSTER = "http://dagster.example:3000"
SENT_BY_A_PAGE_ELSEWHERE = {"Origin": "http://elsewhere.example", "Sec-Fetch-Site": "cross-site"}
ERRORS: dict[str, tuple[Exception, int, str, str]] = {
    "/busy": (Busy("a harvest goes on", "wait until it has ended"), 409, "a harvest goes on.", "Wait until it has"),
    "/storage": (StorageError("full", "the bucket is full"), 503, "the bucket is full", "The night"),
    "/outside": (TransientError("timeout", "example.org is silent"), 502, "example.org is silent", "The night"),
    "/mendable": (HarvesterError("no such mapping", "name another"), 500, "no such mapping.", "Name another."),
    "/disk": (OSError(28, "No space left on device"), 503, "a disk is full: No space left", "Make room"),
    "/bug": (ZeroDivisionError("a secret of it"), 500, "a mistake in this program", "Its log says more"),
}


def raising(error: Exception) -> Any:
    def answer(request: Request) -> NoReturn:
        raise error

    return answer


async def takes(request: Request) -> NoReturn:
    await request.body()
    raise AssertionError("it was read to its end")


def broken_off(request: Request) -> StreamingResponse:
    def parts() -> Iterator[bytes]:
        yield b"a beginning"
        raise ZeroDivisionError

    return StreamingResponse(parts())


@pytest.fixture
def url(open_world: OpenWorld, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("HARVESTER_TOKEN", "a-token")
    installation = open_world().installation
    pool = open_pool(database, max_size=1)

    def waiting(request: Request) -> NoReturn:
        with pool.connection(), pool.connection(timeout=0.05):
            raise AssertionError("there are two")

    routes: list[BaseRoute] = [Route(path, raising(error)) for path, (error, *_) in ERRORS.items()]
    routes += [Route("/pool", waiting), Route("/takes", takes, methods=["POST"]), Route("/broken-off", broken_off)]
    routes += [*Webhook(installation).routes(), Mount(PATH, consumer_api(installation))]
    web = Web(public_url="http://localhost", tokens={})
    with served(create_app(web, routes, frame=PageFrame(ZoneInfo("Europe/Amsterdam"), DAGSTER))) as found:
        yield found
    pool.close()


def ask(url: str, path: str, method: str = "GET", accept: str = "text/html", **asked: Any) -> requests.Response:
    headers = {"Accept": accept, **asked.pop("headers", {})}
    answer = requests.request(method, urljoin(url, path), headers=headers, timeout=30, **asked)
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"], path
    assert (answer.headers["X-Content-Type-Options"], answer.headers["Referrer-Policy"]) == ("nosniff", "same-origin")
    return answer


def is_page(answer: requests.Response) -> bool:
    return f'href="{DAGSTER}"' in answer.text and 'href="/failures/"' in answer.text and "<h1>" in answer.text


@pytest.mark.parametrize("path", ERRORS)
def test_whatever_goes_wrong_is_a_page_that_says_what_mends_it(url: str, path: str) -> None:
    _, status, said, mend = ERRORS[path]
    answer = ask(url, path)
    assert (answer.status_code, is_page(answer)) == (status, True)
    assert answer.headers.get("Retry-After") == ("10" if status == 503 else None)
    assert said in answer.text and mend in answer.text
    assert ("a secret" in answer.text, "ZeroDivisionError" in answer.text) == (False, False)
    asked_by_a_program = ask(url, path, accept="application/json")
    assert asked_by_a_program.status_code == status
    assert [*asked_by_a_program.json()] == ["error"]


def test_a_store_that_gives_no_connection_is_told_with_what_to_do(url: str) -> None:
    answer = ask(url, "/pool")
    assert (answer.status_code, is_page(answer)) == (503, True)
    assert "gave no connection in time" in answer.text and "Ask again in a minute" in answer.text
    assert "HARVESTER_POSTGRES_URL" not in answer.text and "store.postgres_url_env" in answer.text


@pytest.mark.parametrize(
    ("method", "path", "status", "said"),
    [
        ("GET", "/nowhere", 404, "Nothing is at /nowhere"),
        ("GET", "/static/nowhere.css", 404, "Nothing is at /static/nowhere.css"),
        ("GET", "/%1b%5b2J%E2%80%AE%3Cb%3E", 404, r"\u202e&lt;b&gt;"),
        ("GET", "/takes", 405, "/takes does not take GET"),
        ("POST", "/static/style.css", 405, "does not take POST"),
    ],
)
def test_what_is_not_there_is_told_as_a_page(url: str, method: str, path: str, status: int, said: str) -> None:
    answer = ask(url, path, method)
    assert (answer.status_code, is_page(answer)) == (status, True)
    assert said in answer.text and "\x1b" not in answer.text
    if path == "/takes":
        assert answer.headers["Allow"] == "POST"


def test_what_is_not_allowed_and_what_is_too_long_is_told_as_a_page(url: str) -> None:
    refused = ask(url, "/takes", "POST", headers=SENT_BY_A_PAGE_ELSEWHERE)
    assert (refused.status_code, is_page(refused)) == (403, True)
    assert "must come from a page of this application" in refused.text
    long = ask(url, "/takes", "POST", data=b"x" * (MOST_BYTES + 1))
    assert (long.status_code, is_page(long)) == (413, True) and "1,048,576 bytes" in long.text


def test_an_answer_that_has_begun_is_cut_off(url: str) -> None:
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        ask(url, "/broken-off")


def test_the_api_tells_it_as_problems(url: str) -> None:
    token = {"Authorization": "Bearer a-token"}
    for answer, status in (
        (ask(url, "/api/nowhere"), 404),
        (ask(url, "/api/v1/nowhere"), 404),
        (ask(url, "/api/v1/product/", "POST"), 403),
        (ask(url, "/api/v1/product/", "POST", headers=token), 405),
        (ask(url, "/api/v1/overwrite/x/", "PUT", headers=token, data=b" " * (MOST_BYTES + 1)), 413),
        (ask(url, "/api/v1/product/?limit=x"), 400),
    ):
        assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json"), answer.url
        assert answer.json().items() >= {"type": "about:blank", "status": status}.items()
        assert answer.json()["title"]


def test_a_webhook_is_told_in_json(url: str) -> None:
    answer = ask(url, "/webhook/products/src:one/x/", "POST", data=b"x" * (MOST_BYTES + 1))
    assert answer.json() == {"error": "there is no such set, or this is not its secret, or not its address"}
    assert ask(url, "/webhook/products/src:one/x/").json() == {"error": "/webhook/products/src:one/ does not take GET"}
