"""Signing in and leaving: the way to the provider, the way back, the end of a session.

Belongs here: requests, and where they lead then. Does not belong here: what is asked of the provider
(`login_provider.py`), sessions (`sessions.py`), what a person may (`guard.py`).
"""

import hmac
import threading
import time
from datetime import timedelta
from urllib.parse import urlencode, urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
from harvester_dagster.shown_text import one_line
from harvester_dagster.web import guard, tickets
from harvester_dagster.web.app import page, problem
from harvester_dagster.web.login_provider import CALLBACK, NotSignedIn, Provider
from harvester_dagster.web.own_path import own_path
from harvester_dagster.web.sessions import Sessions, scopes_of
from harvester_dagster.web.tickets import Tickets

_LONGEST = 2_000
"""Characters of what a browser brings back."""
_BEGUN = "harvester_login"
_BEGUN_LASTS = timedelta(minutes=10)
_MOST_BEGUN = 10_000
"""Logins of which it is remembered that they came back; the provider is asked for less than 3,000 in the time that
one lasts."""
_NOT_KEPT = {"Cache-Control": "no-store"}


class _Begun(msgspec.Struct, frozen=True):
    """A login that was begun in a browser: what must come back with it, and where it leads then."""

    state: str
    nonce: str
    verifier: str
    then: str
    until: int


class LoginPages:
    """Signing in at the provider of one installation."""

    def __init__(self, installation: Installation, sessions: Sessions) -> None:
        self._installation, self._sessions, self._web = installation, sessions, installation.config.web
        self._tickets = Tickets(self._web, sessions, installation.clock)
        self._provider = Provider(installation.config.web, installation.outside, installation.clock)
        self._lock = threading.Lock()
        self._used: dict[str, float] = {}
        """The state of each login that came back, until it is too old anyway; the oldest first."""

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route("/login", self.login),
            Route(CALLBACK, self.back),
            Route(guard.LOGOUT, self.logout, methods=["POST"]),
            Route(guard.LOGOUT, self.signed_out),
            *([Route(tickets.ASKED_FOR, self.to_dagster)] if tickets.are_used(self._web) else []),
        ]

    def login(self, request: Request) -> Response:
        """To the provider; 502 where it is away."""
        try:
            asked = self._provider.asked()
        except NotSignedIn as error:
            return problem(request, 502, str(error))
        answer, cookies = RedirectResponse(asked.address, 303, _NOT_KEPT), self._sessions.cookies
        then = own_path(request.query_params.get("next", ""))
        begun = _Begun(asked.state, asked.nonce, asked.verifier, then, cookies.until(_BEGUN_LASTS))
        cookies.set(answer, _BEGUN, begun)
        return answer

    def back(self, request: Request) -> Response:
        """From the provider: a session begins, or it is said why not."""
        answer = self._back(request)
        answer.headers.update(_NOT_KEPT)
        self._sessions.cookies.forget(answer, _BEGUN)
        return answer

    def _back(self, request: Request) -> Response:
        given = {name: request.query_params.get(name, "")[:_LONGEST] for name in ("state", "code", "error", "iss")}
        begun = self._sessions.cookies.read(request, _BEGUN, _Begun)
        if begun is None or not hmac.compare_digest(given["state"].encode(), begun.state.encode()):
            return problem(request, 400, "this login was not begun in this browser, or too long ago; sign in again")
        if given["iss"] not in ("", self._web.login.issuer):  # RFC 9207
            return problem(request, 400, "the answer is of another login provider; sign in again")
        if given["error"] or not given["code"]:
            said = one_line(given["error"])[:100] or "it sent no code"
            return problem(request, 403, f"the login provider did not let you in: {said}; sign in again")
        if not self._is_first(begun.state):
            return problem(request, 400, "this login has come back already; sign in again")
        try:
            person = self._provider.person(given["code"], begun.nonce, begun.verifier)
        except NotSignedIn as error:
            return problem(request, 403, str(error))
        answer = RedirectResponse(begun.then, 303)
        self._sessions.begin(answer, person.name, person.values)
        with audit.acting(Doer(person.name, guard.client_address(request, self._web))):
            audit.told(self._installation.pool, "sign in", "", self._installation.clock(), "done")
        return answer

    def _is_first(self, state: str) -> bool:
        """Whether no code was shown to the provider for this login: a browser that keeps its cookie asks once too."""
        with self._lock:
            now = time.monotonic()
            for old, until in list(self._used.items()):
                if until > now and len(self._used) < _MOST_BEGUN:
                    break
                del self._used[old]
            is_first = state not in self._used
            self._used.setdefault(state, now + _BEGUN_LASTS.total_seconds())
        return is_first

    def logout(self, request: Request) -> Response:
        """The session is over, here and wherever a copy of it is, in Dagster's UI too; then at the provider, where
        it has a way to that."""
        if reason := guard.not_from_our_page(request):
            return problem(request, 403, reason)
        self._sessions.end(request)
        if person := guard.signed_in(request):
            with audit.acting(person.doer):
                audit.told(self._installation.pool, "sign out", "", self._installation.clock(), "done")
        answer = RedirectResponse(self._provider.way_out() or guard.LOGOUT, 303, _NOT_KEPT)
        self._sessions.forget(answer)
        return answer

    def signed_out(self, request: Request) -> Response:
        """What is over now, and what may not be."""
        if guard.signed_in(request):
            return RedirectResponse("/", 303, _NOT_KEPT)
        host = urlsplit(self._web.login.issuer).hostname
        return page(request, "signed_out.html", provider=host, is_asked=bool(self._provider.way_out()))

    def to_dagster(self, request: Request) -> Response:
        """To the door before Dagster's UI, with a ticket; first to sign in, for whoever has not."""
        challenge, session = request.query_params.get("challenge", ""), self._sessions.of(request)
        if not tickets.is_challenge(challenge):
            return problem(request, 400, f"Dagster's UI is at {self._web.dagster_url}; open it there")
        if session is None:
            then = urlencode({"next": f"{tickets.ASKED_FOR}?{urlencode({'challenge': challenge})}"})
            return RedirectResponse(f"/login?{then}", 303, _NOT_KEPT)
        if guard.OPERATE not in scopes_of(self._web, session.values):
            return problem(
                request, 403, f"{session.name} has not the scope {guard.OPERATE!r}, which Dagster's UI needs"
            )
        ticket = urlencode({"ticket": self._tickets.made(session, challenge)})
        headers = _NOT_KEPT | {"Referrer-Policy": "no-referrer"}
        return RedirectResponse(f"{self._web.dagster_url}{tickets.BACK}?{ticket}", 303, headers)
