"""A server on loopback that misbehaves as told: each path has a behaviour, written in plain bytes on the socket."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple


class Asked(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    connection: int


Behaviour = Callable[[socket.socket, Asked], None]


def answer(status: int = 200, body: bytes = b"", *, length: int | None = None, **headers: str) -> Behaviour:
    """A plain answer. `length` lies about the body's; HEAD gets no body."""

    def behave(connection: socket.socket, asked: Asked) -> None:
        fields = {"Content-Length": str(len(body) if length is None else length)}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = f"HTTP/1.1 {status} Said\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        connection.sendall(head.encode("utf-8") + b"\r\n" + (b"" if asked.method == "HEAD" else body))
        if length is not None:
            hang_up(connection, asked)

    return behave


def redirect(location: str, status: int = 302, **headers: str) -> Behaviour:
    return answer(status, Location=location, **headers)


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Another one each time; the last one stays."""
    left = list(behaviours)
    return lambda connection, asked: (left.pop(0) if len(left) > 1 else left[0])(connection, asked)


def by_method(**behaviours: Behaviour) -> Behaviour:
    return lambda connection, asked: behaviours[asked.method](connection, asked)


def hang_up(connection: socket.socket, _asked: Asked) -> None:
    connection.shutdown(socket.SHUT_RDWR)  # closing is not enough while somebody reads from it


def silence(connection: socket.socket, _asked: Asked) -> None:
    connection.settimeout(20)
    connection.recv(1)


def drip(start: bytes, drop: bytes, seconds: float = 0.1) -> Behaviour:
    """Send the start, then a drop now and then, without end."""

    def behave(connection: socket.socket, _asked: Asked) -> None:
        connection.sendall(start)
        for _ in range(200):
            time.sleep(seconds)
            connection.sendall(drop)

    return behave


def endless(connection: socket.socket, _asked: Asked) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/pdf\r\n\r\n")
    while True:
        connection.sendall(b"x" * 65536)


class Site:
    """`site["/path"] = behaviour`; a path without one is 404. `asked` is what was requested."""

    def __init__(self, address: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.routes: dict[str, Behaviour] = {}
        self.host = address
        self._tls = tls
        self._listener = socket.create_server((address, 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __setitem__(self, path: str, behaviour: Behaviour) -> None:
        self.routes[path] = behaviour

    def url(self, path: str, host: str | None = None) -> str:
        return f"{'https' if self._tls else 'http'}://{host or self.host}:{self.port}{path}"

    def count(self, path: str) -> int:
        return sum(asked.path == path for asked in self.asked)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections += 1
            threading.Thread(target=self._serve, args=(connection, self._connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            connection.settimeout(20)
            if self._tls:
                connection = self._tls.wrap_socket(connection, server_side=True)
            for asked in _requests(connection, number):
                self.asked.append(asked)
                self.routes.get(asked.path, answer(404, b"no such thing"))(connection, asked)
        except OSError:
            pass
        finally:
            connection.close()


def _requests(connection: socket.socket, number: int) -> Iterator[Asked]:
    file = connection.makefile("rb")
    while line := file.readline():
        method, path, _version = line.decode("latin-1").split()
        headers: dict[str, str] = {}
        while field := file.readline().decode("latin-1").strip():
            name, _, value = field.partition(":")
            headers[name.title()] = value.strip()
        body = file.read(int(headers.get("Content-Length", "0")))
        while headers.get("Transfer-Encoding") == "chunked" and (size := int(file.readline(), 16)) >= 0:
            body += file.read(size)
            file.readline()
            if not size:
                break
        yield Asked(method, path, headers, body, number)
