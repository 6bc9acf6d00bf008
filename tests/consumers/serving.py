"""The API over real HTTP, on a port of its own, as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from starlette.routing import Mount

from harvester_dagster.installation import Installation
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app
from tests.served import served


@contextmanager
def listening(installation: Installation) -> Iterator[str]:
    """Its address."""
    app = create_app(installation.config.web, [Mount(PATH, consumer_api(installation))])
    with served(app, timeout_graceful_shutdown=1) as url:
        yield f"{url}{PATH}"
