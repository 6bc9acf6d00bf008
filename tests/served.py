"""An application on a port of its own, as long as a block lasts."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp


@contextmanager
def served(app: ASGIApp, **options: Any) -> Iterator[str]:
    """Its address; `options` are uvicorn's."""
    server = uvicorn.Server(uvicorn.Config(app, **{"port": 0, "log_level": "warning", "lifespan": "off", **options}))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
