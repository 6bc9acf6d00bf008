"""For whoever watches over an installation: whether it lives, whether it can answer, and its figures (Prometheus).

Belongs here: these three paths, what is kept for some seconds, who may see names of others. Does not belong here: the
figures (`measures.py`), when somebody is called out (`docs/alerts.yml`).
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from psycopg import Connection
from psycopg import Error as PostgresError
from psycopg_pool import PoolTimeout
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from harvester_dagster.installation import Installation
from harvester_dagster.store import database
from harvester_dagster.web import guard, measures
from harvester_dagster.web.measures import Measure

KEPT_SECONDS = 10.0
"""So long the same figures are shown, whoever asks."""
PATIENCE_SECONDS = 2.0
"""For a connection, and for an answer."""
_NEVER = {"Cache-Control": "no-store"}


class _Kept(NamedTuple):
    until: float
    shown: list[Measure]


class Monitoring:
    """The paths of one installation."""

    def __init__(self, installation: Installation, kept_seconds: float = KEPT_SECONDS) -> None:
        self._installation, self._kept_seconds = installation, kept_seconds
        self._lock = threading.Lock()
        self._kept: dict[bool, _Kept] = {}

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/health", self.health),
            Route("/ready", self.ready),
            Route("/metrics", self.metrics),
        ]

    async def health(self, _request: Request) -> Response:
        """This process lives; it asks nobody."""
        return JSONResponse({"status": "alive"}, headers=_NEVER)

    def ready(self, _request: Request) -> Response:
        """The store answers, and its schema is the one of this code; else 503."""
        try:
            with self._asking() as connection:
                is_current = database.is_current(connection)
        except (PostgresError, PoolTimeout):
            return JSONResponse({"status": "the store does not answer"}, 503, _NEVER)
        if not is_current:
            return JSONResponse({"status": "the store's schema is not that of this version"}, 503, _NEVER)
        return JSONResponse({"status": "ready"}, headers=_NEVER)

    def metrics(self, request: Request) -> Response:
        """The figures; those with names of hosts for who has a token, whatever its scopes."""
        has_token = guard.holder_in_browser(request, self._installation.config.web) is not None
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(_Collected(self._read(has_token)))
        encode, media_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": media_type, **_NEVER})

    @contextmanager
    def _asking(self) -> Iterator[Connection[Any]]:
        """A store that gives no connection, or no answer, in time does not answer."""
        with (
            self._installation.reading.connection(timeout=PATIENCE_SECONDS) as connection,
            database.answering(connection, PATIENCE_SECONDS),
        ):
            yield connection

    def _read(self, names_outside: bool) -> list[Measure]:
        with self._lock:  # who comes meanwhile waits, and asks the store nothing
            kept = self._kept.get(names_outside)
            if kept is None or kept.until < time.monotonic():
                shown = self._measured(names_outside)
                kept = self._kept[names_outside] = _Kept(time.monotonic() + self._kept_seconds, shown)
            return kept.shown

    def _measured(self, names_outside: bool) -> list[Measure]:
        is_up, found, left_out = True, list[Measure](), 0
        try:
            with self._asking() as connection:
                connection.execute("SELECT")
        except (PostgresError, PoolTimeout):
            is_up = False
        if is_up:
            found, left_out = measures.read(self._installation, names_outside)
        found.append(Measure("store_up", "Whether the store answers", (), [((), float(is_up))]))
        found.append(Measure("left_out", "Families that could not be read in time", (), [((), float(left_out))]))
        return found


class _Collected(Collector):
    def __init__(self, shown: list[Measure]) -> None:
        self._shown = shown

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for measure in self._shown:
            family = GaugeMetricFamily(f"harvester_{measure.name}", measure.about, labels=measure.labels)
            for labels, value in measure.samples:
                family.add_metric(labels, value)
            yield family
