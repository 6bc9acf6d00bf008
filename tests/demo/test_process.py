"""The server as a process of its own, and the configuration that goes with it."""

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import requests

from harvester_dagster import config
from harvester_dagster.demo.configuration import demo_config
from harvester_dagster.demo.lies import LIES
from harvester_dagster.demo.server import serve
from harvester_dagster.demo.service import SAMPLE
from harvester_dagster.services.sharing import running

COMMAND = [sys.executable, "-m", "harvester_dagster.demo"]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_is_and_stops_when_told(how: signal.Signals) -> None:
    process = subprocess.Popen([*COMMAND, "--lie", "html"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready, _, url = process.stdout.readline().strip().partition(" ")
        assert ready == "READY"
        items = requests.get(f"{url}/sharekit/jsonapi/channel/v1/edusources/repoItems", timeout=10)
        assert items.text.startswith("<html>")
        process.send_signal(how)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_an_unknown_lie_ends_the_command() -> None:
    done = subprocess.run([*COMMAND, "--lie", "white"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert all(name in done.stderr for name in LIES)


def test_the_help_lists_every_lie() -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, timeout=30)
    assert all(lie.says in done.stdout for lie in LIES.values())


def test_a_port_can_be_chosen_and_is_free_again_afterwards() -> None:
    with serve() as first:
        port = first.port
    for _ in range(2):
        with serve(port) as again:
            assert requests.get(again.url, timeout=10).status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=10)


def test_the_demo_configuration_is_valid_and_names_the_server() -> None:
    parsed = config.parse(tomllib.loads(demo_config("http://127.0.0.1:1234")))
    assert list(parsed.sets) == ["edurep:surfsharekit", "edurep:wikiwijs", "sharekit:edusources"]
    assert all(settings.url.startswith("http://127.0.0.1:1234/") for settings in parsed.sets.values())
    assert all(settings.min_documents == 5 for settings in parsed.sets.values())
    assert {entry.rpartition(":")[0] for entry in parsed.network.allow_hosts} == {"127.0.0.1", "localhost"}


def test_as_a_service_it_is_shared_and_keeps_its_port(tmp_path: Path) -> None:
    with running(SAMPLE, tmp_path) as first, running(SAMPLE, tmp_path) as second:
        assert first.url == second.url
        assert requests.get(f"{first.url}/files/handout.pdf", timeout=10).status_code == 200
    with pytest.raises(requests.ConnectionError):
        requests.get(first.url, timeout=10)
    with running(SAMPLE, tmp_path) as again:
        assert again.url == first.url
