"""The web application served: in a thread beside the Dagster UI, for as long as `up` runs.

Belongs here: putting the pages together and uvicorn's lifetime. Does not belong here: any page.
"""

import contextlib
import threading
import time
from collections.abc import Iterator

import uvicorn

from harvester_dagster.installation import Installation
from harvester_dagster.outside.outside import Outside
from harvester_dagster.web.access import AccessPages
from harvester_dagster.web.app import create_app
from harvester_dagster.web.runs import DagsterRuns


class NotServed(Exception):
    """The web application did not come up; the message names the mend."""


@contextlib.contextmanager
def served(installation: Installation, dagster_url: str) -> Iterator[str]:
    """Yields its address. Its runs are asked for at the Dagster UI's GraphQL API. Raises NotServed."""
    web = installation.config.web
    with Outside(allow_hosts=("127.0.0.1",), per_host_per_second=100) as to_dagster:
        runs = DagsterRuns(dagster_url, to_dagster, installation.pool, installation.clock)
        pages = AccessPages(installation.config, installation.pool, installation.clock, runs)
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(web, pages.routes()),
                host=web.host,
                port=web.port,
                log_level="warning",
                proxy_headers=bool(web.trusted_proxies),
                forwarded_allow_ips=list(web.trusted_proxies),
            )
        )
        thread = threading.Thread(target=server.run, name="web", daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise NotServed(f"port {web.port} of {web.host} is taken: set [web] port in harvester.toml")
            time.sleep(0.05)
        try:
            port = server.servers[0].sockets[0].getsockname()[1]
            yield f"http://{web.host}:{port}"
        finally:
            server.should_exit = True
            thread.join(10)
