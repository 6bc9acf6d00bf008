"""Signing in with a token, for people who read pages beyond this machine: the session is that of whoever signs in at a
provider, with the token's name and scopes.

Belongs here: the form, and how often somebody may guess. Does not belong here: which tokens there are and what they
allow (`guard.py`), cookies (`sessions.py`).
"""

import ipaddress
import math
import threading
from collections import deque
from contextlib import suppress
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.config import Web
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
from harvester_dagster.web import guard
from harvester_dagster.web.app import problem
from harvester_dagster.web.own_path import own_path
from harvester_dagster.web.page_frame import PageFrame, form_texts
from harvester_dagster.web.sessions import Sessions

LONGEST = 1_000
"""Characters of a token."""
EACH, ALL, WITHIN = 5, 100, timedelta(minutes=5)
"""So many wrong tokens from one network, and from all, within that time; then none is looked at for a while."""
UNKNOWN = Doer("unknown")
_NOT_KEPT = {"Cache-Control": "no-store"}


class Guesses:
    """Tokens that were tried lately and are not known to be right, by where they came from."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lately: deque[tuple[datetime, str]] = deque()

    def begin(self, network: str, now: datetime) -> timedelta | None:
        """Count one more as wrong; or for how long none is looked at."""
        with self._lock:
            while self._lately and self._lately[0][0] <= now - WITHIN:
                self._lately.popleft()
            own = [at for at, where in self._lately if where == network]
            first = own[0] if len(own) >= EACH else self._lately[0][0] if len(self._lately) >= ALL else None
            if first is None:
                self._lately.append((now, network))
            return None if first is None else first + WITHIN - now

    def was_right(self, network: str, began: datetime) -> None:
        """It counts no more."""
        with self._lock, suppress(ValueError):  # that long ago
            self._lately.remove((began, network))


class TokenLogin:
    """The form of one installation."""

    def __init__(self, installation: Installation, sessions: Sessions, frame: PageFrame) -> None:
        self._installation, self._sessions, self._frame = installation, sessions, frame
        self._web, self._guesses = installation.config.web, Guesses()

    def routes(self) -> list[Route]:
        """The routes, for the application; without a provider one leaves here, too."""
        leaving = [] if self._web.login.issuer else [Route(guard.LOGOUT, self.logout, methods=["POST"])]
        form = [Route(guard.TOKEN_LOGIN, self.form), Route(guard.TOKEN_LOGIN, self.sign_in, methods=["POST"])]
        return [*form, *leaving]

    def form(self, request: Request) -> Response:
        """The form, where nobody reads on the way what is typed into it."""
        if reason := why_not_here(request, self._web):
            return problem(request, 403, reason)
        return self._form(request, own_path(request.query_params.get("next", "")))

    async def sign_in(self, request: Request) -> Response:
        """A session for who holds the token: 403 for a wrong one, 429 after too many."""
        if reason := guard.not_from_our_page(request) or why_not_here(request, self._web):
            return problem(request, 403, reason)
        token, then = await form_texts(request, "token", "next", longest=2 * LONGEST)
        return await run_in_threadpool(self._sign_in, request, token.strip(), own_path(then))

    def _sign_in(self, request: Request, token: str, then: str) -> Response:
        now, address = self._installation.clock(), guard.client_address(request, self._web)
        if (wait := self._guesses.begin(network_of(address), now)) is not None:
            said = (
                f"Too many wrong tokens came in; none is looked at for {math.ceil(wait.total_seconds() / 60)} minutes."
            )
            answer = self._form(request, then, 429, said)
            answer.headers["Retry-After"] = str(math.ceil(wait.total_seconds()))
            return answer
        actor = guard.holder(token, request, self._web)
        if actor is not None:
            self._guesses.was_right(network_of(address), now)  # whatever hinders what comes now: it was no guess
        with audit.acting(actor.doer if actor else UNKNOWN._replace(address=address)):
            if actor is None:
                with self._installation.pool.connection() as connection:
                    audit.write(connection, "sign in", "", now, "refused", reason="no token is like this")
                return self._form(request, then, 403, "No token is like this.")
            audit.told(self._installation.pool, "sign in", "", now, "done")
        answer = RedirectResponse(then, 303, _NOT_KEPT)
        self._sessions.begin(answer, actor.doer.name, [], token)
        return answer

    def logout(self, request: Request) -> Response:
        """The session is over, here and wherever a copy of it is."""
        if reason := guard.not_from_our_page(request):
            return problem(request, 403, reason)
        answer = RedirectResponse("/", 303, _NOT_KEPT)
        self._sessions.end(request)
        self._sessions.forget(answer)
        if person := guard.signed_in(request):
            with audit.acting(person.doer):
                audit.told(self._installation.pool, "sign out", "", self._installation.clock(), "done")
        return answer

    def _form(self, request: Request, then: str, status: int = 200, said: str = "") -> Response:
        provider = urlsplit(self._web.login.issuer).hostname or ""
        answer = self._frame.page(request, "token_login.html", status, then=then, said=said, provider=provider)
        answer.headers.update(_NOT_KEPT)
        return answer


def why_not_here(request: Request, web: Web) -> str:
    """Why nothing is typed in under the address that was asked for: it is not the one that nobody can read along."""
    public = urlsplit(web.public_url)
    usual = {"https": ":443", "http": ":80"}[public.scheme]
    asked = request.headers.get("host", "").lower().removesuffix(usual)
    origin = request.headers.get("origin", f"{public.scheme}://{asked}").lower().removesuffix(usual)
    place = public.netloc.lower().removesuffix(usual)
    is_it = (asked, origin) == (place, f"{public.scheme}://{place}")
    return "" if is_it else f"a token is typed in at {web.public_url}{guard.TOKEN_LOGIN} alone"


def network_of(address: str) -> str:
    """What one person can have all addresses of."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if found.version == 4 else str(ipaddress.ip_network((found, 64), strict=False))
