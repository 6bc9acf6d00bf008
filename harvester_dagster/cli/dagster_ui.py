"""Dagster's web application as a process of ours: bare on a Unix socket of mode 0600, behind the door on its port.

`python -m harvester_dagster.cli.dagster_ui --socket FILE --host HOST --port PORT (-m MODULE | -w WORKSPACE)`. Dagster's
own command listens on TCP only and lets nothing be put before it; so its application is made here, of names that it
does not promise. They stand in this module and nowhere else, and `tests/house/test_foreign_names.py` names them.

Belongs here: making and serving it. Does not belong here: what may pass (`web/door.py`), when it is started and started
anew (`session.py`).
"""

import argparse
import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget, WorkspaceLoadTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.applications import Starlette
from starlette.types import ASGIApp

from harvester_dagster import config as configuration
from harvester_dagster import installation
from harvester_dagster.config import Web
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
from harvester_dagster.services import unix_socket
from harvester_dagster.store import database
from harvester_dagster.store.database import Pool
from harvester_dagster.web import tickets
from harvester_dagster.web.door import Door
from harvester_dagster.web.door_login import DoorLogin

STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW = 15_000, 3_600, 20
LIVE_DATA_POLL_MS = 2_000
"""As Dagster's own command has them."""
PATIENCE_SECONDS = 3
"""For requests that are under way at the end."""


@contextlib.contextmanager
def application(target: WorkspaceLoadTarget) -> Iterator[Starlette]:
    """Dagster's web application, over the instance of DAGSTER_HOME, while the block lasts."""
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MS, POOL_RECYCLE_SECONDS, POOL_OVERFLOW)
        with WorkspaceProcessContext(instance, target, version=__version__) as context:
            yield create_app_from_workspace_process_context(context, live_data_poll_rate=LIVE_DATA_POLL_MS)


async def serve(public: ASGIApp, port: socket.socket, private: ASGIApp, file: socket.socket) -> None:
    """Both until a signal ends them."""
    await asyncio.gather(*(_server(app).serve([at]) for app, at in ((public, port), (private, file))))


def _server(app: ASGIApp) -> uvicorn.Server:
    """Addresses are those of who is connected: the door itself looks at what a proxy says."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=PATIENCE_SECONDS,
        )
    )


def main(given: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="dagster_ui")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("-m", "--module-name")
    target.add_argument("-w", "--workspace")
    asked = parser.parse_args(given)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A port that is taken ends it here, before anything is loaded.
    port = uvicorn.Config("", host=asked.host, port=asked.port, log_level="warning").bind_socket()
    config = configuration.load()
    with (
        contextlib.suppress(KeyboardInterrupt),
        contextlib.closing(database.open_pool(installation.postgres_url(config) or "", max_size=4)) as pool,
        application(_target(asked.module_name, asked.workspace)) as app,
    ):
        public = behind_the_door(app, config.web, pool, installation.utc_now)
        asyncio.run(serve(public, port, app, unix_socket.bound(asked.socket)))


def behind_the_door(app: ASGIApp, web: Web, pool: Pool, clock: Callable[[], datetime]) -> ASGIApp:
    """What listens on the port."""
    door = Door(app, web, partial(_record, pool))
    return DoorLogin(door, web, pool, clock) if tickets.are_used(web) else door


def _record(pool: Pool, doer: Doer, change: str) -> None:
    with audit.acting(doer):
        audit.told(pool, "dagster", change, installation.utc_now())


def _target(module: str | None, workspace: str | None) -> WorkspaceLoadTarget:
    if module:
        return ModuleTarget(module, attribute=None, working_directory=str(Path.cwd()), location_name=None)
    return WorkspaceFileTarget([os.fspath(workspace or "")])


if __name__ == "__main__":
    main()
