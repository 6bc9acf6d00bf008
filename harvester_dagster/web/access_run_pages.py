"""The history of the enricher's runs, page by page, and each of them with what it met.

Belongs here: these pages, and how a run is shown on any page and in the status. Does not belong here: starting and
stopping one (`access_pages.py`).
"""

from datetime import datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.access.runs import run_rows
from harvester_dagster.access.runs.run_rows import RunRow
from harvester_dagster.config import Config
from harvester_dagster.store.database import Pool
from harvester_dagster.web.page_frame import PageFrame

_RUNS = 50
_MESSAGES = 200
_FINDINGS = 100


class AccessRunPages:
    """The pages of one installation's runs. `dagster` is the address of its UI."""

    def __init__(self, config: Config, pool: Pool, dagster: str = "") -> None:
        self._config, self._pool, self._frame = config, pool, PageFrame(config.zone, dagster)

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route("/access/runs/", self.runs), Route("/access/runs/{run:number}/", self.run)]

    def runs(self, request: Request) -> Response:
        """The newest runs, of all endpoints or of one, or those before one."""
        asked, before = request.query_params.get("endpoint", ""), request.query_params.get("before", "")
        endpoint = asked if asked in self._config.metastore else None
        number = int(before) if before.isascii() and before.isdigit() and len(before) < 19 else None
        found = run_rows.latest(self._pool, endpoint, _RUNS + 1, number)
        values: dict[str, Any] = {
            "runs": [shown(run) for run in found[:_RUNS]],
            "older": found[_RUNS - 1].run_id if len(found) > _RUNS else None,
            "is_first": number is None,
            "endpoint": endpoint,
            "endpoints": list(self._config.metastore),
        }
        return self._frame.page(request, "access_runs.html", **values)

    def run(self, request: Request) -> Response:
        """One run: its figures, some of the documents with bad data, what it said."""
        run_id = request.path_params["run"]
        found = run_rows.by_id(self._pool, run_id)
        if found is None:
            raise HTTPException(404, f"There is no run {run_id} of the enricher")
        said = run_rows.messages(self._pool, None, _MESSAGES, run_id)
        met = run_rows.findings(self._pool, run_id, _FINDINGS)
        return self._frame.page(request, "access_run.html", run=shown(found), messages=said, findings=met)


def shown(run: RunRow | None) -> dict[str, Any]:
    """A run for pages, and for the JSON of the status."""
    if run is None:
        return {"in_progress": False, "state": "never run"}
    progress = run.progress
    counts = progress.get("counts", {})
    return {
        "run": run.run_id,
        "in_progress": run.in_progress,
        "state": "stopping" if run.in_progress and run.stop_asked_at else run.state,
        "mode": run.mode,
        "endpoint": run.endpoint,
        "started_at": _text(run.started_at or run.requested_at),
        "ended_at": _text(run.ended_at),
        "documents": counts.get("total", 0),
        "processed": counts.get("already", 0) + counts.get("processed", 0),
        "per_second": round(progress.get("per_second", 0.0), 1),
        "eta_seconds": _rounded(progress.get("eta_seconds")) if run.in_progress else None,
        "batch_size": progress.get("batch", 0),
        "writers": progress.get("writers", 0),
        "reason": run.reason,
        "counts": counts,
    }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment else None


def _rounded(seconds: float | None) -> int | None:
    return round(seconds) if seconds is not None else None
