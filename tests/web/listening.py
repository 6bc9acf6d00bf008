"""Pages on a port of their own, as long as a block lasts."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from playwright.sync_api import ConsoleMessage, Page, ViewportSize
from starlette.routing import BaseRoute

from harvester_dagster.config import Web
from harvester_dagster.web.app import create_app
from tests.browser import chromium
from tests.served import served

PHONE: ViewportSize = {"width": 390, "height": 844}


@contextmanager
def listening(routes: Sequence[BaseRoute], web: Web | None = None) -> Iterator[str]:
    """Their address."""
    with served(create_app(web or Web(), routes)) as url:
        yield url


@contextmanager
def opened_page() -> Iterator[Page]:
    """A page of a browser, and at the end that nothing went wrong in it; an answer that a test asked for is none."""
    with chromium() as browser:
        found = browser.new_page()
        problems: list[str] = []
        found.on("pageerror", lambda error: problems.append(str(error)))
        found.on("console", lambda message: problems.append(message.text) if is_problem(message) else None)
        yield found
        assert problems == []


def is_problem(message: ConsoleMessage) -> bool:
    return message.type == "error" and not any(
        f"status of {status}" in message.text for status in (404, 409, 422, 429, 502)
    )
