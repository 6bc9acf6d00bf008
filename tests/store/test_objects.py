import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config as ClientConfig

from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.failures import PermanentError, TransientError
from harvester_dagster.services.launcher import S3Endpoint
from harvester_dagster.store.objects import Bucket, Folder, Objects, open_objects

KEY = "bodies/ab/abcd"


def client(endpoint: S3Endpoint, url: str | None = None, secret: str | None = None, attempts: int = 4) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url or endpoint.url,
        aws_access_key_id=endpoint.access_key,
        aws_secret_access_key=secret or endpoint.secret_key,
        region_name="us-east-1",
        config=ClientConfig(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=2,
        ),
    )


@pytest.fixture
def bucket(s3: S3Endpoint) -> str:
    name = f"test-{uuid.uuid4().hex}"
    client(s3).create_bucket(Bucket=name)
    return name


@pytest.fixture(params=["folder", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "folder":
        return open_objects("folder", tmp_path / "objects")
    endpoint, name = request.getfixturevalue("s3"), request.getfixturevalue("bucket")
    return open_objects(f"s3://{name}/some/prefix", tmp_path / "objects", lambda: client(endpoint))


def test_what_was_put_is_there(objects: Objects) -> None:
    assert not objects.exists(KEY)
    objects.put(KEY, b"hello")
    assert objects.exists(KEY)
    assert objects.get(KEY) == b"hello"
    assert objects.path(KEY).read_bytes() == b"hello"


def test_a_note_is_an_object_too(objects: Objects) -> None:
    for content in (b"hello", b"again"):
        objects.note(KEY, content)
        assert objects.get(KEY) == content
    assert [stored.key for stored in objects.list()] == [KEY]
    assert list(objects.scratch.iterdir()) == []


def test_putting_it_again_does_no_harm(objects: Objects) -> None:
    objects.put(KEY, b"hello")
    objects.put(KEY, b"hello")
    assert objects.get(KEY) == b"hello"


def test_a_file_is_taken_over(objects: Objects, tmp_path: Path) -> None:
    for folder in (tmp_path, objects.scratch):
        file = folder / "new"
        file.write_bytes(b"x" * 300_000)
        objects.put(KEY, file)
        assert not file.exists()
        assert objects.get(KEY) == b"x" * 300_000
        assert objects.path(KEY).stat().st_size == 300_000


def test_what_is_not_there_is_a_permanent_failure(objects: Objects) -> None:
    for ask in (objects.get, objects.path):
        with pytest.raises(PermanentError) as missing:
            ask(KEY)
        assert missing.value.code == "no-object"


def test_a_list_names_all_below_a_prefix_in_order(objects: Objects) -> None:
    for key in ("a/2", "a/1", "a/b/c", "ab", "b/1"):
        objects.put(key, key.encode())
    assert [stored.key for stored in objects.list("a/")] == ["a/1", "a/2", "a/b/c"]
    assert {stored.key for stored in objects.list()} == {"a/1", "a/2", "a/b/c", "ab", "b/1"}
    assert [stored.key for stored in objects.list("none/")] == []
    assert (list(objects.folders("a/")), list(objects.folders("none/"))) == (["a/b/"], [])
    entry = next(iter(objects.list("b/")))
    assert entry.length == 3
    assert abs(entry.modified_at.timestamp() - time.time()) < 60


def test_deleting_is_in_bulk_and_forgiving(objects: Objects) -> None:
    objects.put("a/1", b"1")
    objects.put("a/2", b"2")
    objects.path("a/1")
    objects.delete(["a/1", "a/none"])
    assert [stored.key for stored in objects.list()] == ["a/2"]
    with pytest.raises(PermanentError):
        objects.path("a/1")


@pytest.mark.parametrize(
    "key", ["", "/etc/passwd", "../up", "a/../b", "a//b", "a/", ".scratch/x", "a/.b", "a\0b", "a\n"]
)
def test_a_key_leads_nowhere_else(objects: Objects, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        objects.put(key, b"x")


def test_threads_may_put_and_delete_in_one_folder(tmp_path: Path) -> None:
    """The folder of the last object is removed with it, while others put theirs there."""
    objects = Folder(tmp_path)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(60):
                objects.put(f"deep/er/{number}", b"x")
                objects.delete([f"deep/er/{number}"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(objects.list()) == []


def test_a_killed_put_leaves_no_object(tmp_path: Path) -> None:
    """The process is stopped in the middle of writing: at a limit of the file's size, which kills it."""
    code = (
        "import sys, signal; from pathlib import Path; from harvester_dagster.store.objects import Folder\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        f"Folder(Path(sys.argv[1])).put({KEY!r}, bytes(1_000_000))"
    )
    done = _limited(code, tmp_path)
    assert done.returncode == -signal.SIGXFSZ
    assert not Folder(tmp_path).exists(KEY)
    assert list(Folder(tmp_path).list()) == []


def test_a_full_disk_is_transient_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from harvester_dagster.store.objects import Folder\n"
        "from harvester_dagster.failures import TransientError\n"
        "try:\n"
        f"    Folder(Path(sys.argv[1])).put({KEY!r}, bytes(1_000_000))\n"
        "except TransientError as error:\n"
        "    print(error.code, error)\n"
    )
    done = _limited(code, tmp_path)
    assert done.stdout.startswith("disk-full")
    assert "make room" in done.stdout
    assert list((tmp_path / ".scratch").iterdir()) == []


def _limited(code: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(root)],
        cwd=Path(__file__).parents[2],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000)),
        capture_output=True,
        text=True,
    )


def test_copies_of_s3_objects_are_bounded_but_not_taken_away_from_who_reads(
    s3: S3Endpoint, bucket: str, tmp_path: Path
) -> None:
    objects = Bucket(client(s3), bucket, "", tmp_path, cache_bytes=250)
    for number in range(4):
        objects.put(f"a/{number}", b"x" * 100)
    old = objects.path("a/0")
    _age(old)
    assert objects.path("a/1").stat().st_size == 100
    objects.path("a/2"), objects.path("a/3")
    assert not old.exists()
    assert objects.path("a/0").exists(), "it is fetched again"
    assert objects.path("a/3").exists()


def _age(path: Path) -> None:
    os.utime(path, (time.time() - 7200, time.time() - 7200))


def test_wrong_credentials_are_told_at_start(s3: S3Endpoint, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"refuses these credentials.*AWS_SECRET_ACCESS_KEY"):
        open_objects(f"s3://{bucket}", tmp_path, lambda: client(s3, secret="wrong"))


def test_no_credentials_are_told_at_start(
    s3: S3Endpoint, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    bare = boto3.session.Session(region_name="us-east-1")
    with pytest.raises(ConfigError, match="no credentials"):
        open_objects(f"s3://{bucket}", tmp_path, lambda: bare.client("s3", endpoint_url=s3.url))


def test_a_bucket_that_is_not_there_is_told_at_start(s3: S3Endpoint, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no bucket s3://nowhere"):
        open_objects("s3://nowhere/x", tmp_path, lambda: client(s3))


def test_an_s3_that_nobody_reaches_is_transient(s3: S3Endpoint, tmp_path: Path) -> None:
    with pytest.raises(TransientError) as away:
        open_objects("s3://nowhere", tmp_path, lambda: client(s3, url="http://127.0.0.1:1", attempts=1))
    assert away.value.code == "s3-unreachable"


class Proxy:
    """In front of S3: answers 503 so many times, then passes everything on."""

    def __init__(self, target: str) -> None:
        self.refusals = 0
        host, _, port = target.removeprefix("http://").partition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            if self.refusals > 0:
                self.refusals -= 1
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(self._target) as target:
                back = threading.Thread(target=_pass_on, args=(target, connection), daemon=True)
                back.start()
                _pass_on(connection, target)
                back.join(5)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.fixture
def proxy(s3: S3Endpoint) -> Iterator[Proxy]:
    running = Proxy(s3.url)
    yield running
    running.close()


def test_an_s3_that_answers_503_is_asked_again(s3: S3Endpoint, bucket: str, proxy: Proxy, tmp_path: Path) -> None:
    objects = open_objects(f"s3://{bucket}", tmp_path, lambda: client(s3, url=proxy.url))
    proxy.refusals = 2
    objects.put(KEY, b"hello")
    assert proxy.refusals == 0
    assert objects.get(KEY) == b"hello"


def test_an_s3_that_stays_at_503_is_transient(s3: S3Endpoint, bucket: str, proxy: Proxy, tmp_path: Path) -> None:
    objects = Bucket(client(s3, url=proxy.url, attempts=2), bucket, "", tmp_path)
    proxy.refusals = 1000
    file = tmp_path / "file"
    file.write_bytes(b"x")
    for ask in (
        lambda: objects.put(KEY, b"x"),
        lambda: objects.put(KEY, file),
        lambda: objects.get(KEY),
        lambda: objects.exists(KEY),
        lambda: list(objects.list()),
        lambda: objects.delete([KEY]),
    ):
        with pytest.raises(TransientError) as failed:
            ask()
        assert failed.value.status == 503
