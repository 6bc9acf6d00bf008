"""What is downloaded is whole, verified, made once, or named with its mend."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harvester_dagster.services import jvm
from harvester_dagster.services.downloads import cached, run_tool, verify
from harvester_dagster.services.sharing import Unavailable

ROOT = Path(__file__).parents[2]
MAKER = """
import sys, time
from pathlib import Path
from harvester_dagster.services.downloads import cached
def make(folder):
    folder.mkdir()
    (folder / "half").touch()
    print("making", flush=True)
    time.sleep(float(sys.argv[1]))
    (folder / "rest").touch()
print(sorted(path.name for path in cached("thing", [b"1"], make).iterdir()), flush=True)
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARVESTER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def maker(seconds: float) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", MAKER, str(seconds)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def test_two_that_fetch_at_once_fetch_once_and_both_get_the_whole(cache: Path) -> None:
    said = [process.communicate()[0].splitlines() for process in [maker(0.5), maker(0.5)]]
    assert sorted(lines[-1] for lines in said) == ["['half', 'rest']"] * 2
    assert sum("making" in lines for lines in said) == 1


def test_a_fetch_that_was_killed_is_done_anew(cache: Path) -> None:
    with maker(600) as process:
        assert process.stdout and process.stdout.readline() == "making\n"
        process.send_signal(signal.SIGKILL)
    assert maker(0).communicate()[0].splitlines()[-1] == "['half', 'rest']"
    assert len(list(cache.iterdir())) == 2  # the folder and its lock


def test_a_failed_fetch_leaves_nothing_that_looks_done(cache: Path) -> None:
    def fail(folder: Path) -> None:
        folder.mkdir()
        raise Unavailable("no network")

    for _ in range(2):
        with pytest.raises(Unavailable):
            cached("thing", [b"1"], fail)
    assert [path.name for path in cache.iterdir()] == ["thing.lock"]


def test_what_it_is_made_from_is_its_identity(cache: Path) -> None:
    first = cached("thing", [b"1"], lambda folder: folder.mkdir())
    assert cached("thing", [b"1"], lambda _: pytest.fail("made twice")) == first
    assert cached("thing", [b"2"], lambda folder: folder.mkdir()) != first


@pytest.mark.parametrize(
    ("files", "wrong"),
    [({"a.jar": b"changed", "b.jar": b"b"}, "a.jar"), ({"a.jar": b"a"}, "b.jar"), ({"x.jar": b""}, "x.jar")],
)
def test_other_bytes_missing_and_further_files_are_refused(tmp_path: Path, files: dict[str, bytes], wrong: str) -> None:
    pinned = "".join(f"{hashlib.sha256(name).hexdigest()}  {name.decode()}.jar\n" for name in (b"a", b"b"))
    for name, body in files.items():
        (tmp_path / name).write_bytes(body)
    with pytest.raises(Unavailable, match=wrong):
        verify(tmp_path, pinned)


def test_every_jar_is_pinned_by_a_digest() -> None:
    for name, count in {"opensearch": 98, "solr": 121, "tika": 1, "ecj": 1}.items():
        lines = (jvm.SOURCES / name / "jars.sha256").read_text().splitlines()
        assert len(lines) == count
        assert all(len(line.split()[0]) == 64 for line in lines)


def test_without_maven_one_sentence_names_the_mend(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(Unavailable, match="apt-get install maven"):
        jvm.server("opensearch", "OpenSearchServer")


def test_a_tool_that_fails_says_what_it_said() -> None:
    with pytest.raises(Unavailable, match=r"(?s)sh failed.*the disk is full"):
        run_tool(["sh", "-c", "echo the disk is full >&2; exit 1"], "look at it")
