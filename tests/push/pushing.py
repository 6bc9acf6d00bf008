"""What tests of pushes share: a set with a secret, its webhook and API on a real port, a record pushed in one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests
from starlette.routing import Mount

from harvester_dagster.installation import Installation
from harvester_dagster.publication import inbox
from harvester_dagster.releases import release
from harvester_dagster.releases.push_rounds import QUIET, PushRounds
from harvester_dagster.sets import pushed, versions
from harvester_dagster.sets.pushed import Taken
from harvester_dagster.web.api.consumer_api import PATH, consumer_api
from harvester_dagster.web.app import create_app
from harvester_dagster.web.webhook import Webhook
from tests.served import served
from tests.sets.world import KEY, World

SECRET = "a-secret-of-sources"
VARIABLE = "PUSH_SECRET"
WITH_SECRET = {"webhook_secret_env": VARIABLE}


@contextmanager
def site(installation: Installation, most: int = inbox.MOST_WAITING, log_level: str = "warning") -> Iterator[str]:
    """The webhook and the API; their address."""
    routes = [*Webhook(installation, most).routes(), Mount(PATH, consumer_api(installation))]
    app = create_app(installation.config.web, routes)
    trusted = list(installation.config.web.trusted_proxies)
    with served(
        app,
        log_level=log_level,
        timeout_graceful_shutdown=1,
        proxy_headers=bool(trusted),
        forwarded_allow_ips=trusted,
    ) as url:
        yield url


def post(url: str, body: Any, secret: str = SECRET, key: str = KEY, **options: Any) -> requests.Response:
    """A record pushed as its source does."""
    place = f"{url}/webhook/product/{key}/{secret}/" if secret else f"{url}/webhook/product/{key}/"
    return requests.post(
        place, timeout=30, **({"data": body} if isinstance(body, bytes) else {"json": body}), **options
    )


def push(world: World, *bodies: Any, key: str = KEY) -> None:
    """Records stored as the webhook stores them."""
    with world.installation.pool.connection() as connection:
        for body in bodies:
            found = pushed.read(world.installation, key, json.dumps(body).encode())
            inbox.put(connection, world.state(key).set_id, found, "test", world.now)


def titles(url: str) -> dict[str, str]:
    """What the API shows."""
    answer = requests.get(f"{url}{PATH}/product/", params={"page_size": 100}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {one["external_id"]: one["title"] for one in answer.json()["results"]}


def released(world: World) -> None:
    """A release of all that is accepted."""
    release.release(world.installation, by_hand=True)


def rounds(world: World) -> list[Taken]:
    """Rounds as long as there is anything to do; what was reported. A set's next turn has come."""
    world.forward(QUIET)
    found: list[Taken] = []
    said: list[str] = []
    worker = PushRounds(world.installation, found.append, said.append)
    while worker.round():
        pass
    assert not [line for line in said if "mistake" in line], said
    return found


def current(world: World) -> dict[int, int]:
    """The generations that are shown."""
    with world.installation.pool.connection() as connection:
        version = versions.current(connection)
    return dict(version.generations) if version else {}


def states(world: World) -> list[tuple[str, str]]:
    """Of every push, in the order in which they came."""
    return [(name, state) for name, state in world.rows("SELECT external_id, state FROM push ORDER BY push_id")]
