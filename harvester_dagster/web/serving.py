"""The web application served: in a thread beside the Dagster UI, for as long as `up` runs.

Belongs here: putting the pages together and uvicorn's lifetime. Does not belong here: any page.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Protocol

import uvicorn
from starlette.routing import BaseRoute, Mount

from harvester_dagster.config import Web
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.processes.cycle_collection import spared
from harvester_dagster.web import guard
from harvester_dagster.web.access_pages import AccessPages
from harvester_dagster.web.access_run_pages import AccessRunPages
from harvester_dagster.web.acts import Acts
from harvester_dagster.web.alert_page import AlertPage
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app
from harvester_dagster.web.document_pages import DocumentPages
from harvester_dagster.web.failure_pages import FailurePages
from harvester_dagster.web.launching import LaunchedRuns, Launcher
from harvester_dagster.web.login_pages import LoginPages
from harvester_dagster.web.monitoring import Monitoring
from harvester_dagster.web.operator_pages import OperatorPages
from harvester_dagster.web.page_frame import PageFrame
from harvester_dagster.web.picture_pages import PicturePages
from harvester_dagster.web.push_pages import PushPages
from harvester_dagster.web.search_page import SearchPage
from harvester_dagster.web.sessions import Sessions
from harvester_dagster.web.source_pages import SourcePages
from harvester_dagster.web.takedown_pages import TakedownPages
from harvester_dagster.web.token_login import TokenLogin
from harvester_dagster.web.version_pages import VersionPages
from harvester_dagster.web.webhook import Webhook
from harvester_dagster.web.what_if_page import WhatIfPage


class RunsAndActs(Launcher, Acts, Protocol):
    """Begins all runs that pages ask for."""


class NotServed(HarvesterError):
    """The web application did not come up; the message names the mend."""


def routes_of(installation: Installation, launcher: RunsAndActs, dagster: str = "") -> list[BaseRoute]:
    """All pages and APIs but the login."""
    runs = LaunchedRuns(launcher, installation.pool, installation.clock)
    return [
        *OperatorPages(installation, launcher, dagster).routes(),
        *VersionPages(installation, dagster).routes(),
        *SourcePages(installation, dagster).routes(),
        *SearchPage(installation, dagster).routes(),
        *AlertPage(installation, dagster).routes(),
        *DocumentPages(installation, dagster).routes(),
        *TakedownPages(installation, dagster).routes(),
        *PushPages(installation, dagster).routes(),
        *FailurePages(installation, launcher, dagster).routes(),
        *AccessPages(installation.config, installation.pool, installation.clock, runs, dagster).routes(),
        *AccessRunPages(installation.config, installation.pool, dagster).routes(),
        *WhatIfPage(installation.config, installation.pool, installation.clock, dagster).routes(),
        *PicturePages(installation).routes(),
        *Monitoring(installation).routes(),
        *Webhook(installation).routes(),
        Mount(PATH, consumer_api(installation)),
    ]


@contextlib.contextmanager
def served(installation: Installation, launcher: RunsAndActs, dagster: str = "") -> Iterator[str]:
    """Serve the pages while the block lasts; yields their address. The runs that they start are the launcher's;
    `dagster` is the address of its UI. Raises NotServed."""
    web, frame = installation.config.web, PageFrame(installation.config.zone, dagster)
    routes = routes_of(installation, launcher, dagster)
    sessions = Sessions(web, installation.pool, installation.clock) if guard.login_page(web) else None
    if sessions and web.login.issuer:
        routes += LoginPages(installation, sessions).routes()
    if sessions and guard.takes_tokens(web):
        routes += TokenLogin(installation, sessions, frame).routes()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(web, routes, sessions, frame),
            log_level="warning",
            proxy_headers=bool(web.trusted_proxies),
            forwarded_allow_ips=list(web.trusted_proxies),
            timeout_graceful_shutdown=2,  # who waits for a promotion would hold it up for an hour
        )
    )
    listening = _listening(web)
    port = listening.getsockname()[1]
    thread = threading.Thread(target=server.run, args=([listening],), name="web", daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise NotServed("the pages ended while they started", "look at the log")
        time.sleep(0.05)
    try:
        with spared():
            yield f"http://[{web.host}]:{port}" if ":" in web.host else f"http://{web.host}:{port}"
    finally:
        server.should_exit = True
        thread.join(10)


def _listening(web: Web) -> socket.socket:
    """Raises NotServed, with what the system says."""
    family = socket.AF_INET6 if ":" in web.host else socket.AF_INET
    try:
        return socket.create_server((web.host, web.port), family=family, backlog=2048)
    except OSError as error:
        wrong = f"port {web.port} of {web.host} cannot be listened at: {error.strerror}"
        raise NotServed(wrong, "set [web] host and port in harvester.toml") from None
