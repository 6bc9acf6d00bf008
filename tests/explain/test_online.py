"""Whether what the configuration names answers: sources and their sets, the store, objects, servers."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from typer.testing import CliRunner

from harvester_dagster.catalog import CATALOG
from harvester_dagster.cli.main import app
from harvester_dagster.config import SetSettings
from harvester_dagster.demo.server import SampleServer, serve
from harvester_dagster.explain import online
from harvester_dagster.explain.online import Question, Reply
from harvester_dagster.failures import HarvesterError
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources.kind import Kind

FILE = """
[network]
allow_hosts = ["127.0.0.1"]
per_host_per_second = 1000

[sources.edurep]
kind = "oai-pmh"
url = "{url}/edurep/oai"
sets = ["wikiwijs", "{second}"]

[sources.sharekit]
kind = "sharekit"
url = "{url}/sharekit"
sets = ["edusources"]

[index]
url = "{index}"

[tasks]
tika_url = "{tika}"

[metastore.library]
url = "{solr}"
"""
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture(scope="module")
def sample() -> Iterator[SampleServer]:
    with serve() as running:
        yield running


@pytest.fixture(autouse=True)
def environment(tmp_path: Path) -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {"HARVESTER_HOME": str(tmp_path), "HARVESTER_CONFIG": str(tmp_path / "harvester.toml")}
    yield
    os.environ.clear()
    os.environ.update(before)


def asked(tmp_path: Path, sample: SampleServer, **given: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and what each said by its name."""
    values = {"url": sample.url, "second": "surfsharekit", "index": "none", "tika": "", "solr": ""} | given
    (tmp_path / "harvester.toml").write_text(FILE.format(**values))
    result = CliRunner().invoke(app, ["config", "check", "--online", "--json"])
    found = json.loads(result.stdout)["online"]
    return result.exit_code, {reply["what"]: (reply["ok"], reply["said"]) for reply in found}


def test_all_is_well(tmp_path: Path, sample: SampleServer, database: str) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = database
    code, found = asked(tmp_path, sample)
    assert code == 0 and all(ok for ok, _ in found.values()), found
    assert found["source edurep"][1].endswith(")") and "@" in found["source edurep"][1]
    assert found["set edurep:wikiwijs"][1].startswith("first page: ")
    assert found["set sharekit:edusources"][1].startswith("first page: ")
    assert found["store"][1].startswith("PostgreSQL 1")
    assert found["objects"][1] == "folder: takes, gives and deletes an object"
    assert found["Tika"][1] == found["Solr library"][1] == online.BUNDLED
    assert list((tmp_path / "pace").iterdir()), "in turn with a night that asks the same hosts"
    assert [path for path in (tmp_path / "objects").rglob("*") if path.is_file() and "config-check" in str(path)] == []


def test_each_that_does_not_answer_is_told(tmp_path: Path, sample: SampleServer) -> None:
    os.environ["HARVESTER_POSTGRES_URL"] = "postgresql://me:open-sesame@127.0.0.1:1/x"
    code, found = asked(tmp_path, sample, second="surfshare", index=NOWHERE, tika=NOWHERE, solr=NOWHERE)
    wrong = {what: said for what, (ok, said) in found.items() if not ok}
    assert code == 1
    assert wrong.keys() == {"set edurep:surfshare", "store", "OpenSearch", "Tika", "Solr library"}
    assert 'no set "surfshare"; did you mean "surfsharekit"?' in wrong["set edurep:surfshare"]
    assert "the store (PostgreSQL) fails" in wrong["store"] and "open-sesame" not in wrong["store"]
    assert "127.0.0.1" in wrong["OpenSearch"] and "127.0.0.1" in wrong["Tika"] and "127.0.0.1" in wrong["Solr library"]


def test_a_line_each_for_a_person(tmp_path: Path, sample: SampleServer) -> None:
    asked(tmp_path, sample, second="surfshare")
    result = CliRunner().invoke(app, ["config", "check", "--online"])
    lines = result.stdout.splitlines()
    assert result.exit_code == 1
    assert any(line.startswith("set edurep:surfshare: the source says there is no set") for line in lines)
    assert any(line.startswith("objects: folder") for line in lines)


def test_who_never_answers_is_waited_for_only_so_long() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:

        def ask() -> str:
            with socket.create_connection(silent.getsockname()) as held:
                return held.recv(1).decode()

        def fail() -> str:
            raise HarvesterError("it broke", "mend it")

        started = time.monotonic()
        found = list(online.answers([Question("a", ask), Question("b", fail), Question("c", lambda: "here")], 0.3))
    assert found == [
        Reply("a", False, "no answer within 0 s; look at it, and at the network"),
        Reply("b", False, "it broke; mend it"),
        Reply("c", True, "here"),
    ]
    assert time.monotonic() - started < 10


def test_a_mistake_of_ours_is_none_of_theirs() -> None:
    with pytest.raises(ZeroDivisionError):
        list(online.answers([Question("a", lambda: str(1 / 0))]))


def test_a_source_is_asked_one_thing_after_the_other_and_not_again_where_it_is_silent() -> None:
    under_way, most = 0, 0
    lock, never = threading.Lock(), threading.Event()

    def ask() -> str:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        time.sleep(0.02)
        with lock:
            under_way -= 1
        return "here"

    of_one = [Question(f"set {number}", ask, "one") for number in range(20)]
    of_two = [Question("source two", lambda: str(never.wait()), "two"), Question("set two:a", ask, "two")]
    found = list(online.answers([*of_one, *of_two, Question("store", ask)], 0.3))
    never.set()
    assert [reply for reply in found if not reply.ok] == [
        Reply("source two", False, "no answer within 0 s; look at it, and at the network"),
        Reply("set two:a", False, "not asked, as source two did not answer; mend that first"),
    ]
    assert most <= 2, "one of each turn"


def test_the_sets_of_a_source_are_listed_once_however_many_are_configured(
    tmp_path: Path, sample: SampleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed: list[str] = []
    kind = CATALOG.kinds["oai-pmh"]

    def counted(settings: SetSettings, outside: Outside) -> Sequence[str]:
        listed.append(settings.url)
        return kind.sets(settings, outside)

    monkeypatch.setitem(cast("dict[str, Kind]", CATALOG.kinds), "oai-pmh", replace(kind, sets=counted))
    _, found = asked(tmp_path, sample)
    assert found["set edurep:wikiwijs"][0] and found["set edurep:surfsharekit"][0] and len(listed) == 1
