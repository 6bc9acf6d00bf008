"""`harvester source check`: its block goes into the configuration as it was printed, or not at all."""

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from harvester_dagster import config
from harvester_dagster.demo.server import serve
from tests.cli.conftest import Run

ALLOWED = '# mine\n[network]\nallow_hosts = ["127.0.0.1"]\n'


@pytest.fixture
def url() -> Iterator[str]:
    with serve(slowness=0) as server:
        yield f"{server.url}/edurep/oai"


def test_the_block_is_appended_and_the_file_is_as_it_was_before_it(folder: Path, run: Run, url: str) -> None:
    path = folder / "harvester.toml"
    path.write_text(ALLOWED)
    path.chmod(0o640)
    ran = run("source", "check", url, "--append")
    assert ran.exit_code == 0, ran.output
    assert path.read_text().startswith(ALLOWED) and path.stat().st_mode & 0o777 == 0o640
    (source,) = config.load(path).sources.values()
    assert source.url == url and source.kind == "oai-pmh" and source.sets
    assert [file.name for file in folder.iterdir() if file.name.startswith("harvester.toml")] == ["harvester.toml"]


def test_a_block_whose_name_is_taken_is_not_appended(folder: Path, run: Run, url: str) -> None:
    path = folder / "harvester.toml"
    path.write_text(ALLOWED)
    assert run("source", "check", url, "--append").exit_code == 0
    before = path.read_text()
    ran = run("source", "check", url, "--append")
    assert ran.exit_code == 1 and "not appended" in ran.output and "another name" in ran.output
    assert path.read_text() == before


def test_for_a_machine(folder: Path, run: Run, url: str) -> None:
    (folder / "harvester.toml").write_text(ALLOWED)
    ran = run("source", "check", url, "--json")
    said = json.loads(ran.stdout)
    (source,) = tomllib.loads(said["block"])["sources"].values()
    assert source["url"] == url and any("metadata formats" in line for line in said["said"])


def test_a_source_that_is_configured_is_asked_by_its_name_as_its_page_does(folder: Path, run: Run, url: str) -> None:
    path = folder / "harvester.toml"
    path.write_text(f'{ALLOWED}\n[sources.mine]\nkind = "oai-pmh"\nurl = "{url}"\nsets = ["wikiwijs"]\n')
    assert run("source", "check", "mine", "--json").stdout == run("source", "check", url, "--json").stdout
    assert "no web address" in run("source", "check", "yours").output
