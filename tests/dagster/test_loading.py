"""What loading the definitions costs and does: every process that Dagster starts pays it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harvester_dagster.cli.code_server import CodeServer
from harvester_dagster.services.children import ChildFailed

HEAVY = (
    "boto3",
    "botocore",
    "dagster_aws",
    "sentry_sdk",
    "opensearchpy",
    "pysolr",
    "PIL",
    "pdf2image",
    "yt_dlp",
    "alembic",
)
PROGRAM = f"""
import sys
import harvester_dagster.definitions as found
print([name for name in {HEAVY} if name in sys.modules])
print(sorted(key.to_user_string() for key in found.defs.resolve_asset_graph().get_all_asset_keys())[:2])
"""


def test_definitions_load_in_an_empty_environment_without_what_only_some_runs_need(tmp_path: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines() == ["[]", "['check_url', 'create_opensearch_index']"]
    assert list(tmp_path.iterdir()) == []


def test_a_code_server_that_cannot_load_the_definitions_says_why_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    monkeypatch.setenv("HARVESTER_CONFIG", str(tmp_path / "gone.toml"))
    with (
        pytest.raises(ChildFailed, match=r"^Dagster cannot load the definitions: .*gone\.toml: there is no such file"),
        CodeServer() as code,
    ):
        code.ensure()


def test_a_code_server_that_dies_is_started_again_where_only_its_user_finds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_HOME", str(tmp_path))
    monkeypatch.delenv("HARVESTER_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    with CodeServer() as code:
        code.ensure()
        folder = code.workspace.parent
        assert folder.stat().st_mode & 0o777 == 0o700
        (server,) = _code_servers(folder)
        server.kill()
        server.wait(10)
        deadline = time.monotonic() + 60
        while not (found := _code_servers(folder)) and time.monotonic() < deadline:
            code.ensure()  # not at once where it had begun just now
            time.sleep(0.1)
        (again,) = found
        assert again.pid != server.pid
    assert not again.is_running() and not folder.exists()


def _code_servers(folder: Path) -> list[psutil.Process]:
    alive = [child for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    return [child for child in alive if str(folder) in " ".join(child.cmdline())]
