"""The one way out: every HTTP call that the system makes goes through `Outside`.

Belongs here: what a URL may be, redirects (each hop guarded), limits on seconds and bytes, politeness, retries, and
sorting what went wrong into the kinds of `failures.py`. Does not belong here: what an answer means (the caller's
business), keeping bodies (`bodies.py`), addresses and sockets (`addresses.py`, `connections.py`).
"""

import hashlib
import http.client
import io
import json as json_text
import re
import ssl
import sys
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import AbstractContextManager
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, TypeVar
from urllib.parse import urljoin, urlsplit

import requests
import tenacity
import urllib3
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict
from requests.utils import requote_uri

from harvester_dagster.failures import Hop, OutsideError, PermanentError, RefusedError, TransientError
from harvester_dagster.outside.addresses import Resolve, system_addresses
from harvester_dagster.outside.connections import CONNECT_SECONDS, AddressGuard, Allowed, GuardedTransport, deadline
from harvester_dagster.outside.pace import Pace

MAX_URL = 8 * 1024
MAX_REDIRECTS = 10
MIB = 1024 * 1024
_CHUNK = 64 * 1024
_DAY = 24 * 3600.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TRANSIENT_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 509, 520, 521, 522, 523, 524, 529})
# What a HEAD answers with these is not the last word: servers refuse the method in many ways. 429 and 503 say that a
# second request is not welcome now.
_HEAD_IS_FINAL = frozenset({429, 503})
_CLOSED = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
_SAFE_ELSEWHERE = frozenset({"accept", "accept-encoding", "user-agent", "range", "if-none-match", "if-modified-since"})
_PACKED = {"Accept-Encoding": "gzip, deflate"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_Answered = TypeVar("_Answered")
Cookies = RequestsCookieJar
"""What a caller keeps of a host's state between calls that belong together."""
MOST_COOKIES = 50
"""A jar with more takes up none."""


class Answer(NamedTuple):
    """The whole answer to a call. `url` is where it came from after redirects; `headers` are read in any case of
    letters."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Probe(NamedTuple):
    """What a look at a URL found, without reading its body. Any status is an answer here."""

    status: int
    url: str
    headers: Mapping[str, str]
    hops: tuple[Hop, ...]
    """The redirects on the way, first one first."""


class Download(NamedTuple):
    """What was written to the file; with status 304 nothing was. `media_type` is what the header claims."""

    status: int
    url: str
    sha256: bytes
    length: int
    media_type: str
    etag: str | None
    last_modified: str | None


class Budget:
    """How much an `Outside` may do in all: so many requests, retries and redirects too, within so many seconds, waiting
    included. An answer may have `most_bytes`."""

    def __init__(self, requests: int, seconds: float, most_bytes: int = sys.maxsize) -> None:
        self._most, self._left, self._seconds, self.most_bytes = requests, requests, seconds, most_bytes
        self._until = time.monotonic() + seconds
        self._lock = threading.Lock()

    def take(self) -> float:
        """Of a request that is made now: when it must be over (monotonic seconds). Raises RefusedError beyond it."""
        with self._lock:
            self._left -= 1
            if self._left < 0:
                raise RefusedError("budget", f"more than {self._most} requests would be needed")
        if time.monotonic() >= self._until:
            raise RefusedError("budget", f"more than {self._seconds:.0f} seconds would be needed")
        return self._until

    def seconds_left(self) -> float:
        """Until all must be over."""
        return max(0.0, self._until - time.monotonic())


class _Made(threading.local):
    requests: int = 0


_made = _Made()


def made_here() -> int:
    """How many requests this thread has made so far, retries and redirects too."""
    return _made.requests


class Outside(AbstractContextManager["Outside"]):
    """Calls to the world. One object serves all threads of a process; its connections are kept and shared.

    `allow_hosts` (`host`, or `host:port`) may be called although their addresses are not public.
    `per_host_per_second` is the polite rate; all processes that name the same `pace_folder` keep it together. Pauses
    between attempts are random: up to `back_off` seconds at first, up to twice as long each time, 30 s at most.
    `budget` bounds all calls together.

    Of every call: `timeout` bounds one attempt as a whole, in seconds; `attempts` is how often it is made at most,
    while it fails with a TransientError; `patience` is how long, in seconds, a `Retry-After` may make it wait (asked
    for more, the call fails at once, and so do further calls to that host until the time is over). All raise
    OutsideError.
    """

    def __init__(
        self,
        *,
        allow_hosts: Allowed = (),
        per_host_per_second: float = 4.0,
        user_agent: str = "harvester_dagster",
        pace_folder: Path | None = None,
        resolve: Resolve = system_addresses,
        back_off: float = 1.0,
        budget: Budget | None = None,
    ) -> None:
        self._user_agent, self._budget = user_agent, budget
        self._pace = Pace(per_host_per_second, pace_folder)
        self._back_off = tenacity.wait_random_exponential(multiplier=back_off, max=30)
        self._transport = GuardedTransport(AddressGuard(allow_hosts, resolve), hosts_kept=256, connections_per_host=64)

    def close(self) -> None:
        """Close the connections that are kept."""
        self._transport.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 64 * MIB,
        timeout: float = 60,
        attempts: int = 4,
        patience: float = 120,
        accept: Container[int] = (),
        follows: Callable[[str], bool] = lambda _url: True,
        cookies: Cookies | None = None,
    ) -> Answer:
        """The whole body, of at most `max_bytes`. A status from 400 on is raised, unless it is in `accept`; 304 is an
        answer.

        Where `follows` says no to a redirect's target, it raises RefusedError ("not-followed"). `cookies` are sent, and
        take up what is set, as long as the host that was asked answers: those of others are forgotten with the call.
        """
        packed = {**_PACKED, **(headers or {})}
        call = _Call("GET", url, packed, timeout, params=params, follows=follows, cookies=cookies)
        return self._retried(lambda: self._answer(call, max_bytes, patience, accept), attempts, patience)

    def post(
        self,
        url: str,
        *,
        json: Any = None,
        data: bytes | str | Path | Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 64 * MIB,
        timeout: float = 60,
        attempts: int = 1,
        patience: float = 120,
        accept: Container[int] = (),
        cookies: Cookies | None = None,
    ) -> Answer:
        """As `get`, with a body: `json` to be encoded, or `data` (a mapping is sent as a form, a Path is streamed from
        its file).

        Redirects are not followed. It is made once unless `attempts` says otherwise, for it may have been done although
        no answer came.
        """
        headers = headers or {}
        if json is not None:
            data = json_text.dumps(json).encode()
            headers = {"Content-Type": "application/json", **headers}
        call = _Call("POST", url, {**_PACKED, **headers}, timeout, data=data, cookies=cookies)
        return self._retried(lambda: self._answer(call, max_bytes, patience, accept), attempts, patience)

    def put(
        self,
        url: str,
        *,
        data: bytes | str | Path,
        headers: Mapping[str, str] | None = None,
        timeout: float = 60,
        attempts: int = 1,
    ) -> Answer:
        """As `post`."""
        call = _Call("PUT", url, {**_PACKED, **(headers or {})}, timeout, data=data)
        return self._retried(lambda: self._answer(call, 64 * MIB, 120, ()), attempts, 120)

    def probe(
        self,
        url: str,
        *,
        timeout: float = 30,
        attempts: int = 2,
        patience: float = 5,
        follows: Callable[[str], bool] = lambda _url: True,
    ) -> Probe:
        """Look at a URL: HEAD, then a GET whose body stays unread where HEAD was refused.

        Any status is an answer, but for a transient one that stays after all attempts, which is raised. Where `follows`
        says no to a redirect's target, it raises RefusedError ("not-followed").
        """
        return self._retried(lambda: self._probe(url, timeout, patience, follows), attempts, patience)

    def download(
        self,
        url: str,
        to: BinaryIO,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        timeout: float = 300,
        attempts: int = 3,
        patience: float = 120,
    ) -> Download:
        """Stream the body, of at most `max_bytes`, into a file, which is emptied first. 304 is an answer when
        `headers` hold a condition. What the file raises (OSError of a full disk) passes through."""
        call = _Call("GET", url, {"Accept-Encoding": "identity", **(headers or {})}, timeout)
        return self._retried(lambda: self._download(call, to, max_bytes, patience), attempts, patience)

    def _retried(self, call: Callable[[], _Answered], attempts: int, patience: float) -> _Answered:
        if attempts <= 1:
            return call()
        return tenacity.Retrying(
            stop=lambda state: state.attempt_number >= attempts or seconds_asked_for(state) > self._patience(patience),
            wait=lambda state: seconds_asked_for(state) or self._back_off(state),
            retry=tenacity.retry_if_exception_type(TransientError),
            reraise=True,
        )(call)

    def _patience(self, asked: float) -> float:
        """Waiting past the end of a budget is of no use."""
        return min(asked, self._budget.seconds_left()) if self._budget else asked

    def _answer(self, call: "_Call", max_bytes: int, patience: float, accept: Container[int]) -> Answer:
        response, _hops = self._follow(call, patience)
        with response:
            if response.status_code >= 400 and response.status_code not in accept:
                raise self._failed(response, reads=True)
            most = min(max_bytes, self._budget.most_bytes) if self._budget else max_bytes
            body = b"".join(_chunks(response, most))
        return Answer(response.status_code, response.headers, body, str(response.url))

    def _probe(self, url: str, timeout: float, patience: float, follows: Callable[[str], bool]) -> Probe:
        def look(method: str, headers: Mapping[str, str]) -> tuple[requests.Response, tuple[Hop, ...]]:
            return self._follow(_Call(method, url, headers, timeout, follows=follows), patience)

        try:
            response, hops = look("HEAD", {"Accept-Encoding": "identity"})
            with response:
                _drain(response)
                if response.status_code < 400:
                    return _seen(response, hops)
                if response.status_code in _HEAD_IS_FINAL:
                    raise self._failed(response)
        except TransientError as error:
            if error.code != "cut":  # some servers hang up on HEAD
                raise
        response, hops = look("GET", {"Range": "bytes=0-0"})
        if response.status_code == 416:  # nothing in it: there is no first byte
            response.close()
            response, hops = look("GET", {})
        with response:
            if response.status_code in _TRANSIENT_STATUS:
                raise self._failed(response)
            _drain(response)
            return _seen(response, hops)

    def _download(self, call: "_Call", to: BinaryIO, max_bytes: int, patience: float) -> Download:
        to.seek(0)
        to.truncate()
        digest, length = hashlib.sha256(), 0
        response, _hops = self._follow(call, patience)
        with response:
            if response.status_code >= 300 and not (response.status_code == 304 and call.is_conditional):
                raise self._failed(response)
            for chunk in _chunks(response, max_bytes):
                to.write(chunk)
                digest.update(chunk)
                length += len(chunk)
        headers = response.headers
        return Download(
            response.status_code,
            str(response.url),
            digest.digest(),
            length,
            media_type(headers),
            headers.get("ETag"),
            headers.get("Last-Modified"),
        )

    def _follow(self, call: "_Call", patience: float) -> tuple[requests.Response, tuple[Hop, ...]]:
        """The answer at the end of the redirects, its body still unread."""
        hops: list[Hop] = []
        try:
            return self._hop_by_hop(call, patience, hops), tuple(hops)
        except OutsideError as error:
            error.hops = tuple(hops)
            raise

    def _hop_by_hop(self, call: "_Call", patience: float, hops: list[Hop]) -> requests.Response:
        deadline.at = time.monotonic() + call.timeout
        url, headers = call.url, CaseInsensitiveDict({"User-Agent": self._user_agent, **call.headers})
        cookies = call.cookies
        seen: set[tuple[str, str | None]] = set()
        while True:
            request = _prepared(call, url, headers, cookies, first=not hops)
            asked = (str(request.url), request.headers.get("Cookie"))
            if asked in seen:
                raise PermanentError("loop", f"{shown(call.url)} redirects in a circle")
            seen.add(asked)
            response = self._send(request, call, patience)
            if response.cookies and cookies is not None and len(cookies) < MOST_COOKIES:
                cookies.update(response.cookies)
            location = response.headers.get("Location")
            if response.status_code not in _REDIRECTS or not location or call.method not in ("GET", "HEAD"):
                return response
            hops.append(Hop(response.status_code, asked[0]))
            _drain(response)
            response.close()
            if len(hops) > MAX_REDIRECTS:
                sentence = f"{shown(call.url)} redirects more than {MAX_REDIRECTS} times"
                raise PermanentError("too-many-redirects", sentence)
            url = _target(asked[0], location)
            if not call.follows(url):
                raise RefusedError("not-followed", f"{shown(call.url)} redirects to {shown(url)}: not to be called")
            if _origin(url) != _origin(asked[0]):
                headers = CaseInsensitiveDict({k: v for k, v in headers.items() if k.lower() in _SAFE_ELSEWHERE})
                cookies = None
            if response.cookies and cookies is None:  # doors that open only to who brings the cookie back
                cookies = Cookies()
                cookies.update(response.cookies)

    def _send(self, request: requests.PreparedRequest, call: "_Call", patience: float) -> requests.Response:
        host = urlsplit(str(request.url)).hostname or ""
        if (held := self._pace.held(host)) > self._patience(patience):
            raise TransientError("held", f"{host} asked not to be called for {held:.0f} seconds", retry_after=held)
        deadline.at += self._pace.wait(host)
        try:
            try:
                return self._transmit(request)
            except urllib3.exceptions.HTTPError as error:
                # A kept connection that the host closed in this moment tells nothing about the host.
                if call.method not in ("GET", "HEAD") or not any(isinstance(it, _CLOSED) for it in _causes(error)):
                    raise
                return self._transmit(request)
        except (requests.RequestException, urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise _network_failure(error, shown(str(request.url))) from None
        finally:
            body: Any = request.body
            if isinstance(body, io.IOBase):
                body.close()

    def _transmit(self, request: requests.PreparedRequest) -> requests.Response:
        if self._budget:
            deadline.at = min(deadline.at, self._budget.take())
        _made.requests += 1
        left = max(deadline.left(), 0.001)
        return self._transport.send(request, min(CONNECT_SECONDS, left), left)

    def _failed(self, response: requests.Response, *, reads: bool = False) -> OutsideError:
        error = self._failure(response)
        if reads:
            error.body = _beginning(response)
        else:
            _drain(response)
        return error

    def _failure(self, response: requests.Response) -> OutsideError:
        status, url = response.status_code, str(response.url)
        sentence = f"{shown(url)} answered {status} {response.reason or ''}".rstrip()
        retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        if status not in _TRANSIENT_STATUS:
            return PermanentError(f"status-{status}", sentence, status=status)
        if retry_after:
            self._pace.hold(urlsplit(url).hostname or "", retry_after)
        return TransientError(f"status-{status}", sentence, status=status, retry_after=retry_after)


class _Call(NamedTuple):
    method: str
    url: str
    headers: Mapping[str, str]
    timeout: float
    params: Mapping[str, str] | None = None
    data: bytes | str | Path | Mapping[str, str] | None = None
    follows: Callable[[str], bool] = lambda _url: True
    cookies: "Cookies | None" = None

    @property
    def is_conditional(self) -> bool:
        return any(name.lower() in ("if-none-match", "if-modified-since") for name in self.headers)


def media_type(headers: Mapping[str, str]) -> str:
    """The Content-Type without its parameters, in lower case; "" without one."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def shown(url: str) -> str:
    """A URL for messages: without its query and credentials, which may hold a key, and of 300 characters at most."""
    bare, question, _query = url.partition("?")
    scheme, slashes, rest = bare.partition("://")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{slashes}{authority.rpartition('@')[2]}{slash}{path}{'?…' if question else ''}"
    return text if len(text) <= 300 else text[:299] + "…"


def check_url_form(url: str) -> None:
    """Raise RefusedError for what is not a web address that we would call: no http or https, no host, with
    credentials, control characters, or longer than 8 KB."""
    if len(url) > MAX_URL:
        raise RefusedError("url-too-long", f"{shown(url)} is longer than {MAX_URL} characters")
    try:
        url.encode()
        if _CONTROL.search(url):
            raise ValueError("it has control characters")
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise RefusedError("bad-url", f"{shown(url)!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise RefusedError("scheme", f"{shown(url)!r} is not a web address: only http and https are called")
    if parts.username is not None or parts.password is not None:
        raise RefusedError("credentials", f"{shown(url)} carries credentials")
    if not host:
        raise RefusedError("bad-url", f"{shown(url)!r} has no host")


def _prepared(
    call: _Call,
    url: str,
    headers: Mapping[str, str],
    cookies: RequestsCookieJar | None,
    *,
    first: bool,
) -> requests.PreparedRequest:
    check_url_form(url)
    request = requests.PreparedRequest()
    data: Any = call.data.open("rb") if isinstance(call.data, Path) else call.data
    try:
        request.prepare_method(call.method)
        request.prepare_url(url, call.params if first else None)
        request.prepare_headers(headers)
        if cookies:
            request.prepare_cookies(cookies)
        request.prepare_body(data, None)
    except (requests.RequestException, UnicodeError, ValueError) as error:
        raise RefusedError("bad-url", f"{shown(url)!r} cannot be called: {type(error).__name__}") from None
    if len(str(request.url)) > MAX_URL:
        raise RefusedError("url-too-long", f"{shown(url)} is longer than {MAX_URL} characters")
    return request


def _target(url: str, location: str) -> str:
    """Where a Location leads. Header bytes arrive as Latin-1; browsers and servers mean UTF-8."""
    raw = location.encode("latin-1", "replace").decode("utf-8", "replace").strip()
    try:
        return requote_uri(urljoin(url, raw))
    except ValueError:
        raise PermanentError("bad-redirect", f"{shown(url)} redirects to something that is no URL") from None


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _seen(response: requests.Response, hops: tuple[Hop, ...]) -> Probe:
    """206 answers the range that we asked for: the URL itself is fine."""
    status = 200 if response.status_code == 206 else response.status_code
    return Probe(status, str(response.url), response.headers, hops)


def _chunks(response: requests.Response, max_bytes: int) -> Iterator[bytes]:
    """The body as it arrives, unpacked, up to a bound. urllib3 unpacks no more at a time than is asked for."""
    url = shown(str(response.url))
    too_large = PermanentError("too-large", f"{url} is larger than {max_bytes:,} bytes")
    if int(_digits(response.headers.get("Content-Length"))) > max_bytes and response.request.method != "HEAD":
        raise too_large
    total = 0
    stream = response.raw.stream(_CHUNK, decode_content=True)
    while True:
        try:
            chunk = next(stream, None)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _network_failure(error, url) from None
        if chunk is None:
            return
        total += len(chunk)
        if total > max_bytes:
            raise too_large
        yield chunk


def _beginning(response: requests.Response) -> bytes:
    """The first 64 KB of a body, unpacked; nothing where it cannot be read."""
    try:
        return bytes(response.raw.read(_CHUNK, decode_content=True))
    except (urllib3.exceptions.HTTPError, OSError):
        response.raw.close()
        return b""


def _drain(response: requests.Response) -> None:
    """Read what little is left, so that the connection can be kept; a large or endless rest is hung up on."""
    if response.request.method == "HEAD" or int(_digits(response.headers.get("Content-Length"), "9" * 9)) <= _CHUNK:
        try:
            response.raw.read(_CHUNK + 1, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError):
            response.raw.close()


def _digits(value: str | None, otherwise: str = "0") -> str:
    value = (value or "").strip()
    return value if value.isascii() and value.isdigit() and len(value) < 19 else otherwise


def retry_after_seconds(retry_after: str | None) -> float | None:
    """The seconds of a Retry-After, which is a number or a date; a day at most. None without one that can be read."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _DAY)
    try:
        return min(max(parsedate_to_datetime(text).timestamp() - time.time(), 0.0), _DAY)
    except (ValueError, TypeError, OverflowError):
        return None


def seconds_asked_for(state: tenacity.RetryCallState) -> float:
    """How long the failed attempt's host asked us to wait (`Retry-After`), in seconds; 0 when it did not."""
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, TransientError) else 0.0


def _network_failure(error: BaseException, url: str) -> OutsideError:
    """The kind of what requests, urllib3 or the socket raised. Their texts hold whole URLs, so none is passed on."""
    causes = list(_causes(error))
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return PermanentError("certificate", f"{url}: its certificate is not valid for it")
    if any(isinstance(cause, TimeoutError | requests.Timeout | urllib3.exceptions.TimeoutError) for cause in causes):
        return TransientError("timeout", f"{url} did not answer in time")
    if any(isinstance(cause, ssl.SSLError | urllib3.exceptions.SSLError) for cause in causes):
        return TransientError("tls", f"{url}: no encrypted connection could be made")
    if any(isinstance(cause, urllib3.exceptions.DecodeError) for cause in causes):
        return PermanentError("bad-encoding", f"{url}: its body is not encoded as it says")
    if any(isinstance(cause, requests.exceptions.InvalidHeader | urllib3.exceptions.InvalidHeader) for cause in causes):
        return PermanentError("bad-answer", f"{url}: its answer contradicts itself")
    if isinstance(error, requests.exceptions.InvalidURL | urllib3.exceptions.LocationValueError | UnicodeError):
        return RefusedError("bad-url", f"{url} cannot be called")
    return TransientError("cut", f"{url} cut the connection")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it wraps: in its arguments, its reason, its cause."""
    waiting, seen = [error], set[int]()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [*current.args, getattr(current, "reason", None), current.__cause__, current.__context__]
        waiting.extend(cause for cause in inner if isinstance(cause, BaseException))
