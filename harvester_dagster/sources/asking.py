"""Asking a source for a page until it is whole, and noticing that it goes in circles: what all protocols share.

Belongs here: the second and third try of an answer that came with 200 but is no page, and causes in words with their
mend. Does not belong here: what a protocol's page is (it brings the check), retries of failed calls (`outside/`).
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

from harvester_dagster.outside.failures import OutsideError
from harvester_dagster.outside.outside import shown
from harvester_dagster.sources.source import SourceError

if TYPE_CHECKING:
    from harvester_dagster.outside.outside import Answer, Outside

MAX_PAGE_BYTES = 32 * 1024 * 1024
"""100 NL-LOM records are 0.8 MB; a parsed page takes up to ten times its size."""
TRIES = 3
SAME_PAGES = 3
EMPTY_PAGES = 100
STUMBLES = (TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a mapping raises on a value that nobody thought of: it costs one record, never the set."""
T = TypeVar("T")

_MENDS = {
    401: "the source wants a key: name its environment variable in token_env, and set it",
    403: "the source refuses: look at the key (token_env), and ask whether it blocks this machine's address",
    404: "there is nothing at that address: look at url and sets",
    410: "there is nothing at that address any more: look at url and sets",
}


class NoAnswer(SourceError):
    """It answers, again and again, with something that is no answer."""


def whole(
    outside: "Outside",
    url: str,
    params: Mapping[str, str],
    read: Callable[[bytes], T],
    mend: str,
    headers: Mapping[str, str] | None = None,
) -> tuple["Answer", T]:
    """An answer that `read` accepts. A broken one (error page, cut off, empty) is asked for again, then NoAnswer."""
    complaint = ""
    for _ in range(TRIES):
        answer = _ask(outside, url, params, headers)
        try:
            return answer, read(answer.body)
        except SourceError as error:
            complaint = str(error)
    raise NoAnswer(f"{shown(url)}: {TRIES} times {complaint}; {mend}")


def _ask(outside: "Outside", url: str, params: Mapping[str, str], headers: Mapping[str, str] | None) -> "Answer":
    try:
        return outside.get(url, params=params, headers=headers, max_bytes=MAX_PAGE_BYTES)
    except OutsideError as error:
        mend = _MENDS.get(error.status or 0, "look whether the source is up, and at url; the next harvest asks again")
        raise SourceError(f"{error}; {mend}") from error


def looks_like(body: bytes) -> str:
    start = body[:400].decode("utf-8", "replace").strip()
    if "<html" in start.lower() or "<!doctype html" in start.lower():
        return f"a web page that begins with {' '.join(start.split())[:120]!r}"
    return f"something that begins with {' '.join(start.split())[:120]!r}"


def short_name(host: str) -> str:
    """A name for a source that nobody has named yet."""
    parts = [part for part in re.findall(r"[a-z0-9-]+", host.lower()) if part not in ("www", "api", "oai")]
    return next((part for part in parts if part[0].isalpha()), "source")


def quoted(value: str) -> str:
    """As TOML writes a text."""
    return json.dumps(value, ensure_ascii=False)


class Loops:
    """Tells when a list goes in circles: a token that comes again, or the same page again and again under new ones."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._tokens: set[bytes] = set()
        self._contents: Counter[bytes] = Counter()
        self._empty = 0

    def token(self, token: str) -> None:
        key = blake2b(token.encode("utf-8", "replace"), digest_size=16).digest()
        if key in self._tokens:
            raise SourceError(
                f"{self.url}: goes in circles: the page {token[:100]!r} was there before; "
                "the source must mend its paging"
            )
        self._tokens.add(key)

    def content(self, records: Sequence[bytes]) -> None:
        """One record alone may well be sent twice, and a page be empty; neither again and again."""
        self._empty = 0 if records else self._empty + 1
        if self._empty > EMPTY_PAGES:
            raise SourceError(f"{self.url}: {self._empty} empty pages on end; the source must mend its paging")
        if not records:
            return
        key = blake2b(bytes(records[0]) + bytes(records[-1]) + len(records).to_bytes(4), digest_size=16).digest()
        self._contents[key] += 1
        if self._contents[key] > SAME_PAGES:
            raise SourceError(
                f"{self.url}: goes in circles: the same {len(records)} records for the {SAME_PAGES + 1}th time, "
                "under new tokens; the source must mend its paging"
            )
