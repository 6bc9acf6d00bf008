import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docx
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pptx import Presentation
from pypdf import PdfReader, PdfWriter
from reportlab.pdfgen.canvas import Canvas

from harvester_dagster.services import launcher
from harvester_dagster.tasks import tika
from harvester_dagster.tasks.task import Context, Outcome
from harvester_dagster.tasks.tika import TASK, outcome_of_answer
from harvester_dagster.tasks.xhtml_text import language_of, text_of
from tests.tasks.content_site import Site, checked, item, outcomes, retried, subject, with_tasks

DUTCH = "De verpleegkundige verzorgt de wond van de patiënt en schrijft op wat er te zien is."
ENGLISH = "The nurse takes care of the wound and writes down what there is to be seen."


def pdf(*pages: str, head: str = "") -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    for number, text in enumerate(pages, 1):
        canvas.drawString(50, 800, head)
        canvas.drawString(50, 700, text)
        canvas.drawString(50, 600, f"Slot van onderdeel {'abc'[number % 3]}")
        canvas.linkURL("https://example.org/link", (0, 0, 99, 99))
        canvas.drawString(50, 30, f"pagina {number}")
        canvas.showPage()
    canvas.save()
    return out.getvalue()


def encrypted_pdf() -> bytes:
    writer = PdfWriter(PdfReader(io.BytesIO(pdf(DUTCH))))
    writer.encrypt("secret")
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def word() -> bytes:
    made = docx.Document()
    made.sections[0].header.paragraphs[0].text = "Kop van de bladzijde"
    made.sections[0].footer.paragraphs[0].text = "Voet van de bladzijde"
    made.add_heading("Wondzorg", 1)
    made.add_paragraph(DUTCH)
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def slides() -> bytes:
    made = Presentation()
    slide = made.slides.add_slide(made.slide_layouts[1])
    slide.shapes.title.text = "Wound care"
    slide.placeholders[1].text = ENGLISH
    slide.notes_slide.notes_text_frame.text = "Speak slowly"
    out = io.BytesIO()
    made.save(out)
    return out.getvalue()


def packed() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("een.docx", word())
        archive.writestr("two.txt", ENGLISH)
    return out.getvalue()


def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (50, 50)).save(out, "PNG")
    return out.getvalue()


WEB_PAGE = f"""<!doctype html><html><head><title>T</title><script>var hidden</script></head><body>
<nav><ul><li><a href="/">Home page</a></li><li><a href="/about">About us</a></li></ul></nav>
<main><h1>Wound care</h1><p>{ENGLISH} See <a href="/more">more</a>.</p><ul><li>Clean <a href="/w">water</a> first,
always</li><li>Then a <a href="/d">dressing</a> that is dry</li></ul><img src="a.png" alt="Text of a picture"></main>
</body></html>""".encode()


@pytest.fixture
def reading(world: Context, tika_url: str) -> Context:
    return with_tasks(world, tika_url=tika_url)


def texts(outcome: Outcome) -> list[tuple[str, str]]:
    assert outcome.kind == "success", outcome.reason
    assert outcome.data
    return [(one["text"], one["language"]) for one in outcome.data["texts"]]


def test_texts_and_languages_of_real_documents(site: Site, reading: Context) -> None:
    bodies = {"a.pdf": pdf(DUTCH), "a.docx": word(), "a.pptx": slides(), "a.zip": packed(), "a.html": WEB_PAGE}
    found = outcomes(TASK, [item(site.add(name, body)) for name, body in bodies.items()], reading)
    assert texts(found["a.docx"]) == [(f"Wondzorg\n{DUTCH}", "nl")]
    assert texts(found["a.pptx"]) == [(f"Wound care\n{ENGLISH}\nSpeak slowly", "en")]
    assert sorted(texts(found["a.zip"])) == [(ENGLISH, "en"), (f"Wondzorg\n{DUTCH}", "nl")]
    ((page, language),) = texts(found["a.html"])
    assert language == "en"
    lines = f"Wound care\n{ENGLISH} See more.\nClean water first, always\nThen a dressing that is dry"
    assert page == lines
    ((page, language),) = texts(found["a.pdf"])
    assert language == "nl"
    assert DUTCH in page
    assert "example.org" not in page
    assert found["a.pdf"].data and found["a.pdf"].data["content_type"] == "application/pdf"


def test_running_heads_and_page_numbers_are_not_text(site: Site, reading: Context) -> None:
    body = pdf(DUTCH, f"Ook {DUTCH}", "Slot.", head="Rapport 2020, hoofdstuk 1")
    ((text, _),) = texts(outcomes(TASK, [item(site.add("a.pdf", body))], reading)["a.pdf"])
    assert "Rapport" not in text
    assert "pagina" not in text
    assert text.count(DUTCH) == 2


def test_what_has_no_text_is_empty_and_what_cannot_be_read_a_failure(site: Site, reading: Context) -> None:
    bodies = {
        "photo.png": photo(),
        "empty.bin": b"",
        "encrypted.pdf": encrypted_pdf(),
        "cut.pdf": pdf(DUTCH)[:700],
        "fine.txt": DUTCH.encode(),
    }
    found = outcomes(TASK, [item(site.add(name, body)) for name, body in bodies.items()], reading)
    assert {name: outcome.kind for name, outcome in found.items()} == {
        "photo.png": "empty",
        "empty.bin": "empty",
        "encrypted.pdf": "failure",
        "cut.pdf": "failure",
        "fine.txt": "success",
    }
    assert "EncryptedDocumentException" in found["encrypted.pdf"].reason
    assert "\n" not in found["cut.pdf"].reason


def test_content_with_an_exception_counts() -> None:
    page = {
        "X-TIKA:content": f"<html><body><p>{DUTCH}</p></body></html>",
        "X-TIKA:EXCEPTION:runtime": "a.b.Oops: no\n\tat x",
    }
    found = outcome_of_answer([page])
    assert found.kind == "success"
    assert found.data
    assert found.data["exceptions"] == ["Oops: no"]


def test_an_unchanged_body_under_a_new_validator_is_not_read_again(site: Site, reading: Context) -> None:
    url = site.add("a.txt", DUTCH.encode())
    first = outcomes(TASK, [item(url)], reading)
    site.add("version", b"Apache Tika")
    reads_nothing = with_tasks(reading, tika_url=site.url)  # it is there, and takes no document
    assert outcomes(TASK, [item(url, check=checked('"v2"'))], reads_nothing) == first


def test_a_server_that_is_away_is_nobodys_failure(site: Site, world: Context) -> None:
    url = site.add("a.txt", DUTCH.encode())
    impatient = replace(TASK, run=partial(tika.run, ready_seconds=0.3))
    found = outcomes(impatient, [item(url, previous=retried(99))], with_tasks(world, tika_url="http://127.0.0.1:9"))
    assert found["a.txt"].kind == "retry"
    assert site.asked["/a.txt"] == 0


class Between:
    """Stands before a Tika server; a body that says so has the server's worker killed, or waits for ever."""

    def __init__(self, target: str) -> None:
        to = urlsplit(target)
        self.killed = 0
        between = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.pass_on(b"")

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if b"KILL" in body:
                    between.killed += 1
                    kill_worker(to.port or 0)
                self.pass_on(body)

            def pass_on(self, body: bytes) -> None:
                connection = http.client.HTTPConnection(to.hostname or "", to.port, timeout=30)
                try:
                    connection.request(self.command, self.path, body, dict(self.headers))
                    answer = connection.getresponse()
                    content = answer.read()
                except (OSError, http.client.HTTPException):
                    self.close_connection = True
                    return
                finally:
                    connection.close()
                self.send_response(answer.status)
                self.send_header("Content-Encoding", answer.headers.get("Content-Encoding", "identity"))
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def kill_worker(port: int) -> None:
    """The process that listens there is the worker; its parent, the watchdog, starts another one."""
    for one in psutil.net_connections("tcp"):
        if one.laddr and one.laddr.port == port and one.status == "LISTEN" and one.pid:
            os.kill(one.pid, signal.SIGKILL)


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Between]:
    with launcher.tika(tmp_path / "services") as url:
        between = Between(url)
        yield between
        between.stop()


def test_a_document_that_kills_tika_costs_itself_only(site: Site, world: Context, mortal: Between) -> None:
    names = [f"{number}.txt" for number in range(12)]
    items = [item(site.add(name, f"{DUTCH} {name}".encode())) for name in names]
    items.insert(3, item(site.add("deadly.txt", b"KILL " + DUTCH.encode())))
    found = outcomes(TASK, items, with_tasks(world, tika_url=mortal.url))
    assert mortal.killed == 2, "among others, then alone"
    assert {name: found[name].kind for name in names} == dict.fromkeys(names, "success")
    deadly = found["deadly.txt"]
    assert (deadly.kind, deadly.reason) == ("failure", "Tika died or hung on it, among others and alone")
    assert deadly.due_at and deadly.due_at - world.now == timedelta(days=tika.GIVEN_UP_DAYS), "not the next night"


STAND_IN = """
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"Apache Tika")
    def do_PUT(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b"%DIES-HERE" in body.splitlines():
            os._exit(1)
        content = "<html><body><p>" + body.decode() + "</p></body></html>"
        self.answer(json.dumps([{"Content-Type": "text/plain", "X-TIKA:content": content}]).encode())
    def answer(self, content):
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
    def log_message(self, *_): ...
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


class Supervised:
    """A server with Tika's interface that exits on a line, and a supervisor that starts it again some seconds later."""

    def __init__(self, again_after: float) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url, self.deaths, self._over = f"http://127.0.0.1:{self.port}", 0, threading.Event()
        self._thread = threading.Thread(target=self._supervise, args=(again_after,))
        self._thread.start()

    def _supervise(self, again_after: float) -> None:
        while not self._over.is_set():
            with subprocess.Popen([sys.executable, "-c", STAND_IN, str(self.port)]) as running:
                while running.poll() is None and not self._over.wait(0.05):
                    pass
                running.kill()
            if not self._over.is_set():
                self.deaths += 1
                self._over.wait(again_after)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    running = Supervised(again_after=3)
    yield running
    running.stop()


def test_while_a_server_is_started_again_the_others_wait_and_have_their_texts(
    site: Site, world: Context, supervised: Supervised
) -> None:
    names = [f"{number}.txt" for number in range(39)]
    items = [item(site.add(name, f"{ENGLISH} {name}".encode())) for name in names]
    items.insert(2, item(site.add("deadly.txt", b"one\n%DIES-HERE\ntwo")))
    found = outcomes(TASK, items, with_tasks(world, tika_url=supervised.url))
    assert {name: found[name].kind for name in names} == dict.fromkeys(names, "success")
    assert found["deadly.txt"].kind == "failure" and "died" in found["deadly.txt"].reason
    until = time.monotonic() + 10  # a process that has cut its connection may take a while to end
    while supervised.deaths < 2 and time.monotonic() < until:
        time.sleep(0.05)
    assert supervised.deaths == 2


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ({"embedded_resource_limit_reached": "true"}, "more embedded files than are read"),
        ({"something_new": "TRUE"}, "something new"),
        ({"embedded_exception": ["a.b.Oops: no\n\tat x"]}, "Oops: no"),
        ({"something_new": ""}, "something new"),
    ],
)
def test_a_reason_is_words(flag: dict[str, Any], said: str) -> None:
    found = outcome_of_answer(
        [{"Content-Type": "application/zip"} | {f"X-TIKA:EXCEPTION:{name}": value for name, value in flag.items()}]
    )
    assert (found.kind, found.reason) == ("failure", f"Tika could not read it: {said}")


def test_a_flag_that_is_down_says_nothing() -> None:
    found = outcome_of_answer([{"Content-Type": "application/zip", "X-TIKA:EXCEPTION:anything": "false"}])
    assert found.kind == "empty"


def test_when_it_applies(world: Context) -> None:
    assert TASK.condition(subject("https://x.org/a"), world) is None
    assert TASK.condition(subject("https://x.org/a", access_rights="ClosedAccess"), world)
    assert TASK.condition(subject("https://x.org/a", check=checked()._replace(kind="failure", reason="loop")), world)
    video = subject("https://www.youtube.com/watch?v=dQw4w9WgXcQ")
    assert TASK.condition(video, world) is None
    assert "tasks.youtube" in (TASK.condition(video, with_tasks(world, youtube=False)) or "")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        (DUTCH, "nl"),
        (ENGLISH, "en"),
        ("Bonjour tout le monde, comment allez-vous ?", "unk"),
        ("12345", "unk"),
        ("x", "unk"),
    ],
)
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


@given(st.text(), st.booleans())
def test_any_xhtml_gives_a_text(xhtml: str, web_page: bool) -> None:
    assert "\0" not in text_of(xhtml, web_page=web_page)


@given(st.lists(st.text(alphabet="abc <>&\n\t\u00ad"), max_size=5))
def test_lines_are_trimmed_and_never_empty(texts_: list[str]) -> None:
    found = text_of("<html><body>" + "".join(f"<p>{text}</p>" for text in texts_) + "</body></html>")
    assert all(line and line == line.strip() and "  " not in line for line in found.split("\n") if found)


def test_nesting_that_is_deeper_than_python_calls() -> None:
    deep = "<html><body>" + "<div>" * 5000 + "in the deep" + "</div>" * 5000 + "<p>after</p></body></html>"
    assert isinstance(text_of(deep), str)


def test_entities_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    xhtml = f'<!DOCTYPE html [<!ENTITY x SYSTEM "file://{secret}">]><html><body><p>a &x; b</p></body></html>'
    assert "the secret" not in text_of(xhtml)
