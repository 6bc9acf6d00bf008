"""What the pages of the morning have in common: times in the installation's zone, the way to Dagster, forms.

Belongs here: what each of these pages is given and takes. Does not belong here: any page; headers, errors (`app.py`).
"""

from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.web.app import page

_LONGEST_SRN = 2_000


class PageFrame(NamedTuple):
    """`dagster` is the address of its UI; empty: there is none."""

    zone: ZoneInfo
    dagster: str

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page made from a template."""
        return page(request, template, status, local=self.local, dagster=self.dagster.rstrip("/"), **values)

    def local(self, moment: datetime | str | None) -> str:
        """A time in the installation's zone; nothing for none."""
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S") if at else ""


def asked_srn(text: str) -> str:
    """An SRN as it was typed or linked, as far as one is looked up."""
    return text.strip()[:_LONGEST_SRN].replace("\0", "�")


async def form_texts(request: Request, *names: str, longest: int = 300_000) -> list[str]:
    """What a form says under these names; nothing where it does not say it. Raises HTTPException for what no page of
    ours sends."""
    async with request.form(max_files=0) as form:
        found = [form.get(name, "") for name in names]
    texts = [each for each in found if isinstance(each, str) and len(each) <= longest]
    if len(texts) < len(names):
        raise HTTPException(400, f"{', '.join(names)}: texts are needed")
    return texts


async def form_choices(request: Request, name: str, most: int) -> list[str]:
    """All that a form says under one name. Raises HTTPException for what no page of ours sends."""
    async with request.form(max_files=0) as form:
        found = [each for each in form.getlist(name) if isinstance(each, str)]
    if len(found) > most:
        raise HTTPException(400, f"{name}: at most {most} are taken at once")
    return found
