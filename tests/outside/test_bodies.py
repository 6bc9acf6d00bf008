import gzip
import resource
import signal
import subprocess
import sys
import threading
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harvester_dagster.failures import PermanentError, RefusedError
from harvester_dagster.outside.bodies import Bodies, sniffed
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool, open_pool
from harvester_dagster.store.objects import Folder
from tests.outside.hostile_site import Asked, Behaviour, Site, answer, in_turn, redirect

PDF = b"%PDF-1.7 a document"
NOW = datetime(2026, 3, 1, 1, 30, tzinfo=UTC)


def made(pool: Pool, folder: Path, outside: Outside) -> Bodies:
    return Bodies(pool, Folder(folder), outside, lambda: NOW)


@pytest.fixture
def bodies(pool: Pool, outside: Outside, tmp_path: Path) -> Bodies:
    return made(pool, tmp_path / "objects", outside)


def rows(pool: Pool, url: str) -> list[tuple[Any, ...]]:
    with pool.connection() as connection:
        query = """SELECT validator, ok, status, media_type, length, reason FROM harvester.fetch
                   WHERE url = %s ORDER BY fetch_id"""
        return connection.execute(query, (url,)).fetchall()


def slowly(behaviour: Behaviour, seconds: float = 0.5) -> Behaviour:
    def behave(connection: Any, asked: Asked) -> None:
        time.sleep(seconds)
        behaviour(connection, asked)

    return behave


def test_two_tasks_share_one_download(site: Site, bodies: Bodies, pool: Pool) -> None:
    site["/a"] = answer(body=PDF, Content_Type="text/plain")
    first = bodies.get(site.url("/a"), '"1"')
    second = bodies.get(site.url("/a"), '"1"')
    assert first == second
    assert first.path.read_bytes() == PDF
    assert (first.length, first.media_type) == (len(PDF), "application/pdf")
    assert site.count("/a") == 1
    assert rows(pool, site.url("/a")) == [('"1"', True, 200, "application/pdf", len(PDF), "")]


def test_many_threads_that_want_one_url_make_one_download(site: Site, bodies: Bodies) -> None:
    """More threads than the pool has connections; other URLs do not wait."""
    site["/a"] = slowly(answer(body=PDF))
    for number in range(12):
        site[f"/{number}"] = slowly(answer(body=b"%d" % number), 0.2)
    with ThreadPoolExecutor(24) as threads:
        wanted = [site.url("/a")] * 12 + [site.url(f"/{number}") for number in range(12)]
        began = time.monotonic()
        found = list(threads.map(lambda url: bodies.get(url, None), wanted))
        assert time.monotonic() - began < 4
    assert len({body.digest for body in found[:12]}) == 1
    assert all(site.count(asked.path) == 1 for asked in site.asked)


def test_two_processes_that_want_one_url_make_one_download(
    site: Site, bodies: Bodies, fetch_store: str, outside: Outside, tmp_path: Path
) -> None:
    site["/a"] = slowly(answer(body=PDF))
    with open_pool(fetch_store, max_size=2) as another:
        others = made(another, tmp_path / "objects", outside)
        with ThreadPoolExecutor(2) as threads:
            found = list(threads.map(lambda one: one.get(site.url("/a"), None), (bodies, others)))
    assert found[0].digest == found[1].digest
    assert site.count("/a") == 1


def test_a_process_killed_while_it_fetches_holds_up_nobody(
    site: Site, bodies: Bodies, fetch_store: str, tmp_path: Path
) -> None:
    asked = threading.Event()

    def first(connection: Any, _asked: Asked) -> None:
        asked.set()
        time.sleep(20)

    site["/a"] = in_turn(first, answer(body=PDF))
    code = (
        "import sys; from pathlib import Path\n"
        "from harvester_dagster.outside.bodies import Bodies\n"
        "from harvester_dagster.outside.http import Outside\n"
        "from harvester_dagster.store.database import open_pool\n"
        "from harvester_dagster.store.objects import Folder\n"
        "Bodies(open_pool(sys.argv[1], 2), Folder(Path(sys.argv[2])), Outside(allow_hosts=('127.0.0.1',)))"
        ".get(sys.argv[3], None)"
    )
    root = Path(__file__).parents[2]
    argv = [sys.executable, "-c", code, fetch_store, str(tmp_path / "objects"), site.url("/a")]
    with subprocess.Popen(argv, cwd=root) as process:
        assert asked.wait(20)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert bodies.get(site.url("/a"), None).path.read_bytes() == PDF


def test_one_content_behind_two_urls_is_kept_once(site: Site, bodies: Bodies, tmp_path: Path) -> None:
    site["/a"] = site["/b"] = answer(body=PDF)
    assert bodies.get(site.url("/a"), None).digest == bodies.get(site.url("/b"), None).digest
    assert len(list(Folder(tmp_path / "objects").list("bodies/"))) == 1
    assert list((tmp_path / "objects" / ".scratch").iterdir()) == []


def conditional(header: str, value: str) -> Behaviour:
    return lambda connection, asked: (answer(304) if asked.headers.get(header) == value else answer(body=PDF))(
        connection, asked
    )


@pytest.mark.parametrize(
    ("validator", "header", "value"),
    [
        ('"1"', "If-None-Match", '"1"'),
        ('W/"1"', "If-None-Match", 'W/"1"'),
        ("Sun, 01 Mar 2026 01:30:00 GMT;19", "If-Modified-Since", "Sun, 01 Mar 2026 01:30:00 GMT"),
    ],
)
def test_a_new_validator_asks_whether_the_old_body_holds(
    site: Site, bodies: Bodies, pool: Pool, validator: str, header: str, value: str
) -> None:
    site["/a"] = conditional(header, value)
    first = bodies.get(site.url("/a"), validator)
    assert bodies.get(site.url("/a"), '"2"') == first
    assert [row[:3] for row in rows(pool, site.url("/a"))] == [(validator, True, 200), ('"2"', True, 304)]


def test_an_object_that_was_lost_is_fetched_again(site: Site, bodies: Bodies, tmp_path: Path) -> None:
    site["/a"] = conditional("If-None-Match", '"1"')
    lost = bodies.get(site.url("/a"), '"1"')
    Folder(tmp_path / "objects").delete([lost.key])
    assert bodies.get(site.url("/a"), '"1"').path.read_bytes() == PDF


def test_a_304_that_nobody_asked_for_is_a_failure(site: Site, bodies: Bodies, pool: Pool) -> None:
    site["/a"] = answer(304)
    with pytest.raises(PermanentError):
        bodies.get(site.url("/a"), None)
    assert rows(pool, site.url("/a"))[0][1:3] == (False, 304)


def test_a_failure_leaves_its_reason_and_is_not_remembered_as_an_answer(
    site: Site, bodies: Bodies, pool: Pool, tmp_path: Path
) -> None:
    site["/a"] = in_turn(answer(403), answer(body=PDF))
    with pytest.raises(PermanentError):
        bodies.get(site.url("/a"), None)
    (row,) = rows(pool, site.url("/a"))
    assert row[1:3] == (False, 403)
    assert "answered 403" in row[5]
    assert list((tmp_path / "objects" / ".scratch").iterdir()) == []
    assert bodies.get(site.url("/a"), None).length == len(PDF)


def test_an_unasked_validator_made_of_the_content_changes_with_it_only(site: Site, bodies: Bodies) -> None:
    url = site.url("/a")
    site["/a"] = answer(body=PDF)
    assert bodies.content_validator(url, None) is None
    assert site.asked == [], "nobody has read it: there is nothing to compare"
    bodies.get(url, None)
    assert bodies.content_validator(url, None) is None
    site["/a"] = answer(body=PDF + b"!")
    changed = bodies.content_validator(url, None)
    assert changed
    assert site.count("/a") == 3
    assert bodies.get(url, changed).length == len(PDF) + 1
    assert site.count("/a") == 3, "it was kept when it was compared"
    assert bodies.content_validator(url, changed) == changed


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://a/\x00", "http://a/\ud800", "no url"])
def test_what_is_no_web_address_does_not_reach_the_store(bodies: Bodies, url: str) -> None:
    with pytest.raises(RefusedError):
        bodies.get(url, None)


def test_a_redirect_is_followed_to_the_body(site: Site, bodies: Bodies) -> None:
    site["/a"] = redirect("/b")
    site["/b"] = answer(body=gzip.compress(PDF), Content_Encoding="gzip")
    assert bodies.get(site.url("/a"), None).path.read_bytes() == PDF


def test_a_full_disk_is_transient(site: Site, fetch_store: str, tmp_path: Path) -> None:
    site["/a"] = answer(body=bytes(1_000_000))
    code = (
        "import sys; from pathlib import Path\n"
        "from harvester_dagster.outside.bodies import Bodies\n"
        "from harvester_dagster.failures import TransientError\n"
        "from harvester_dagster.outside.http import Outside\n"
        "from harvester_dagster.store.database import open_pool\n"
        "from harvester_dagster.store.objects import Folder\n"
        "try:\n"
        "    Bodies(open_pool(sys.argv[1], 2), Folder(Path(sys.argv[2])), Outside(allow_hosts=('127.0.0.1',)))"
        ".get(sys.argv[3], None)\n"
        "except TransientError as error:\n"
        "    print(error.code)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, fetch_store, str(tmp_path), site.url("/a")],
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "disk-full", done.stderr
    assert list((tmp_path / ".scratch").iterdir()) == []


def picture(kind: str) -> bytes:
    out = BytesIO()
    Image.new("RGB", (2, 2)).save(out, kind)
    return out.getvalue()


def office(name: str) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w") as package:
        package.writestr("[Content_Types].xml", "<Types/>")
        package.writestr("_rels/.rels", "<Relationships/>")
        package.writestr(name, "<x/>")
    return out.getvalue()


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (PDF, "application/pdf"),
        (b"rubbish\n" * 10 + PDF, "application/pdf"),
        (picture("PNG"), "image/png"),
        (picture("JPEG"), "image/jpeg"),
        (picture("GIF"), "image/gif"),
        (picture("WEBP"), "image/webp"),
        (picture("TIFF"), "image/tiff"),
        (office("other.txt"), "application/zip"),
        (office("word/document.xml"), "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
        (office("ppt/presentation.xml"), "application/vnd.openxmlformats-officedocument.presentationml.presentation"),
        (b"\xef\xbb\xbf \n<!DOCTYPE HTML><title>x", "text/html"),
        (b'<?xml version="1.0"?><html xmlns="x">', "text/html"),
        (b'<?xml version="1.0"?><!-- x --><svg xmlns="x">', "image/svg+xml"),
        (b'<?xml version="1.0"?><lom/>', "application/xml"),
        (b"just words", None),
        (b"", None),
    ],
    ids=lambda value: f"{len(value)} bytes" if isinstance(value, bytes) else None,  # an archive's hold the time
)
def test_the_first_bytes_tell_what_it_is(head: bytes, media_type: str | None) -> None:
    assert sniffed(head) == media_type


def test_what_is_known_of_many_is_asked_at_once(bodies: Bodies, site: Site) -> None:
    site["/a"] = answer(body=PDF)
    here = site.url("/a")
    plain, validated = bodies.get(here, None), bodies.get(here, '"1"')
    site.asked.clear()
    wanted = [
        (here, '"1"'),
        (here, None),
        (here, '"2"'),
        (site.url("/b"), None),
        ("no\0url", None),
        (here, "\0"),
        ("", None),
    ]
    known = bodies.known(wanted)
    assert set(known) == {(here, '"1"'), (here, None)}
    assert (bodies.get(here, None, known), bodies.get(here, '"1"', known)) == (plain, validated)
    assert site.asked == []
    plain.objects.delete([plain.key])
    assert bodies.get(here, None, known) == plain, "what is known and gone is fetched again"
    assert site.count("/a") == 1
    assert bodies.known([]) == {}
