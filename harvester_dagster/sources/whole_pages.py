"""Asking a source for a page until it is whole, and noticing that it goes in circles: what all protocols share.

Belongs here: the second and third try of an answer that came with 200 but is no page, and causes in words with their
mend. Does not belong here: what a protocol's page is (it brings the check), retries of failed calls (`outside/`).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import urlencode

from harvester_dagster import shown_text
from harvester_dagster.failures import OutsideError, TransientError
from harvester_dagster.outside.http import Answer, shown
from harvester_dagster.sources import encodings
from harvester_dagster.sources.source_error import SourceError

if TYPE_CHECKING:
    from harvester_dagster.outside.http import Cookies, Outside

MAX_PAGE_BYTES = 32 * 1024 * 1024
"""100 NL-LOM records are 0.8 MB; a parsed page takes up to ten times its size."""
TRIES = 3
SAME_PAGES = 3
EMPTY_PAGES = 100
STUMBLES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a mapping raises on a value that nobody thought of: it costs one record, never the set."""
MUST_MEND = "the source must mend its paging"
LONGEST_GET = 2_000
"""Characters of a URL, which any server takes; beyond, POST comes first."""
T = TypeVar("T")

_MEND = "look whether the source is up, and at url; the next harvest asks again"
_MENDS = {
    401: "the source wants a key: name its environment variable in token_env, and set it",
    403: "the source refuses: look at the key (token_env), and ask whether it blocks this machine's address",
    404: "there is nothing at that address: look at url and sets",
    410: "there is nothing at that address any more: look at url and sets",
    414: "its tokens are longer than its own server takes: the source must shorten them, or take POST",
}


_UNPACKED_MEND = (
    "it announces a Content-Encoding (gzip or deflate) that its body does not have, also where it is asked for none: "
    "the source, or what stands before it, must send what it says"
)
BAD_ENCODING = "bad-encoding"
UNPACKED = {"Accept-Encoding": "identity"}


class Unanswered(SourceError):
    """A page cannot be had now. What came of its list before stands, and may be gone on with."""


class NoAnswer(Unanswered):
    """A source answers, again and again, with something that is no page."""


class Circle(SourceError):
    """A list leads back to where it was."""


class Asking(NamedTuple):
    """How the calls of one walk are made: with which headers and cookies, and by POST too where a protocol has it
    (OAI-PMH 2.0, 3.1.1) and a URL is too long."""

    headers: Mapping[str, str] = {}
    cookies: "Cookies | None" = None
    posts: bool = False


USUAL = Asking()


def whole(
    outside: "Outside",
    url: str,
    params: Mapping[str, str],
    read: Callable[[bytes], T],
    mend: str,
    asking: Asking = USUAL,
    is_said: Callable[[T], bool] = lambda _page: False,
) -> tuple["Answer", T]:
    """An answer that `read` accepts, and what it read. A broken one (error page, cut off, empty) is asked for again,
    three times in all.

    `read` raises SourceError for what is no page. `is_said`: whether an answer says in the protocol's own words what is
    wrong; one that does counts whatever its HTTP status. Raises NoAnswer, which ends with `mend`, when none was
    accepted, and Unanswered when `outside` got no answer.
    """
    complaint = ""
    for _ in range(TRIES):  # no tenacity: nothing is waited for, and what `outside` gave up on is not tried again
        answer = _ask(outside, url, params, asking, lambda body: _is_said(body, read, is_said))
        try:
            answer = answer._replace(body=encodings.decoded(answer.body, answer.headers))
            return answer, read(answer.body)
        except SourceError as error:
            complaint = str(error)
    raise NoAnswer(f"{shown(url)}: {TRIES} times {complaint}{_length_of(params)}", mend)


def _is_said(body: bytes, read: Callable[[bytes], T], is_said: Callable[[T], bool]) -> bool:
    try:
        return bool(body) and is_said(read(encodings.decoded(body, {})))
    except SourceError:
        return False


def _ask(
    outside: "Outside", url: str, params: Mapping[str, str], asking: Asking, is_said: Callable[[bytes], bool]
) -> "Answer":
    """By GET; where the URL is long, by POST first; and by the other one where a URL was too long or POST refused. What
    is not packed as it says is asked for once more without packing."""
    by_get = partial(outside.get, url, params=params)
    by_post = partial(outside.post, url, data=params, attempts=4)
    length = len(url) + len(urlencode(params))
    ways = [by_post, by_get] if asking.posts and length > LONGEST_GET else [by_get, by_post]
    failures: list[OutsideError] = []
    for way in ways if asking.posts else [by_get]:
        try:
            return way(headers=asking.headers, cookies=asking.cookies, max_bytes=MAX_PAGE_BYTES)
        except OutsideError as error:
            if is_said(error.body):
                return Answer(error.status or 0, {}, error.body, url)
            if error.code == BAD_ENCODING and UNPACKED.keys() - asking.headers.keys():
                return _ask(outside, url, params, asking._replace(headers={**asking.headers, **UNPACKED}), is_said)
            failures.append(error)
            if isinstance(error, TransientError) or (way is by_get and not _may_be_too_long(error, length)):
                break
    failed = failures[0]
    mend = _UNPACKED_MEND if failed.code == BAD_ENCODING else _MENDS.get(failed.status or 0, _MEND)
    raise Unanswered(f"{failed}{_length_of(params)}", mend) from failed


def _may_be_too_long(error: OutsideError, length: int) -> bool:
    """Whether a URL was refused for its length. Servers that have no word for that say that there is no such page."""
    too_long = error.status in (413, 414, 431) or error.code == "url-too-long"
    return too_long or (error.status in (400, 404) and length > LONGEST_GET // 2)


def _length_of(params: Mapping[str, str]) -> str:
    longest = max(map(len, params.values()), default=0)
    return f" (asked with a token of {longest:,} characters)" if longest > LONGEST_GET // 4 else ""


def looks_like(body: bytes) -> str:
    """What arrived instead of a page, in words for a message: a web page, and its first 120 characters, or something
    else and its first 40: a page that is broken begins with a record."""
    if b"\0" in body[:400] or sum(byte < 9 or 13 < byte < 32 for byte in body[:400]) > len(body[:400]) / 10:
        return f"{len(body):,} bytes that are no text"
    start = body[:400].decode("utf-8", "replace").strip()
    if "<html" in start.lower() or "<!doctype html" in start.lower():
        return f"a web page that begins with {' '.join(start.split())[:120]!r}"
    return f"something that begins with {' '.join(start.split())[:40]!r}"


def short_name(host: str) -> str:
    """A name for a source that nobody has named yet, from the first telling part of its host's name."""
    parts = [part for part in re.findall(r"[a-z0-9-]+", host.lower()) if part not in ("www", "api", "oai")]
    return next((part for part in parts if part[0].isalpha()), "source")


def quoted(value: str) -> str:
    """A text as TOML writes it, quotes included."""
    return shown_text.json_text(json.dumps(value, ensure_ascii=False))


class Loops:
    """Tells when a list goes in circles: a token that comes again, or the same page again and again under new ones.

    One object for one walk along a list; `url` is for messages.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._tokens: set[bytes] = set()
        self._contents: Counter[bytes] = Counter()
        self._empty = 0

    def token(self, token: str) -> None:
        """Note a token before it is followed. Raises Circle when it was there before."""
        key = blake2b(token.encode("utf-8", "replace"), digest_size=16).digest()
        if key in self._tokens:
            raise Circle(f"{self.url}: goes in circles: the page {token[:100]!r} was there before", MUST_MEND)
        self._tokens.add(key)

    def content(self, records: Sequence[bytes]) -> None:
        """Note the raw records of a page. Raises Circle for the fourth page with the same ones, or more than
        100 empty pages on end: one record alone may well be sent twice, and a page be empty, but not again and
        again."""
        self._empty = 0 if records else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise Circle(f"{self.url}: {self._empty} empty pages on end", MUST_MEND)
        if not records:
            return
        key = blake2b(bytes(records[0]) + bytes(records[-1]) + len(records).to_bytes(4), digest_size=16).digest()
        self._contents[key] += 1
        if self._contents[key] > SAME_PAGES:
            raise Circle(
                f"{self.url}: goes in circles: the same {len(records)} records for the {SAME_PAGES + 1}th time, "
                "under new tokens",
                MUST_MEND,
            )
