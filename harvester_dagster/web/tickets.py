"""Tickets: a session of the pages is taken along to Dagster's UI, another origin, by the browser that has it.

    the door    keeps a verifier in a cookie of its own, sends the browser to the pages with its digest (challenge)
    the pages   send it back with a ticket for that challenge, when somebody has signed in there who may use the UI
    the door    takes the ticket, once, in a minute, where the verifier is: its session is that of the pages

Challenge and ticket stand in addresses, as PKCE's do (RFC 7636): whoever reads them in a log has not the cookie, and
learns no name, for a ticket is encrypted. Belongs here: making and taking tickets. Does not belong here: requests
(`login_pages.py`, `door_login.py`).
"""

import hmac
import re
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from psycopg import OperationalError

from harvester_dagster.config import Web
from harvester_dagster.web.api.cursors import key_of
from harvester_dagster.web.sessions import Session, Sessions
from harvester_dagster.web.signed_cookies import place

BACK = "/login/back"
"""Of the door: there a ticket is taken."""
ASKED_FOR = "/door"
"""Of the pages: there a ticket is asked for."""
_LASTS = timedelta(minutes=1)
_LONGEST = 8_000
"""Characters of a ticket: its session stood in a cookie of 4,000."""
_SEALED = {"alg": "dir", "enc": "A256GCM"}


class _Ticket(msgspec.Struct, frozen=True):
    id: str
    challenge: str
    session: Session
    until: int


def are_used(web: Web) -> bool:
    """Whether there is a login, and an address of Dagster's UI to which it could lead."""
    return bool(web.login.issuer and web.dagster_url)


def challenge_of(verifier: str) -> str:
    """What may stand in an address for a verifier."""
    made: str = create_s256_code_challenge(verifier)
    return made


def is_challenge(text: str) -> bool:
    """Whether it could be one."""
    return re.fullmatch(r"[\w-]{43}", text, re.ASCII) is not None


class Tickets:
    """The tickets from the pages of one installation to its door."""

    def __init__(self, web: Web, sessions: Sessions, clock: Callable[[], datetime]) -> None:
        self._sessions, self._clock = sessions, clock
        purpose = f"ticket {place(web, web.public_url)} {place(web, web.dagster_url)}"
        self._key = OctKey.import_key(hmac.digest(key_of(web).encode(), purpose.encode(), "sha256"))

    def made(self, session: Session, challenge: str) -> str:
        """A ticket for whoever has the verifier of this challenge."""
        until = int((self._clock() + _LASTS).timestamp())
        said = _Ticket(secrets.token_hex(16), challenge, session, until)
        return jwe.encrypt_compact(_SEALED, msgspec.json.encode(said), self._key)

    def taken(self, text: str, verifier: str) -> Session | None:
        """The session of a ticket that is good; it is not a second time. While the store is away none is."""
        found = self._read(text)
        if found is None or self._clock().timestamp() >= found.until:
            return None
        if not hmac.compare_digest(found.challenge, challenge_of(verifier)):
            return None
        try:
            return found.session if self._sessions.end_once(found.id, found.until) else None
        except OperationalError:
            return None

    def _read(self, text: str) -> _Ticket | None:
        try:
            opened = jwe.decrypt_compact(text[:_LONGEST], self._key, algorithms=list(_SEALED.values()))
            return msgspec.json.decode(opened.plaintext or b"", type=_Ticket)
        except (JoseError, ValueError, TypeError, msgspec.DecodeError):  # a header may be any JSON
            return None
