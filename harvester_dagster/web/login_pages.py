"""Signing in and leaving: the way to the provider, the way back, the end of a session.

Belongs here: requests, and where they lead then. Does not belong here: what is asked of the provider
(`login_provider.py`), cookies (`sessions.py`), what a person may (`guard.py`).
"""

import hmac
import threading
import time
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit
from harvester_dagster.publication.audit import Doer
from harvester_dagster.shown_text import one_line
from harvester_dagster.web import guard
from harvester_dagster.web.app import problem
from harvester_dagster.web.login_provider import CALLBACK, NotSignedIn, Provider
from harvester_dagster.web.sessions import BEGUN_LASTS, Sessions

_LONGEST = 2_000
"""Characters of what a browser brings back, and of where it goes then."""
_MOST_BEGUN = 10_000
"""Logins of which it is remembered that they came back; the provider is asked for less than 3,000 in the time that
one lasts."""
_NOT_KEPT = {"Cache-Control": "no-store"}


class LoginPages:
    """Signing in at the provider of one installation."""

    def __init__(self, installation: Installation, sessions: Sessions) -> None:
        self._installation, self._sessions = installation, sessions
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
        ]

    def login(self, request: Request) -> Response:
        """To the provider; 502 where it is away."""
        try:
            asked = self._provider.asked()
        except NotSignedIn as error:
            return problem(request, 502, str(error))
        answer = RedirectResponse(asked.address, 303, _NOT_KEPT)
        then = own_path(request.query_params.get("next", ""))
        self._sessions.begin_login(answer, asked.state, asked.nonce, asked.verifier, then)
        return answer

    def back(self, request: Request) -> Response:
        """From the provider: a session begins, or it is said why not."""
        answer = self._back(request)
        answer.headers.update(_NOT_KEPT)
        self._sessions.forget_login(answer)
        return answer

    def _back(self, request: Request) -> Response:
        given = {name: request.query_params.get(name, "")[:_LONGEST] for name in ("state", "code", "error", "iss")}
        begun = self._sessions.begun_login(request)
        if begun is None or not hmac.compare_digest(given["state"].encode(), begun.state.encode()):
            return problem(request, 400, "this login was not begun in this browser, or too long ago; sign in again")
        issuer = self._installation.config.web.login.issuer
        if given["iss"] not in ("", issuer):  # RFC 9207
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
        with audit.acting(Doer(person.name, guard.client_address(request, self._installation.config.web))):
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
            self._used.setdefault(state, now + BEGUN_LASTS.total_seconds())
        return is_first

    def logout(self, request: Request) -> Response:
        """The session is over, here and wherever a copy of it is."""
        if reason := guard.not_from_our_page(request):
            return problem(request, 403, reason)
        answer = RedirectResponse("/", 303, _NOT_KEPT)
        self._sessions.end(request, answer)
        if person := guard.signed_in(request):
            with audit.acting(person.doer):
                audit.told(self._installation.pool, "sign out", "", self._installation.clock(), "done")
        return answer


def own_path(text: str) -> str:
    """A path of these pages, with its query; for all else, and where one signs in, that of the night."""
    plain = text.isprintable() and text.startswith("/") and "\\" not in text and len(text) <= _LONGEST
    try:
        parts = urlsplit(text)
    except ValueError:
        return "/"
    is_login = f"{parts.path}/".startswith("/login/")
    return text if plain and not (is_login or parts.scheme or parts.netloc or text.startswith("//")) else "/"
