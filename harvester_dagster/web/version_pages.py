"""The pages of versions: those that are kept, what was published when, what differs, what a release would do and what
going back would.

Belongs here: requests. Does not belong here: comparing (`consumers/`), and the buttons on these pages
(`operator_acts.py`).
"""

import re
from datetime import timedelta
from typing import Any

from psycopg.errors import QueryCanceled
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.consumers import changes
from harvester_dagster.consumers.changes import Along, FeedPlace
from harvester_dagster.consumers.field_differences import described
from harvester_dagster.consumers.version_differences import compared
from harvester_dagster.installation import Installation
from harvester_dagster.publication import log
from harvester_dagster.sets import versions
from harvester_dagster.sets.versions import NotPromotable, Version
from harvester_dagster.web.dear_questions import DearQuestions
from harvester_dagster.web.page_frame import PageFrame, asked_number

_ENTRIES = 50
_VERSIONS = 50
_SAMPLES = 20
_DIFFERENCES = 50
_LATELY = timedelta(hours=1)
_PLACE = re.compile(r"(?P<set>\d{1,9})~(?P<along>from_gen|to_gen)~(?P<gen>\d{1,9})~(?P<doc>\d{1,18})", re.ASCII)


class VersionPages:
    """The pages of one installation. `dagster` is where the Dagster UI is."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation = installation
        self._page = PageFrame(installation.config.zone, dagster).page
        self._comparisons = DearQuestions()

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/versions/", self.versions),
            Route("/versions/difference/", self.difference),
            Route("/versions/next/", self.next),
            Route("/versions/{version:number}/rollback/", self.look),
        ]

    def versions(self, request: Request) -> Response:
        """Versions that are kept, and what was published when: the newest of both, or those before one."""
        before, version = asked_number(request, "before"), asked_number(request, "version")
        with self._installation.pool.connection() as connection:
            entries = log.entries(connection, _ENTRIES + 1, before)
            lines = versions.lines(connection, _VERSIONS + 1, version)
            values: dict[str, Any] = {
                "versions": lines,
                "shown": _VERSIONS,
                "earlier": lines[_VERSIONS - 1].version_id if len(lines) > _VERSIONS else None,
                "is_first": version is None,
                "hold": versions.holding(connection),
                "entries": entries[:_ENTRIES],
                "older": entries[_ENTRIES - 1].seq if len(entries) > _ENTRIES else None,
                "is_newest": before is None,
            }
        return self._page(request, "versions.html", **values)

    def difference(self, request: Request) -> Response:
        """What differs between two versions, field by field, some documents a page."""
        old, new = asked_number(request, "old"), asked_number(request, "new")
        if old is None or new is None:
            raise HTTPException(400, "old and new: the numbers of two versions are needed")
        with self._comparisons.one(), self._installation.reading.connection() as connection:
            before, after = _kept(connection, old), _kept(connection, new)
            between = changes.of_generations(connection, before.generations, after.generations)
            try:
                read = changes.page(connection, between, _place(request), _DIFFERENCES, with_before=True)
            except QueryCanceled as error:
                told = f"To compare versions {old} and {new} takes longer than a page may"
                raise HTTPException(503, f"{told}; `harvester versions diff {old} {new}` takes its time") from error
        found = [described(change) for change in read.changes]
        place = "~".join(map(str, read.place)) if read.place else ""
        is_first = "place" not in request.query_params
        values: dict[str, Any] = {"old": old, "new": new, "found": found, "place": place, "is_first": is_first}
        return self._page(request, "version_difference.html", **values)

    def next(self, request: Request) -> Response:
        """What the next release would publish, and the button that does it."""
        reading = self._installation.reading
        with self._comparisons.one(), reading.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # samples of what is counted
            present = versions.current(connection)
            generations = present.generations if present else {}
            found = compared(connection, generations, versions.accepted(connection), _SAMPLES)
            hold = versions.holding(connection)
        return self._page(request, "release.html", present=present, found=found, hold=hold)

    def look(self, request: Request) -> Response:
        """What going back to a version would do, and the button that does it."""
        reading = self._installation.reading
        with self._comparisons.one(), reading.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            earlier, present = _kept(connection, request.path_params["version"]), versions.current(connection)
            try:
                versions.check_rollback(connection, earlier)
                hindered = f"Version {earlier.version_id} is current." if earlier.is_current else ""
            except NotPromotable as error:
                hindered = str(error)
            values: dict[str, Any] = {
                "found": compared(connection, present.generations if present else {}, earlier.generations, _SAMPLES),
                "hold": versions.holding(connection),
                "pushes": versions.pushed_since(connection, self._installation.clock() - _LATELY),
            }
        return self._page(request, "rollback.html", earlier=earlier, present=present, hindered=hindered, **values)


def _kept(connection: Any, number: int) -> Version:
    """Raises HTTPException for what is not there."""
    try:
        return versions.by_id(connection, number)
    except NotPromotable as error:
        raise HTTPException(404, str(error)) from error


def _place(request: Request) -> FeedPlace:
    """Where a page begins; at the beginning for what none of ours says."""
    found = _PLACE.fullmatch(request.query_params.get("place", ""))
    if found is None:
        return FeedPlace()
    along: Along = "from_gen" if found["along"] == "from_gen" else "to_gen"
    return FeedPlace(int(found["set"]), along, int(found["gen"]), int(found["doc"]))
