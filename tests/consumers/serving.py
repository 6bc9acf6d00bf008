"""The API over real HTTP, on a port of its own, as long as a block lasts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from starlette.routing import Mount

from harvester_dagster.installation import Installation
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app


@contextmanager
def listening(installation: Installation) -> Iterator[str]:
    """Its address."""
    app = create_app(installation.config.web, [Mount(PATH, consumer_api(installation))])
    config = uvicorn.Config(app, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}{PATH}"
    server.should_exit = True
    thread.join(10)
