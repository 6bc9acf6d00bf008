"""A source on loopback that answers as it is told, and remembers what it was asked.

A test gives a function from the request to a reply, or a list of replies that are sent one after the other.
"""

import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

OAI_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">'
    "<responseDate>2026-01-02T03:04:05Z</responseDate><request>http://example.org/oai</request>"
)


class Asked(NamedTuple):
    path: str
    params: Mapping[str, str]
    headers: Mapping[str, str]
    method: str = "GET"


class Reply(NamedTuple):
    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = {}
    cut: bool = False
    """Hang up in the middle of the body."""


Answering = Callable[[Asked], Reply | str | bytes]


class Server(NamedTuple):
    url: str
    asked: list[Asked]


@contextmanager
def server(answers: Answering | Sequence[Reply | str | bytes]) -> Iterator[Server]:
    asked: list[Asked] = []
    left = [] if callable(answers) else list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # an answer of two writes waits 40 ms otherwise

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            request = Asked(
                parts.path,
                {key: values[0] for key, values in parse_qs(parts.query or form, keep_blank_values=True).items()},
                {key.lower(): value for key, value in self.headers.items()},
                self.command,
            )
            asked.append(request)
            given = answers(request) if callable(answers) else left.pop(0)
            reply = given if isinstance(given, Reply) else Reply(given if isinstance(given, bytes) else given.encode())
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
            if reply.cut:
                self.wfile.flush()
                self.connection.shutdown(socket.SHUT_RDWR)
                self.close_connection = True

        do_POST = do_GET

        def log_message(self, format: str, *args: object) -> None:
            pass

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield Server(f"http://127.0.0.1:{running.server_port}", asked)
    finally:
        running.shutdown()
        running.server_close()
        thread.join()


def oai_list(*records: str, token: str | None = None) -> str:
    """A page of ListRecords; `token=""` is the empty element that ends a list."""
    element = "" if token is None else f"<resumptionToken>{token}</resumptionToken>"
    return f"{OAI_HEAD}<ListRecords>{''.join(records)}{element}</ListRecords></OAI-PMH>"


def oai_identifiers(*headers: str, token: str | None = None) -> str:
    """The same of ListIdentifiers."""
    return oai_list(*headers, token=token).replace("ListRecords>", "ListIdentifiers>")


def oai_errors(*errors: tuple[str, str]) -> str:
    return OAI_HEAD + "".join(f'<error code="{code}">{text}</error>' for code, text in errors) + "</OAI-PMH>"


def identify(granularity: str, **more: str) -> str:
    fields = {
        "repositoryName": "A repository",
        "baseURL": "http://example.org/oai",
        "protocolVersion": "2.0",
        "adminEmail": "admin@example.org",
        "earliestDatestamp": "2001-01-01",
        "deletedRecord": "transient",
        "granularity": granularity,
    } | more
    inside = "".join(f"<{key}>{value}</{key}>" for key, value in fields.items())
    return f"{OAI_HEAD}<Identify>{inside}</Identify></OAI-PMH>"


def lom_record(name: str, title: str = "A title", inside: str = "") -> str:
    return (
        f"<record><header><identifier>{name}</identifier><datestamp>2026-01-01T00:00:00Z</datestamp></header>"
        '<metadata><czp:lom xmlns:czp="http://www.imsglobal.org/xsd/imsmd_v1p2"><czp:general>'
        f'<czp:title><czp:langstring xml:lang="nl">{title}</czp:langstring></czp:title></czp:general>{inside}'
        "</czp:lom></metadata></record>"
    )


def deleted_record(name: str) -> str:
    return (
        f'<record><header status="deleted"><identifier>{name}</identifier>'
        "<datestamp>2026-01-01T00:00:00Z</datestamp></header></record>"
    )
