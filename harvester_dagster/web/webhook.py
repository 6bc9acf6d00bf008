"""`POST /webhook/{entity}/{source}:{set}/{secret}/`: a source pushes one record.

The secret is that of the set (`webhook_secret_env`), in the address or in the header X-Webhook-Secret; or it is a token
of the scope `push`. What may be pushed is stored before it is answered with 200; a worker takes it (`harvester push
work`). An unknown set and a wrong secret are answered alike, in about the same time.

Belongs here: who may push, and the answers. Does not belong here: what a record is (`sets/pushed.py`), the inbox
(`publication/inbox.py`).
"""

import ipaddress
import logging

from psycopg import OperationalError
from psycopg_pool import PoolTimeout
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from harvester_dagster.config import SetSettings, secret
from harvester_dagster.installation import Installation
from harvester_dagster.publication import inbox
from harvester_dagster.publication.inbox import Pushed
from harvester_dagster.sets import fetch, pushed
from harvester_dagster.sets.pushed import InboxFull, NotPushed
from harvester_dagster.sets.sets import UnknownSet
from harvester_dagster.web.guard import WEBHOOK, bearer, client_address, is_secret
from harvester_dagster.web.hidden_secret import SECRET

HEADER = "x-webhook-secret"
SCOPE = "push"
RETRY_SECONDS = 60
_LOG = logging.getLogger(__name__)
_FORBIDDEN = {"error": "there is no such set, or this is not its secret, or not its address"}


class Webhook:
    """The route over one installation. `most`: how many pushes of a set may wait."""

    def __init__(self, installation: Installation, most: int = inbox.MOST_WAITING) -> None:
        self._installation, self._most = installation, most

    def routes(self) -> list[Route]:
        """One, for all entities and sets."""
        return [Route(WEBHOOK + "{entity}/{key:path}/", self._push, methods=["POST"])]

    async def _push(self, request: Request) -> JSONResponse:
        key = request.path_params["key"]
        sender = self._admitted(request, request.path_params["entity"], key)
        if sender is None:
            return JSONResponse(_FORBIDDEN, 403)
        body = await request.body()
        try:
            return await run_in_threadpool(self._stored, key, body, sender)
        except (OperationalError, PoolTimeout) as error:
            _LOG.error("a push to %r was not stored: %s", key, type(error).__name__)
            again = {"Retry-After": str(RETRY_SECONDS)}
            return JSONResponse({"error": "the store does not answer now; nothing was taken"}, 503, again)

    def _admitted(self, request: Request, entity: str, key: str) -> str | None:
        """Who pushes; None: nobody who may. It takes as long for a set that there is not."""
        web = self._installation.config.web
        settings = self._installation.config.sets.get(key)
        actor = bearer(request, web)
        given = request.scope.get(SECRET) or _as_sent(request.headers.get(HEADER, ""))
        knows = is_secret(given, secret(settings.webhook_secret_env) if settings else None)
        address = client_address(request, web)
        if settings is None or not self._is_of(entity, key) or not is_from(settings, address):
            return None
        if actor is not None and SCOPE in actor.scopes:
            return f"{actor.doer.name} {address}"
        return f"webhook {address}" if knows else None

    def _is_of(self, entity: str, key: str) -> bool:
        name = fetch.kind_of(self._installation, key).entity
        return entity in (name, self._installation.catalog.entity(name).singular)

    def _stored(self, key: str, body: bytes, sender: str) -> JSONResponse:
        try:
            found = pushed.read(self._installation, key, body)
        except NotPushed as error:
            return JSONResponse({"error": error.sentence}, 400)
        return self._put(key, found, sender)

    def _put(self, key: str, found: Pushed, sender: str) -> JSONResponse:
        try:
            with self._installation.pool.connection() as connection:
                is_stored = pushed.store(connection, self._installation, key, found, sender, self._most)
        except UnknownSet:
            return JSONResponse(_FORBIDDEN, 403)
        except InboxFull as error:
            return JSONResponse({"error": error.sentence}, 429, {"Retry-After": str(RETRY_SECONDS)})
        return JSONResponse({"srn": f"{key}:{found.external_id}", "stored": is_stored})


def _as_sent(header: str) -> str:
    """A header's text in UTF-8, as a secret's is; headers are read as Latin-1."""
    return header.encode("latin-1", "replace").decode("utf-8", "replace")


def is_from(settings: SetSettings, address: str) -> bool:
    """Whether records of a set may be pushed from there."""
    if not settings.webhook_addresses:
        return True
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    return any(found in ipaddress.ip_network(network) for network in settings.webhook_addresses)
