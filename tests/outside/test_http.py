import gzip
import io
import math
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from harvester_dagster.failures import Hop, OutsideError, PermanentError, RefusedError, TransientError
from harvester_dagster.outside.http import Cookies, Outside
from tests.outside.hostile_site import (
    Asked,
    Site,
    answer,
    by_method,
    drip,
    endless,
    hang_up,
    in_turn,
    redirect,
    silence,
)

MIB = 1024 * 1024


def failure(call: Callable[[], object]) -> OutsideError:
    with pytest.raises(OutsideError) as failed:
        call()
    return failed.value


def bomb(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(MIB)) for _ in range(mebibytes)) + packer.flush()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://example.org/a.pdf", "scheme"),
        ("javascript:alert(1)", "scheme"),
        ("gopher://127.0.0.1:6379/_FLUSHALL", "scheme"),
        ("a title, not a URL", "scheme"),
        ("", "scheme"),
        ("http://user:word@example.org/", "credentials"),
        ("http://user@example.org/", "credentials"),
        ("http://example.org/" + "a" * 10_000, "url-too-long"),
        ("http:///no/host", "bad-url"),
        ("http://[::1", "bad-url"),
        ("http://example.org:99999/", "bad-url"),
        ("http://example.org/\r\nHost: other", "bad-url"),
        ("http://example.org/\x00", "bad-url"),
        ("http://example.org/\ud800", "bad-url"),
        ("http://xn--\u2028.example/", "bad-url"),
    ],
)
def test_what_is_no_web_address_is_refused_before_any_look_up(url: str, code: str) -> None:
    def never(_host: str, _port: int) -> list[str]:
        raise AssertionError("looked up")

    with Outside(resolve=never) as outside:
        refused = failure(lambda: outside.get(url))
    assert isinstance(refused, RefusedError)
    assert refused.code == code
    assert "word" not in str(refused)


def test_a_name_that_no_host_can_have_is_refused() -> None:
    with Outside() as outside:
        assert failure(lambda: outside.get("http://" + "a" * 300 + ".example/")).code == "bad-url"


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "localhost"),
        *("0.0.0.0", "169.254.169.254", "10.1.2.3", "[fe80::1]", "[64:ff9b::7f00:1]"),
    ],
)
def test_private_addresses_are_refused_however_they_are_written(host: str) -> None:
    with Outside() as outside:
        refused = failure(lambda: outside.get(f"http://{host}/"))
    assert refused.code == "private-address"


@pytest.mark.parametrize("target", ["http://127.0.0.2:{port}/", "http://169.254.169.254/latest/meta-data/", "//[::1]/"])
def test_a_redirect_to_a_private_address_is_refused(site: Site, outside: Outside, target: str) -> None:
    site["/"] = redirect(target.format(port=site.port))
    refused = failure(lambda: outside.probe(site.url("/")))
    assert refused.code == "private-address"
    assert refused.hops == (Hop(302, site.url("/")),)


@pytest.mark.parametrize("target", ["file:///etc/passwd", "http://me:secret@example.org/"])
def test_a_redirect_to_what_is_no_web_address_is_refused(site: Site, outside: Outside, target: str) -> None:
    site["/"] = redirect(target)
    assert isinstance(failure(lambda: outside.get(site.url("/"))), RefusedError)


def test_a_name_is_looked_up_once_and_the_checked_address_is_called(site: Site) -> None:
    site["/"] = answer(body=b"here")
    answers = ["127.0.0.1", "127.0.0.99"]
    with Outside(allow_hosts=("moving.example",), resolve=lambda _host, _port: [answers.pop(0)]) as outside:
        assert outside.get(site.url("/", "moving.example")).body == b"here"
    assert answers == ["127.0.0.99"]
    assert site.asked[0].headers["Host"] == f"moving.example:{site.port}"


def test_an_international_name_is_looked_up_in_punycode(site: Site) -> None:
    site["/%C3%BCber"] = answer(body=b"here")
    names = []

    def resolve(host: str, _port: int) -> list[str]:
        names.append(host)
        return ["127.0.0.1"]

    with Outside(allow_hosts=("xn--bcher-kva.example",), resolve=resolve) as outside:
        outside.get(site.url("/über", "bücher.example"))
        outside.get(site.url("/über", "xn--bcher-kva.example"))
    assert names == ["xn--bcher-kva.example"]


def test_the_redirects_are_kept_in_order(site: Site, outside: Outside) -> None:
    site["/a"] = redirect("/b", 301)
    site["/b"] = redirect("c?d=1", 307)
    site["/c?d=1"] = answer(body=b"here", Content_Type="application/pdf")
    seen = outside.probe(site.url("/a"))
    assert (seen.status, seen.url) == (200, site.url("/c?d=1"))
    assert seen.hops == (Hop(301, site.url("/a")), Hop(307, site.url("/b")))


def test_ten_redirects_are_followed_and_no_more(site: Site, outside: Outside) -> None:
    for number in range(11):
        site[f"/{number}"] = redirect(f"/{number + 1}")
    site["/11"] = answer()
    assert outside.probe(site.url("/1")).status == 200
    assert failure(lambda: outside.probe(site.url("/0"))).code == "too-many-redirects"


def test_a_circle_is_found_at_once(site: Site, outside: Outside) -> None:
    site["/a"], site["/b"] = redirect("/b"), redirect("/a")
    circle = failure(lambda: outside.get(site.url("/a")))
    assert isinstance(circle, PermanentError)
    assert circle.code == "loop"
    assert len(site.asked) == 2


def test_a_door_that_opens_with_its_cookie_is_no_circle(site: Site, outside: Outside) -> None:
    def door(connection: object, asked: object) -> None:
        opened = "seen=1" in getattr(asked, "headers", {}).get("Cookie", "")
        (answer(body=b"in") if opened else redirect("/door", Set_Cookie="seen=1"))(connection, asked)

    site["/door"] = door
    assert outside.get(site.url("/door")).body == b"in"
    outside.get(site.url("/door"))
    assert "Cookie" not in site.asked[2].headers, "nothing is kept from one call to the next"


def test_a_callers_cookies_go_from_call_to_call_and_to_no_other_host(site: Site, outside: Outside) -> None:
    site["/a"] = answer(body=b"a", Set_Cookie="seen=1")
    site["/b"] = redirect(site.url("/c", "localhost"))
    site["/c"] = answer(body=b"c", Set_Cookie="other=2")
    jar = Cookies()
    for path in ("/a", "/b", "/a"):
        outside.get(site.url(path), cookies=jar)
    outside.post(site.url("/a"), data={}, cookies=jar)
    assert [asked.headers.get("Cookie") for asked in site.asked] == [None, "seen=1", None, "seen=1", "seen=1"]
    outside.get(site.url("/a"))
    assert "Cookie" not in site.asked[-1].headers


def test_a_location_may_be_written_in_utf8(site: Site, outside: Outside) -> None:
    site["/a"] = redirect("/müsli plan")
    site["/m%C3%BCsli%20plan"] = answer(body=b"here")
    assert outside.get(site.url("/a")).body == b"here"


def test_a_key_is_not_shown_to_another_host(site: Site, outside: Outside) -> None:
    site["/a"] = redirect(site.url("/b", "localhost"))
    site["/b"] = answer()
    outside.get(site.url("/a"), headers={"Authorization": "Bearer key", "X-Key": "key", "Accept": "text/xml"})
    first, second = site.asked
    assert first.headers["X-Key"] == "key"
    assert "key" not in str(second.headers)
    assert second.headers["Accept"] == "text/xml"


@pytest.mark.parametrize(
    "slow",
    [
        silence,
        drip(b"HTTP/1.1 200 OK\r\n", b"X-More: yes\r\n"),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        drip(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        drip(b"HT", b""),
    ],
    ids=["silence", "headers", "body", "chunks", "continue", "status line"],
)
def test_a_slow_server_ends_with_the_call_s_time(site: Site, outside: Outside, slow: object) -> None:
    site["/"] = slow
    began = time.monotonic()
    late = failure(lambda: outside.get(site.url("/"), timeout=0.6, attempts=1))
    assert isinstance(late, TransientError)
    assert late.code == "timeout"
    assert time.monotonic() - began < 2


def test_a_chain_of_slow_redirects_shares_the_call_s_time(site: Site, outside: Outside) -> None:
    def later(connection: object, asked: object) -> None:
        time.sleep(0.25)
        redirect(f"/{time.monotonic()}")(connection, asked)

    site.routes = type("Any", (dict,), {"get": lambda _self, _path, _default: later})()
    began = time.monotonic()
    assert failure(lambda: outside.get(site.url("/"), timeout=0.7, attempts=1)).code == "timeout"
    assert time.monotonic() - began < 2


def test_an_endless_body_is_hung_up_on(site: Site, outside: Outside) -> None:
    site["/"] = endless
    large = failure(lambda: outside.get(site.url("/"), max_bytes=MIB))
    assert isinstance(large, PermanentError)
    assert large.code == "too-large"


def test_a_body_that_says_it_is_too_large_is_not_read(site: Site, outside: Outside) -> None:
    site["/"] = answer(body=b"x", length=10**12)
    assert failure(lambda: outside.get(site.url("/"))).code == "too-large"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_bomb_is_defused_in_little_memory(site: Site, outside: Outside, encoding: str) -> None:
    packed = bomb(64) if encoding == "gzip" else zlib.compress(bytes(64 * MIB), 9)
    site["/"] = answer(body=packed, Content_Encoding=encoding)
    tracemalloc.start()
    large = failure(lambda: outside.get(site.url("/"), max_bytes=4 * MIB))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert large.code == "too-large"
    assert peak < 16 * MIB


def test_a_body_that_is_not_what_it_says_is_an_error(site: Site, outside: Outside) -> None:
    site["/"] = answer(body=b"this is no gzip", Content_Encoding="gzip")
    assert failure(lambda: outside.get(site.url("/"))).code == "bad-encoding"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", TransientError),
        (b"HTTP/1.1 abc\r\n\r\n", TransientError),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 7\r\n\r\nhello", PermanentError),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello", TransientError),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", TransientError),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n", TransientError),
        (b"HTTP/1.1 302 Found\r\nLocation: http://[\r\nContent-Length: 0\r\n\r\n", PermanentError),
        (b"HTTP/1.1 302 Found\r\nLocation: /" + b"y" * 20_000 + b"\r\nContent-Length: 0\r\n\r\n", RefusedError),
    ],
    ids=["no http", "no status", "two lengths", "no chunk", "many headers", "long header", "no URL", "long URL"],
)
def test_an_answer_that_is_none_has_a_kind(site: Site, outside: Outside, raw: bytes, kind: type[OutsideError]) -> None:
    def say(connection: socket.socket, asked: Asked) -> None:
        connection.sendall(raw)
        hang_up(connection, asked)

    site["/"] = say
    assert isinstance(failure(lambda: outside.get(site.url("/"), attempts=1)), kind)
    assert isinstance(failure(lambda: outside.download(site.url("/"), io.BytesIO(), max_bytes=9, attempts=1)), kind)


def test_packed_bodies_are_unpacked(site: Site, outside: Outside) -> None:
    site["/"] = answer(body=gzip.compress(b"hello"), Content_Encoding="gzip")
    assert outside.get(site.url("/")).body == b"hello"


@pytest.mark.parametrize("first", [answer(503), answer(429), answer(408), hang_up, answer(200, b"half", length=10)])
def test_what_passes_is_tried_again(site: Site, outside: Outside, first: object) -> None:
    site["/"] = in_turn(first, answer(body=b"fine"))
    assert outside.get(site.url("/")).body == b"fine"


def test_tries_are_bounded(site: Site, outside: Outside) -> None:
    site["/"] = answer(503, b"sorry")
    failed = failure(lambda: outside.get(site.url("/"), attempts=3))
    assert isinstance(failed, TransientError)
    assert (failed.code, failed.status, site.count("/")) == ("status-503", 503, 3)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 501])
def test_what_does_not_pass_is_not_tried_again(site: Site, outside: Outside, status: int) -> None:
    site["/"] = answer(status)
    failed = failure(lambda: outside.get(site.url("/")))
    assert isinstance(failed, PermanentError)
    assert (failed.code, site.count("/")) == (f"status-{status}", 1)


@pytest.mark.parametrize("status", [404, 503])
def test_an_error_keeps_the_beginning_of_what_was_answered(site: Site, outside: Outside, status: int) -> None:
    site["/"] = answer(status, gzip.compress(b"why"), Content_Encoding="gzip")
    assert failure(lambda: outside.get(site.url("/"))).body == b"why"
    site["/"] = answer(status, bomb(64), Content_Encoding="gzip")
    assert len(failure(lambda: outside.get(site.url("/"))).body) <= 64 * 1024
    site["/"] = answer(status, b"no gzip", Content_Encoding="gzip")
    assert failure(lambda: outside.get(site.url("/"))).body == b""


@pytest.mark.parametrize("drop", [b"x", b""])
def test_an_error_that_never_ends_takes_no_longer_than_its_call(site: Site, outside: Outside, drop: bytes) -> None:
    site["/"] = drip(b"HTTP/1.1 404 Not Found\r\n\r\n", drop)
    began = time.monotonic()
    assert failure(lambda: outside.get(site.url("/"), timeout=0.6, attempts=1)).status == 404
    assert time.monotonic() - began < 2


def test_an_accepted_status_is_an_answer(site: Site, outside: Outside) -> None:
    site["/"] = answer(404, b"gone")
    assert outside.get(site.url("/"), accept=(404,)).body == b"gone"


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(site: Site, outside: Outside, as_date: bool) -> None:
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if as_date else "1"
    site["/"] = in_turn(answer(503, Retry_After=when), answer(body=b"fine"))
    began = time.monotonic()
    assert outside.get(site.url("/")).body == b"fine"
    assert 0.9 <= time.monotonic() - began < 5


@pytest.mark.parametrize(("said", "seconds"), [("3600", 3600), ("9" * 400, 24 * 3600)])
def test_a_host_that_wants_a_long_rest_is_left_alone(site: Site, outside: Outside, said: str, seconds: int) -> None:
    site["/"] = answer(429, Retry_After=said)
    asked = failure(lambda: outside.get(site.url("/")))
    assert isinstance(asked, TransientError)
    assert asked.retry_after == seconds
    again = failure(lambda: outside.get(site.url("/other")))
    assert again.code == "held"
    assert len(site.asked) == 1


@pytest.mark.parametrize("retry_after", ["soon", "-1", "", "١٢"])
def test_a_retry_after_that_says_nothing_is_ignored(site: Site, outside: Outside, retry_after: str) -> None:
    site["/"] = in_turn(answer(503, Retry_After=retry_after), answer(body=b"fine"))
    assert outside.get(site.url("/")).body == b"fine"


def test_nobody_there_is_transient(site: Site, outside: Outside) -> None:
    site.close()
    away = failure(lambda: outside.get(site.url("/"), attempts=2))
    assert isinstance(away, TransientError)
    assert away.code in ("connect", "cut")


def test_a_message_holds_no_key(site: Site, outside: Outside) -> None:
    key = "sesame"
    for behaviour in (answer(403), hang_up, redirect(f"/?key={key}")):
        site[f"/?key={key}"] = behaviour
        error = failure(lambda: outside.get(site.url("/"), params={"key": key}, attempts=1))
        assert key not in "".join(traceback.format_exception(error))


def test_connections_are_kept(site: Site, outside: Outside) -> None:
    site["/"] = answer(body=b"hello")
    site["/r"] = redirect("/")
    for _ in range(3):
        outside.get(site.url("/"))
        outside.probe(site.url("/r"))
    assert {asked.connection for asked in site.asked} == {1}


def test_a_kept_connection_that_was_closed_meanwhile_is_no_failure(site: Site, outside: Outside) -> None:
    """The host closes after each answer, without saying so before."""

    def answer_and_close(connection: socket.socket, asked: Asked) -> None:
        answer(body=b"hello")(connection, asked)
        hang_up(connection, asked)

    site["/"] = answer_and_close
    for _ in range(100):
        assert outside.get(site.url("/"), attempts=1).body == b"hello"


def test_each_host_has_a_polite_rate_of_its_own(site: Site) -> None:
    site["/"] = answer()
    hosts = [f"127.0.0.{number}" for number in range(1, 5)]
    sites = {host: Site(host) for host in hosts}
    for other in sites.values():
        other["/"] = answer()
    with Outside(allow_hosts=tuple(hosts), per_host_per_second=10) as outside, ThreadPoolExecutor(8) as pool:
        began = time.monotonic()
        list(pool.map(lambda _: outside.get(sites["127.0.0.1"].url("/")), range(4)))
        slow = time.monotonic() - began
        began = time.monotonic()
        list(pool.map(lambda host: outside.get(sites[host].url("/")), hosts[1:]))
        others = time.monotonic() - began
    for other in sites.values():
        other.close()
    assert slow >= 0.3
    assert others < 0.1 + slow / 2


def test_a_condition_gets_304(site: Site, outside: Outside) -> None:
    site["/"] = lambda connection, asked: (
        answer(304) if asked.headers.get("If-None-Match") == '"1"' else answer(body=b"hello", ETag='"1"')
    )(connection, asked)
    condition = {"If-None-Match": outside.get(site.url("/")).headers["etag"]}
    assert outside.get(site.url("/"), headers=condition).status == 304
    assert outside.download(site.url("/"), io.BytesIO(), max_bytes=100, headers=condition).status == 304


@pytest.mark.parametrize("status", [304, 300])
def test_a_download_that_brought_no_body_is_a_failure(site: Site, outside: Outside, status: int) -> None:
    site["/"] = answer(status)
    assert failure(lambda: outside.download(site.url("/"), io.BytesIO(), max_bytes=100)).code == f"status-{status}"


@pytest.mark.parametrize("refusal", [405, 403, 501, 404, 500])
def test_where_head_is_refused_a_get_tells(site: Site, outside: Outside, refusal: int) -> None:
    site["/"] = by_method(HEAD=answer(refusal), GET=answer(206, b"%", Content_Range="bytes 0-0/999", ETag='"1"'))
    seen = outside.probe(site.url("/"))
    assert (seen.status, seen.headers["ETag"]) == (200, '"1"')
    assert site.asked[-1].headers["Range"] == "bytes=0-0"


def test_a_head_that_is_hung_up_on_is_a_refused_head(site: Site, outside: Outside) -> None:
    site["/"] = by_method(HEAD=hang_up, GET=answer(body=b"hello"))
    assert outside.probe(site.url("/")).status == 200


def test_gone_is_gone_by_both_methods(site: Site, outside: Outside) -> None:
    assert outside.probe(site.url("/none")).status == 404
    assert [asked.method for asked in site.asked] == ["HEAD", "GET"]


def test_a_probe_does_not_read_the_body(site: Site, outside: Outside) -> None:
    site["/"] = by_method(HEAD=answer(405), GET=endless)
    began = time.monotonic()
    assert outside.probe(site.url("/")).status == 200
    assert time.monotonic() - began < 1


def test_an_empty_file_has_no_first_byte(site: Site, outside: Outside) -> None:
    def empty(connection: object, asked: object) -> None:
        ranged = "Range" in getattr(asked, "headers", {})
        answer(416 if ranged else 200)(connection, asked)

    site["/"] = by_method(HEAD=answer(405), GET=empty)
    assert outside.probe(site.url("/")).status == 200


def test_a_busy_host_is_not_asked_twice_by_a_probe(site: Site, outside: Outside) -> None:
    site["/"] = answer(503)
    assert failure(lambda: outside.probe(site.url("/"), attempts=1)).code == "status-503"
    assert len(site.asked) == 1


def test_a_download_that_broke_begins_anew(site: Site, outside: Outside, tmp_path: Path) -> None:
    site["/"] = in_turn(
        answer(200, b"%PDF-half", length=100),
        answer(200, b"%PDF-whole", Content_Type="Application/PDF; charset=x", ETag='"1"', Last_Modified="yesterday"),
    )
    with (tmp_path / "body").open("w+b") as to:
        got = outside.download(site.url("/"), to, max_bytes=100)
    assert (tmp_path / "body").read_bytes() == b"%PDF-whole"
    assert (got.length, got.media_type, got.etag, got.last_modified) == (10, "application/pdf", '"1"', "yesterday")


def test_json_is_posted_once(site: Site, outside: Outside) -> None:
    site["/"] = in_turn(answer(503), answer())
    assert failure(lambda: outside.post(site.url("/"), json={"a": 1})).code == "status-503"
    assert [asked.body for asked in site.asked] == [b'{"a": 1}']
    assert site.asked[0].headers["Content-Type"] == "application/json"


def test_a_file_is_put_from_the_disk_at_each_try(site: Site, outside: Outside, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 300_000)
    site["/"] = in_turn(answer(503), answer())
    outside.put(site.url("/"), data=file, attempts=2)
    assert [len(asked.body) for asked in site.asked] == [300_000, 300_000]


def test_a_post_follows_no_redirect(site: Site, outside: Outside) -> None:
    site["/"] = redirect("/elsewhere")
    assert outside.post(site.url("/"), data=b"x").status == 302
    assert len(site.asked) == 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("openssl"):
        pytest.skip("no openssl to make a certificate with")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", str(file.with_suffix(".crt"))),
        ],
        check=True,
        capture_output=True,
    )
    file.write_bytes(file.read_bytes() + file.with_suffix(".crt").read_bytes())
    return file


@pytest.fixture
def tls_site(certificate: Path) -> Site:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return Site(tls=context)


def test_a_certificate_that_nobody_knows_is_refused(tls_site: Site, outside: Outside) -> None:
    refused = failure(lambda: outside.get(tls_site.url("/", "localhost")))
    assert isinstance(refused, PermanentError)
    assert refused.code == "certificate"


def test_tls_checks_the_name_and_has_the_same_limits(
    tls_site: Site, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    tls_site["/"] = answer(body=b"hello")
    tls_site["/slow"] = drip(b"HTTP/1.1 200 OK\r\n", b"X-More: yes\r\n")
    with Outside(allow_hosts=("127.0.0.1", "localhost"), per_host_per_second=math.inf) as outside:
        assert outside.get(tls_site.url("/", "localhost")).body == b"hello"
        assert failure(lambda: outside.get(tls_site.url("/"))).code == "certificate"
        began = time.monotonic()
        late = failure(lambda: outside.get(tls_site.url("/slow", "localhost"), timeout=0.5, attempts=1))
        assert late.code == "timeout"
        assert time.monotonic() - began < 2


def test_proxies_and_netrc_of_the_environment_are_not_used(site: Site, tmp_path: Path) -> None:
    """They would lead around the guard, and give away passwords."""
    site["/"] = answer(body=b"direct")
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password sesame\n")
    netrc.chmod(0o600)
    code = (
        "from harvester_dagster.outside.http import Outside\n"
        f"print(Outside(allow_hosts=('127.0.0.1',)).get({site.url('/')!r}).body)"
    )
    environment = os.environ | {"http_proxy": "http://127.0.0.1:1", "NETRC": str(netrc)}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, check=True)
    assert done.stdout.strip() == b"b'direct'"
    assert "Authorization" not in site.asked[0].headers
