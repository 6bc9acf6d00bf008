"""Connections that go where the guard looked, and nowhere else.

Belongs here: the sockets under requests. A name is resolved once, each of its addresses is checked, and that very
address is connected to, so a name that changes its address in between gains nothing; TLS still checks the name. Every
receive is bounded by the call's deadline, so a server that drips a byte a second cannot hold a thread.
Does not belong here: URLs, redirects, retries.
"""

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import requests
import urllib3
from requests.cookies import extract_cookies_to_jar
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection

from harvester_dagster.failures import PermanentError, RefusedError, TransientError
from harvester_dagster.outside.addresses import Resolve, plain, port_of, why_not_public

CONNECT_SECONDS = 10.0
_ADDRESSES_TRIED = 4


class Deadline(threading.local):
    """When the call that this thread is making must be over (monotonic seconds)."""

    at: float = float("inf")

    def left(self) -> float:
        """The seconds that are left of the call; negative when its time is over."""
        return self.at - time.monotonic()

    def bound(self, sock: socket.socket) -> None:
        """Let the socket's next wait end with the call. Raises TimeoutError when the call's time is over."""
        left = self.left()
        if left <= 0:
            raise TimeoutError("the call's time is over")
        seconds = sock.gettimeout()
        if seconds is None or seconds > left:
            sock.settimeout(left)


deadline = Deadline()


class _Socket(socket.socket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        deadline.bound(self)
        return super().recv_into(*args, **kwargs)


class _TlsSocket(ssl.SSLSocket):
    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        deadline.bound(self)
        return super().recv_into(*args, **kwargs)


Allowed = tuple[str, ...] | Callable[[], tuple[str, ...]]
"""Entries `host` or `host:port`; what answers with them is asked when a call is made, as secrets are."""


class AddressGuard:
    """Which hosts may be called: public ones, and those that are allowed by name: a host with all its ports, or
    one port of it (`host:port`)."""

    def __init__(self, allow_hosts: "Allowed", resolve: Resolve) -> None:
        self._allowed = allow_hosts if callable(allow_hosts) else lambda: allow_hosts
        self._resolve = resolve

    def addresses(self, host: str, port: int) -> list[str]:
        """At most four addresses of the host to try in turn. Raises RefusedError when any of its addresses is not
        public and the host is not allowed by name, PermanentError when there is no such host, TransientError when
        nobody can say."""
        name = plain(host)
        try:
            found = list(self._resolve(name, port))
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                raise PermanentError("no-such-host", f"there is no host {name}") from None
            raise TransientError("dns", f"the name {name} could not be looked up: {error.strerror}") from None
        except UnicodeError:
            raise RefusedError("bad-url", f"{name[:80]!r} cannot be the name of a host") from None
        except OSError as error:
            raise TransientError("dns", f"the name {name} could not be looked up: {error}") from None
        if not found:
            raise PermanentError("no-such-host", f"there is no host {name}")
        for address in found:
            if (reason := why_not_public(address)) and not self._is_allowed(name, port):
                raise RefusedError(
                    "private-address",
                    f"{name} is at {address}, which is {reason}; "
                    f'if it is meant to be called, add "{host}:{port}" to network.allow_hosts',
                )
        return found[:_ADDRESSES_TRIED]

    def _is_allowed(self, name: str, port: int) -> bool:
        """Entries are compared as they stand first: there may be hundreds, and each connection asks."""
        entries = self._allowed()
        if name in entries or f"{name}:{port}" in entries:
            return True
        read = [port_of(entry) or plain(entry) for entry in entries]
        return name in read or (name, port) in read

    def connect(self, host: str, port: int) -> socket.socket:
        """A socket that is connected to the first of the host's addresses that accepts. Raises what `addresses`
        does, and TransientError when none accepts."""
        failure: OSError = OSError("no address")
        for address in self.addresses(host, port):
            try:
                return _connect(address, port)
            except OSError as error:
                failure = error
        if isinstance(failure, TimeoutError):
            raise TransientError("connect-timeout", f"{host} did not accept a connection in time") from None
        raise TransientError("connect", f"{host} accepts no connection: {failure.strerror or failure}") from None


def _connect(address: str, port: int) -> socket.socket:
    sock = _Socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(min(CONNECT_SECONDS, deadline.left()), 0.001))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect((address, port))
    except BaseException:
        sock.close()
        raise
    sys.audit("http.client.connect", sock, address, port)
    return sock


class GuardedTransport:
    """Sends what requests prepared, on the guard's sockets.

    requests' own adapter cost as much as the sending: it looks for proxies, clients' certificates and cookies each
    time.
    """

    def __init__(self, guard: AddressGuard, hosts_kept: int, connections_per_host: int) -> None:
        tls = cache(_tls_context)  # one for all connections, loaded when the first is encrypted: it costs 30 ms

        class Http(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return guard.connect(self.host, self.port or self.default_port)

        class Https(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return guard.connect(self.host, self.port or self.default_port)

        class HttpPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Http

        class HttpsPool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Https

            def __init__(self, *args: Any, **kwargs: Any) -> None:
                super().__init__(*args, ssl_context=tls(), **kwargs)

        self._pools = urllib3.PoolManager(num_pools=hosts_kept, maxsize=connections_per_host)
        self._pools.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

    def close(self) -> None:
        """Close the connections that are kept."""
        self._pools.clear()

    def send(self, request: requests.PreparedRequest, connect_seconds: float, read_seconds: float) -> requests.Response:
        """The answer to a request, its body unread. Both limits are in seconds. Raises what urllib3 raises, and the
        guard's OutsideError."""
        body: Any = request.body
        raw = self._pools.connection_from_url(str(request.url)).urlopen(
            str(request.method),
            request.path_url,
            body,
            request.headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            timeout=urllib3.Timeout(connect=connect_seconds, read=read_seconds),
            chunked=body is not None and "Content-Length" not in request.headers,
            preload_content=False,
            decode_content=False,
        )
        response = requests.Response()
        response.request, response.url, response.raw = request, str(request.url), raw
        response.status_code, response.reason = raw.status, raw.reason or ""
        response.headers = CaseInsensitiveDict(raw.headers)
        if "Set-Cookie" in raw.headers:
            extract_cookies_to_jar(response.cookies, request, raw)  # type: ignore[no-untyped-call]
        return response


def _tls_context() -> ssl.SSLContext:
    """The system's authorities (`SSL_CERT_FILE` can name others) and those of certifi."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    context.sslsocket_class = _TlsSocket
    return context
