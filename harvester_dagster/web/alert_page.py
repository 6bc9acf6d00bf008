"""The page of who is told of what needs a hand: what was told, and a button that tries whether it is heard.

Belongs here: requests. Does not belong here: how somebody is told (`releases/alerts.py`), the trial
(`explain/alert_trial.py`).
"""

from datetime import timedelta

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harvester_dagster.explain import alert_trial
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.releases import alerts
from harvester_dagster.web.page_frame import PageFrame

_FAILED = 5
_LATELY = timedelta(days=30)


class AlertPage:
    """The page of one installation. `dagster` is where the Dagster UI is."""

    def __init__(self, installation: Installation, dagster: str) -> None:
        self._installation, self._page = installation, PageFrame(installation.config.zone, dagster).page

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [Route("/alerts/", self.alerts), Route("/alerts/try", self.trial, methods=["POST"])]

    def alerts(self, request: Request) -> Response:
        """Who is told, what was told and is not over, and mails that nobody took."""
        with self._installation.pool.connection() as connection:
            told = alerts.all_told(connection)
            since = self._installation.clock() - _LATELY
            failed = audit.rows(connection, act="mail", outcome="failed", since=since, count=_FAILED)
        listeners = alert_trial.told(self._installation.config)
        return self._page(request, "alerts.html", listeners=listeners, told=told, failed=failed, replies=None)

    def trial(self, request: Request) -> Response:
        """Tell everybody that this is a trial; what each answered."""
        installation = self._installation
        audit.told(installation.pool, "try-alerts", "", installation.clock())
        replies = [*alert_trial.tried(installation.config, installation.outside, installation.clock())]
        return self._page(request, "alerts.html", listeners=[], told=[], failed=[], replies=replies)
