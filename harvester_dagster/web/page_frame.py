"""The frame of every page: its template, who looks, times in the installation's zone, the way to Dagster; forms.

Belongs here: what each page is given and takes. Does not belong here: any page; headers, errors (`app.py`).
"""

import re
import shlex
from collections.abc import Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, select_autoescape
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from harvester_dagster import page_addresses
from harvester_dagster.config import Web
from harvester_dagster.web import guard, shown_values

FOLDER = Path(__file__).parent

_BELOW: Mapping[str, tuple[str, ...]] = {
    "/": ("/set/", "/run/", "/night/", "/nights/"),
    "/sources/": ("/sources/", "/source/"),
}
"""Whose pages belong to one that the frame links, where that is not said by their paths."""
_templates = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=select_autoescape(default=True, default_for_string=True),
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["shell"] = shlex.quote  # a word of a command line that a person may copy
_templates.filters["set_page"] = page_addresses.set_page
_templates.filters["in_path"] = page_addresses.in_path
_templates.filters["run_page"] = page_addresses.run_page
_templates.filters["plain"] = shown_values.plain
_templates.filters["counted"] = shown_values.counted
_templates.globals["apart"] = shown_values.apart

_LONGEST_SRN = 2_000
_NO_TEXT = re.compile("[\0\ud800-\udfff]")
"""What nobody stores."""


class _Number(IntegerConvertor):
    """A number in a path, as `{night:number}`. Longer ones are no page of ours: Starlette's own convertor reads digits
    without end, and Python refuses more than 4,300."""

    regex = "[0-9]{1,18}"


register_url_convertor("number", _Number())


class PageFrame(NamedTuple):
    """`dagster` is the address of its UI; empty: there is none."""

    zone: ZoneInfo
    dagster: str

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page made from a template; every value is escaped there. It shows the buttons that whoever looks may
        press."""
        web: Web = request.app.state.web
        person, may = guard.signed_in(request), guard.may(request, web)
        shown = {
            "stands": partial(_stands, request.url.path),
            "here": _here(request),
            "may": may,
            "person": person.doer.name if person else "",
            "login": guard.login_page(web) if web.login.issuer or not may else "",
            "local": self.local,
            "zone": self.zone.key,
            "dagster": self.dagster.rstrip("/"),
        }
        return HTMLResponse(_templates.get_template(template).render(**shown, **values), status)

    def local(self, moment: datetime | str | None) -> str:
        """A time in the installation's zone; nothing for none."""
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def asked_srn(text: str) -> str:
    """An SRN as it was typed or linked, as far as one is looked up."""
    return text.strip()[:_LONGEST_SRN].replace("\0", "�")


def asked_number(request: Request, name: str) -> int | None:
    """A number in the query; None: there is none that could be one of ours."""
    given = request.query_params.get(name, "")
    return int(given) if given.isascii() and given.isdigit() and len(given) < 19 else None


def _stands(path: str, href: str) -> str:
    """How the page at a path stands to one that the frame links, as aria-current says it: it is it, or below it."""
    below = _BELOW.get(href, (href,) if href.endswith("/") else ())
    return "page" if path == href else "true" if path.startswith(below) else ""


def _here(request: Request) -> str:
    """Where to come back to after signing in: this page, or the one whose button was pressed."""
    try:
        at = urlsplit(str(request.url) if request.method == "GET" else request.headers.get("referer", ""))
    except ValueError:
        return "/"
    return f"{at.path or '/'}?{at.query}" if at.query else at.path or "/"


async def form_pairs(
    request: Request, *, max_fields: int = 1_000, max_part_size: int = 1024 * 1024
) -> list[tuple[str, str]]:
    """All that a form says, in its order: names and texts. Raises HTTPException for what no page of ours sends, and for
    what is no text: a charset that is named with a part may make anything of it."""
    try:
        async with request.form(max_files=0, max_fields=max_fields, max_part_size=max_part_size) as form:
            found = [(name, text) for name, text in form.multi_items() if isinstance(text, str)]
    except (ValueError, LookupError):
        raise HTTPException(400, "this form cannot be read") from None
    if any(_NO_TEXT.search(part) for pair in found for part in pair):
        raise HTTPException(400, "a form holds texts, without U+0000 and halves of characters")
    return found


async def form_texts(request: Request, *names: str, longest: int = 300_000) -> list[str]:
    """What a form says under these names; nothing where it does not say it. Raises HTTPException for what no page of
    ours sends."""
    given = dict(await form_pairs(request))
    texts = [each for each in (given.get(name, "") for name in names) if len(each) <= longest]
    if len(texts) < len(names):
        raise HTTPException(400, f"{', '.join(names)}: texts are needed")
    return texts


async def form_choices(request: Request, name: str, most: int) -> list[str]:
    """All that a form says under one name. Raises HTTPException for what no page of ours sends."""
    found = [text for key, text in await form_pairs(request) if key == name]
    if len(found) > most:
        raise HTTPException(400, f"{name}: at most {most} are taken at once")
    return found
