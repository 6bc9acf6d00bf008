"""A repository that answers at once: generated pages, served on loopback from a process of its own.

Sharekit-like JSON (25 records of 2.65 KB a page, a file each) and NL-LOM over OAI-PMH (100 records of 7.8 KB a page, a
file each), seeded. Pages are made from a few templates with the page's number written into every identity, so that a
million records need little memory and no time. Everything asked for since a moment is empty: nothing is new.

Belongs here: the pages and who serves them. Does not belong here: what is measured.
"""

import multiprocessing
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Connection
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from harvester_dagster.vocabularies import shipped

TEMPLATES = 16
_MARK = b"#PAGE##!"
_TEXT = (
    "de zorg voor patiënten vraagt kennis van methode onderzoek en praktijk waarin studenten samenwerken aan opgaven "
    "students learn how research and practice in education work together with methods of evaluation and design"
)
_WORDS = _TEXT.split()


class Shape(NamedTuple):
    """A kind of source, as the benchmark speaks of it."""

    name: str
    kind: str
    records_a_page: int
    record_bytes: int


JSON = Shape("Sharekit", "sharekit", 25, 2_650)
LOM = Shape("NL-LOM", "oai-pmh", 100, 7_800)
IDENTIFIERS_A_PAGE = 2_000


@cache
def page_templates(shape: Shape) -> tuple[bytes, ...]:
    """Pages whose identities hold a mark where the page's number goes."""
    make = _json_record if shape == JSON else _lom_record
    own = random.Random(f"{shape.name} of the benchmark")
    return tuple(
        (b"," if shape == JSON else b"").join(
            make(own, place, shape.record_bytes) for place in range(shape.records_a_page)
        )
        for _ in range(TEMPLATES)
    )


def records(shape: Shape, page: int) -> bytes:
    """The records of a page, side by side."""
    templates = page_templates(shape)
    return templates[page % len(templates)].replace(_MARK, b"%08d" % page)


def _words(own: random.Random, count: int) -> str:
    return " ".join(own.choice(_WORDS) + own.choice(("", "", "en", "s", str(own.randrange(50)))) for _ in range(count))


def _terms(own: random.Random, field: str, count: int) -> list[str]:
    return own.sample(sorted(shipped.vocabularies().terms(field)), count)


def _json_record(own: random.Random, place: int, size: int) -> bytes:
    name = f"{_MARK.decode()}-{place:04d}-4a3b-8d1e-0b6f8a1c2d3e"
    url = f"https://example.org/objectstore/{name}"
    record = {
        "type": "repoItem",
        "id": name,
        "meta": {"status": "active"},
        "attributes": {
            "urn:nbn": None,
            "modifiedAt": "2024-05-06T07:08:09Z",
            "title": _words(own, 6).capitalize(),
            "subtitle": None,
            "publishers": ["Hogeschool"],
            "publishedAt": f"{own.randrange(2010, 2026)}-0{own.randrange(1, 10)}-11",
            "place": None,
            "abstract": "",
            "keywords": [_words(own, 1) for _ in range(4)],
            "numOfPages": None,
            "owner": {"id": f"o{own.randrange(40)}", "name": _words(own, 2), "type": "organisation"},
            "authors": [
                {"person": {"id": f"{name}-a", "name": _words(own, 2), "email": "a@example.org"}, "external": "0"},
                {"person": {"id": f"{name}-b", "name": _words(own, 2), "orcid": "0000-0002-1825-0097"}},
            ],
            "links": [],
            "files": [
                {
                    "fileName": f"{_words(own, 2)}.pdf",
                    "url": url,
                    "eTag": f'"{own.getrandbits(128):032x}"',
                    "accessRight": "OpenAccess",
                    "usageRight": "cc-by-40",
                    "important": "1",
                    "resourceMimeType": "application/pdf",
                }
            ],
            "language": own.choice(("nl", "nl", "en")),
            "themesResearchObject": None,
            "termsOfUse": "cc-by-40",
            "educationalLevels": [{"source": "http://purl.edustandaard.nl/begrippenkader", "value": "HBO"}],
            "typeResearchObject": None,
            "typesLearningMaterial": ["kennisoverdracht"],
            "themesLearningMaterial": _terms(own, "disciplines", 1),
            "hasParts": [],
            "partOf": [],
            "technicalFormat": "document",
            "aggregationlevel": "3",
            "consortium": own.choice(_consortia()),
            "vocabularies": {
                "vocabularyVerpleegkunde": [
                    {"source": term, "value": "term"} for term in _terms(own, "study_vocabulary", 2)
                ],
                "vocabularyVaktherapie": [],
            },
            "doi": None,
        },
    }
    attributes = record["attributes"]
    assert isinstance(attributes, dict)
    attributes["abstract"] = _filler(own, size - len(msgspec.json.encode(record)))
    return msgspec.json.encode(record)


@cache
def _consortia() -> tuple[str | None, ...]:
    return (None, *sorted(shipped.vocabularies().terms("consortium")))


def _filler(own: random.Random, size: int) -> str:
    return _words(own, size // 4 + 1).encode()[: max(size, 1)].decode("utf-8", "ignore").strip() or "-"


def _lom_record(own: random.Random, place: int, size: int) -> bytes:
    name = f"bench:{_MARK.decode()}-{place:04d}"
    card = "BEGIN:VCARD\n        VERSION:3.0\n        FN:{0}\n        N:{0};;;;\n        END:VCARD"
    terms = "".join(
        _classification("idea", identifier) for identifier in _terms(own, "study_vocabulary", 2) if "://" in identifier
    )
    text = f"""<record>
  <header>
    <identifier>{name}</identifier>
    <datestamp>2024-05-06T07:08:09Z</datestamp>
    <setSpec>bench</setSpec>
  </header>
  <metadata>
    <czp:lom xmlns:czp="http://www.imsglobal.org/xsd/imsmd_v1p2" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="http://www.imsglobal.org/xsd/imsmd_v1p2 http://www.imsglobal.org/xsd/imsmd_v1p2p4.xsd">
      <czp:general>
        <czp:title>{_langstring(_words(own, 6))}</czp:title>
        <czp:catalogentry><czp:catalog>UUID</czp:catalog><czp:entry>{_langstring(f"urn:{name}")}</czp:entry></czp:catalogentry>
        <czp:language>nl</czp:language>
        <czp:description>{_langstring("%FILLER%")}</czp:description>
        {"".join(f"<czp:keyword>{_langstring(_words(own, 1))}</czp:keyword>" for _ in range(5))}
        <czp:aggregationlevel>{_sourced("2")}</czp:aggregationlevel>
      </czp:general>
      <czp:lifecycle>
        {_contribution("author", card.format(_words(own, 2)))}
        {_contribution("publisher", card.format(_words(own, 2)))}
      </czp:lifecycle>
      <czp:metametadata>
        <czp:catalogentry><czp:catalog>UUID</czp:catalog><czp:entry>{_langstring(f"urn:{name}")}</czp:entry></czp:catalogentry>
        <czp:metadatascheme>LOMv1.0</czp:metadatascheme>
        <czp:metadatascheme>nl_lom_v1p0</czp:metadatascheme>
      </czp:metametadata>
      <czp:technical>
        <czp:format>application/pdf</czp:format>
        <czp:location>https://example.org/objectstore/{_MARK.decode()}/{place:04d}</czp:location>
      </czp:technical>
      <czp:educational>
        <czp:learningresourcetype>{_sourced("informatiebron")}</czp:learningresourcetype>
        <czp:intendedenduserrole>{_sourced("learner")}</czp:intendedenduserrole>
        <czp:context>{_sourced("HBO")}</czp:context>
      </czp:educational>
      <czp:rights>
        <czp:cost>{_sourced("no")}</czp:cost>
        <czp:copyrightandotherrestrictions>{_sourced("yes")}</czp:copyrightandotherrestrictions>
        <czp:description>{_langstring("https://creativecommons.org/licenses/by/4.0/")}</czp:description>
      </czp:rights>
      {_classification("educational level", "be140797-803f-4b9e-81cc-5572c711e09c", "HBO")}
      {_classification("access rights", "OpenAccess")}
      {_classification("discipline", _terms(own, "disciplines", 1)[0])}
      {terms}
    </czp:lom>
  </metadata>
</record>
"""
    text = text.replace("\n        ", "\n")  # half of the indentation: the rest is room for a description
    missing = size - len(text.replace("%FILLER%", "").encode())
    return text.replace("%FILLER%", _filler(own, missing)).encode()


def _langstring(text: str) -> str:
    return f'<czp:langstring xml:lang="nl">{text}</czp:langstring>'


def _sourced(value: str) -> str:
    source = f"<czp:source>{_langstring('LOMv1.0')}</czp:source>"
    return f"\n          {source}\n          <czp:value>{_langstring(value)}</czp:value>\n        "


def _contribution(role: str, card: str) -> str:
    return f"""<czp:contribute>
          <czp:role>{_sourced(role)}</czp:role>
          <czp:centity><czp:vcard>{card}</czp:vcard></czp:centity>
          <czp:date><czp:datetime>2021-05-06</czp:datetime></czp:date>
        </czp:contribute>"""


def _classification(purpose: str, identifier: str, entry: str = "een begrip") -> str:
    return f"""<czp:classification>
        <czp:purpose>{_sourced(purpose)}</czp:purpose>
        <czp:taxonpath>
          <czp:source>{_langstring("http://purl.edustandaard.nl/begrippenkader")}</czp:source>
          <czp:taxon>
            <czp:id>{identifier}</czp:id>
            <czp:entry>{_langstring(entry)}</czp:entry>
          </czp:taxon>
        </czp:taxonpath>
      </czp:classification>"""


_OAI_HEAD = b"""<?xml version="1.0" encoding="UTF-8"?>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"><responseDate>2026-01-01T00:00:00Z</responseDate>"""
_IDENTIFY = (
    _OAI_HEAD + b"<Identify><repositoryName>Benchmark</repositoryName><deletedRecord>persistent</deletedRecord>"
    b"<granularity>YYYY-MM-DDThh:mm:ssZ</granularity></Identify></OAI-PMH>"
)
_NO_RECORDS = _OAI_HEAD + b'<error code="noRecordsMatch">nothing</error></OAI-PMH>'


def answer(target: str, share: float = 1.0) -> bytes:
    """What is at an address: its set is the number of its records, `n10000`. A file's address: nothing, with 200."""
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    if "verb" in query:
        return _oai(query, share)
    if parts.path.endswith("/repoItems"):
        return _json(parts.path, query, share)
    return b""


def _pages(spec: str, shape: Shape, share: float) -> int:
    """`n10000`, or `n10000-3`: another set of as many."""
    return max(1, int(int(spec.removeprefix("n").partition("-")[0]) * share) // shape.records_a_page)


def _json(path: str, query: dict[str, str], share: float) -> bytes:
    if not query.get("filter[modified][GE]", "1970").startswith("1970"):
        return b'{"data":[],"links":{}}'
    page = int(query.get("page[number]", "0"))
    last = page + 1 >= _pages(path.split("/")[-2], JSON, share)
    link = b"null" if last else b'"%s?page[number]=%d"' % (path.encode(), page + 1)
    return b'{"links":{"next":%s},"data":[%s]}' % (link, records(JSON, page))


def _oai(query: dict[str, str], share: float) -> bytes:
    if query["verb"] == "Identify":
        return _IDENTIFY
    if "from" in query:
        return _NO_RECORDS
    if query["verb"] == "GetRecord":
        return b"%s<GetRecord>%s</GetRecord></OAI-PMH>" % (_OAI_HEAD, _single(query["identifier"].encode()))
    spec, _, number = query.get("resumptionToken", f"{query.get('set', '')}!0").partition("!")
    page = int(number)
    if query["verb"] == "ListIdentifiers":
        return _identifiers(spec, page, share)
    last = page + 1 >= _pages(spec, LOM, share)
    token = b"" if last else b"%s!%d" % (spec.encode(), page + 1)
    return b"%s<ListRecords>%s<resumptionToken>%s</resumptionToken></ListRecords></OAI-PMH>" % (
        _OAI_HEAD,
        records(LOM, page),
        token,
    )


def _identifiers(spec: str, page: int, share: float) -> bytes:
    last = (page + 1) * IDENTIFIERS_A_PAGE >= _pages(spec, LOM, share) * LOM.records_a_page
    token = b"" if last else b"%s!%d" % (spec.encode(), page + 1)
    return b"%s<ListIdentifiers>%s<resumptionToken>%s</resumptionToken></ListIdentifiers></OAI-PMH>" % (
        _OAI_HEAD,
        _header_template().replace(_MARK, b"%08d" % page),
        token,
    )


@cache
def _header_template() -> bytes:
    """The headers of a page, with a mark where its number goes."""
    return b"".join(
        b"<header><identifier>bench:%b-%04d</identifier><datestamp>2024-05-06T07:08:09Z</datestamp>"
        b"<setSpec>bench</setSpec></header>" % (_MARK, place)
        for place in range(IDENTIFIERS_A_PAGE)
    )


def _single(name: bytes) -> bytes:
    """A record under this name."""
    record = records(LOM, 0).partition(b"</record>")[0] + b"</record>"
    return record.replace(b"bench:00000000-0000", name)


_HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n'


class Server(NamedTuple):
    url: str

    def keep(self, share: float) -> None:
        """From now on this share of every set is there; more than 1 adds to it."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port))) as control:
            control.sendall(b"GET /keep/%r HTTP/1.1\r\n\r\n" % share)
            control.recv(1024)


@contextmanager
def served() -> Iterator[Server]:
    """The server, in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    child.start()
    try:
        yield Server(f"http://127.0.0.1:{ours.recv()}")
    finally:
        child.terminate()
        child.join()


def _serve(pipe: Connection) -> None:
    for shape in (JSON, LOM):
        page_templates(shape)
    state = {"share": 1.0}
    # Every address, for the hosts of URL checks are a thousand of 127.0.0.0/8
    with socket.create_server(("", 0), backlog=1024) as listening:
        pipe.send(listening.getsockname()[1])
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_talk, args=(connection, state), daemon=True).start()


def _talk(connection: socket.socket, state: dict[str, float]) -> None:
    """Requests without bodies, one after the other on a kept connection: no more of HTTP than that."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting = b""
    with connection:
        while True:
            while b"\r\n\r\n" not in waiting:
                received = connection.recv(65536)
                if not received:
                    return
                waiting += received
            request, _, waiting = waiting.partition(b"\r\n\r\n")
            method, target, _ = request.split(b" ", 2)
            if target.startswith(b"/keep/"):
                state["share"] = float(target.removeprefix(b"/keep/"))
            body = answer(target.decode(), state["share"])
            head = (
                b'HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nETag: "1"\r\nContent-Length: %d\r\n\r\n'
            )
            connection.sendall(head % len(body) + (b"" if method == b"HEAD" else body))
