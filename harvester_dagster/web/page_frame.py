"""What the pages of the morning have in common: times in the installation's zone, and where the Dagster UI is.

Belongs here: what each of these pages is given. Does not belong here: what one shows (`operator_pages.py`,
`search_page.py`, `source_pages.py`), headers and errors (`app.py`).
"""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response

from harvester_dagster.web.app import page


class PageFrame:
    """Makes pages. `dagster` is the address of the Dagster UI; empty: there is none to lead to."""

    def __init__(self, zone: ZoneInfo, dagster: str) -> None:
        self._zone, self._dagster = zone, dagster.rstrip("/")

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """A page from a template, with the values that all have."""
        return page(request, template, status, local=self.local, dagster=self._dagster, **values)

    def local(self, moment: datetime | str | None) -> str:
        """A time in the installation's zone; nothing for none."""
        at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return at.astimezone(self._zone).strftime("%Y-%m-%d %H:%M:%S") if at else ""
