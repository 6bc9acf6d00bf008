"""The secret in a webhook's address is taken out of it before anything can write the address down.

Middleware, the outermost: what comes after it, access logs included, finds the address without the secret, and the
secret where the webhook looks for it. Does not belong here: who may push (`webhook.py`).
"""

from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

from harvester_dagster.web.guard import WEBHOOK

SECRET = "harvester.webhook_secret"
"""Where it is, in the request's scope."""


class HiddenSecret:
    """`/webhook/ENTITY/SET/SECRET/` goes on as `/webhook/ENTITY/SET/`: the third part is the secret, and what may
    come after it is dropped. A set whose name has a slash is written with %2F."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] == "http" and scope["path"].startswith(WEBHOOK):
            _hide(scope)
        await self._app(scope, receive, send)


def _hide(scope: Scope) -> None:
    """In place: the server's access log reads this very scope."""
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    parts = [part for part in raw.partition(b"?")[0].removeprefix(WEBHOOK.encode()).split(b"/") if part]
    scope[SECRET] = unquoted(parts[2]) if len(parts) > 2 else ""
    kept = parts[:2]
    scope["path"] = WEBHOOK + "/".join(map(unquoted, kept)) + "/"
    scope["raw_path"] = WEBHOOK.encode() + b"/".join(kept) + b"/"
    scope["query_string"] = b""  # nothing is asked for there, and somebody may have put it there


def unquoted(part: bytes) -> str:
    """A part of an address as text."""
    from urllib.parse import unquote_to_bytes

    return unquote_to_bytes(part).decode(errors="replace")
