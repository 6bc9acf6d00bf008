"""A page that changes by itself, in a real browser: whoever is in the middle of something stays there."""

import re
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from playwright.sync_api import Page, expect
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from harvester_dagster.config import Web
from harvester_dagster.releases import nights
from harvester_dagster.sets import steps
from harvester_dagster.web.operator_pages import OperatorPages
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY
from tests.web.listening import PHONE, listening
from tests.web.test_operator_pages import Here

__all__ = ["open_world", "source"]


NAME = re.compile("(\\w+)</a>")
HEAD = "<script src=/static/live.js defer></script><link rel=stylesheet href=/static/style.css>"


class Shown(NamedTuple):
    """A page of its own whose live parts a test writes."""

    url: str
    parts: list[str]
    asked: list[str]
    answers: threading.Event


@pytest.fixture
def shown() -> Iterator[Shown]:
    parts, asked, answers = [""], list[str](), threading.Event()

    def read(request: Request) -> Response:
        body = "".join(f"<div data-live='0.1'>{part}</div>" for part in parts)
        return HTMLResponse(f"<title>{len(parts[0])}</title>{HEAD}{body}")

    def stop(request: Request) -> Response:
        asked.append(request.url.path)
        answers.wait(10)
        return HTMLResponse("<h1>Stopped</h1>")

    with listening([Route("/", read), Route("/stop", stop, methods=["POST"])], Web()) as url:
        yield Shown(url, parts, asked, answers)


def row(name: str, said: str = "") -> str:
    cells = f"<td>{said}</td><td>{'x' * 200}</td><td><button>Retry {name}</button></td>"
    return f"<tr><th scope=row><a href='/{name}'>{name}</a></th>{cells}</tr>"


def table(*rows: str) -> str:
    return f"<div class=wide tabindex=0><table><tbody>{''.join(rows)}</tbody></table></div>"


def focused(page: Page) -> str:
    found: str = page.evaluate("document.activeElement.innerText || document.activeElement.nodeName")
    return found.strip()


def test_focus_stays_whatever_comes_and_goes_around_it(shown: Shown, page: Page) -> None:
    shown.parts[:] = [table(*(row(name, "waits") for name in "abcd"))]
    page.goto(shown.url)
    page.get_by_role("button", name="Retry c").focus()
    for rows in (
        [row("a", "works"), *(row(name) for name in "bcd")],
        [row("new"), *(row(name, "done") for name in "abcd")],
        [row("c", "first now"), row("d"), row("x")],
        [row("d"), row("c", "last")],
    ):
        shown.parts[:] = [f"<p>{len(rows)}</p>{table(*rows)}"]
        expect(page.locator("p")).to_have_text(str(len(rows)))
        assert page.get_by_role("rowheader").all_inner_texts() == [
            found[1] for found in map(NAME.search, rows) if found
        ]
        assert focused(page) == "Retry c", rows
    shown.parts[:] = [table(row("d"))]
    expect(page.get_by_role("row")).to_have_count(1)
    assert page.evaluate("document.activeElement.nodeName") == "TBODY", "it is gone: what it was part of has the focus"
    shown.parts[:] = [table(row("d"), row("f"))]
    expect(page.get_by_role("row")).to_have_count(2)
    assert page.evaluate("document.activeElement.nodeName") == "TBODY"


def test_a_place_stays_and_so_does_what_is_opened_typed_and_chosen(shown: Shown, page: Page) -> None:
    form = "<form action=/stop><input name=why><select name=mode><option>a<option>b</select></form>"

    def part(said: str) -> str:
        return f"<h1>{said}</h1>{table(row('a', said))}<details><summary>More</summary>{said}</details>{form}"

    shown.parts[:] = [part("one")]
    page.set_viewport_size(PHONE)
    page.goto(shown.url)
    page.locator(".wide").focus()
    page.evaluate("document.querySelector('.wide').scrollLeft = 300")
    page.get_by_text("More").click()
    page.locator("input").fill("as I type")
    page.locator("select").select_option("b")
    page.locator(".wide").focus()
    shown.parts[:] = [part("seventeen")]
    expect(page.get_by_role("heading")).to_have_text("seventeen")
    expect(page).to_have_title(str(len(part("seventeen"))))
    assert page.evaluate("document.activeElement.className") == "wide"
    assert page.evaluate("document.querySelector('.wide').scrollLeft") == 300
    assert page.locator("details").get_attribute("open") == ""
    expect(page.locator("input")).to_have_value("as I type")
    expect(page.locator("select")).to_have_value("b")


def test_what_is_pressed_stays_pressed_while_its_answer_is_awaited(shown: Shown, page: Page) -> None:
    form = "<form method=post action=/stop target=_blank data-waits='Stopping …'><button>Stop</button></form>"
    shown.parts[:] = [f"<p>runs</p>{form}"]
    page.goto(shown.url)
    with page.expect_popup() as popup:
        page.get_by_role("button").click()
    shown.parts[:] = [f"<p>stops</p>{form}"]
    expect(page.locator("p")).to_have_text("stops")
    expect(page.get_by_role("status")).to_have_text("Stopping …")
    expect(page.get_by_role("button")).to_be_disabled()
    shown.answers.set()
    expect(popup.value.get_by_role("heading")).to_have_text("Stopped")
    assert shown.asked == ["/stop"]
    shown.parts[:] = ["<p>over</p>"]
    expect(page.get_by_role("button")).to_have_count(0)


def test_a_page_with_other_parts_is_loaded_anew(shown: Shown, page: Page) -> None:
    shown.parts[:] = ["one"]
    page.goto(shown.url)
    shown.parts[:] = ["one", "two"]
    expect(page.locator("body")).to_contain_text("two")


def test_a_night_that_ends_says_so_and_the_table_stays_where_it_is(open_world: OpenWorld, page: Page) -> None:
    world = open_world(min_documents=0)
    installation = world.installation
    world.source.put("a")
    with installation.pool.connection() as connection:
        night = nights.open_night(connection, installation.config, world.now)
    with listening(OperatorPages(installation, Here(world), "").routes(), installation.config.web) as url:
        page.set_viewport_size(PHONE)
        page.goto(url)
        heading = page.get_by_role("heading", level=1)
        expect(heading).to_have_text(f"Night {night.night_id} goes on")
        sets = page.get_by_role("region", name="Sets")
        sets.focus()
        sets.evaluate("part => part.scrollLeft = 200")
        steps.harvest(installation, KEY, night_id=night.night_id)
        expect(page.locator("main")).to_contain_text("is extracted and compared", timeout=10_000)
        world.change("UPDATE night SET ended_at = %s", world.now)
        expect(heading).to_have_text(f"Night {night.night_id}", timeout=10_000)
        expect(sets).to_be_focused()
        assert sets.evaluate("part => part.scrollLeft") == 200
