"""What starts by itself, and that nothing does in a copy that only looks."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster import config as configuration
from harvester_dagster import definitions
from sensors import automation
from tests.sets.conftest import OpenWorld, open_world, source

__all__ = ["open_world", "source"]

LOOKS = """
[night]
automation = false

[network]
allow_hosts = ["127.0.0.1"]

[sources.src]
kind = "sharekit"
url = "http://127.0.0.1:9"
sets = ["three"]

[tasks]
disabled = ["tika"]

[index]
url = "none"
"""


@pytest.mark.parametrize(
    ("settings", "started"),
    [
        ({}, {"nightly", "reconcile_daily", "night_watch", "day_work"}),
        (
            {
                "vocabularies": {"skos": [{"name": "a", "url": "https://example.org/a"}]},
                "metastore": {"dtu": {"schedules": {"sfx": "0 3 * * 0"}}},
            },
            {"nightly", "reconcile_daily", "night_watch", "day_work", "vocabularies_weekly", "access_dtu_sfx"},
        ),
    ],
)
def test_what_starts_by_itself_and_that_nothing_does_in_a_copy_that_only_looks(
    settings: dict[str, Any], started: set[str]
) -> None:
    assert _on_by_default(settings) == started
    assert _on_by_default(settings | {"night": {"automation": False}}) == set()
    assert started <= set((automation.__doc__ or "").replace("access_ENDPOINT_MODE", "access_dtu_sfx").split())


def _on_by_default(settings: dict[str, Any]) -> set[str]:
    defs = definitions.build(configuration.parse(settings))
    return {each.name for each in [*(defs.schedules or ()), *(defs.sensors or ())] if _status(each) == "RUNNING"}


def _status(each: Any) -> str:
    status: str = each.default_status.value
    return status


def test_a_copy_that_only_looks_opens_no_night_and_retires_no_set(open_world: OpenWorld, tmp_path: Path) -> None:
    world = open_world()
    file = tmp_path / "harvester.toml"
    file.write_text(LOOKS)
    said = subprocess.run(
        [str(Path(sys.executable).with_name("harvester")), "night"],
        env={**os.environ, "HARVESTER_CONFIG": str(file), "HARVESTER_POSTGRES_URL": world.url},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert (said.returncode, "automation is false" in said.stderr + said.stdout) == (1, True), said
    assert world.rows("SELECT key, retired_at FROM harvest_set ORDER BY key") == [("src:one", None), ("src:two", None)]
    assert world.rows("SELECT * FROM night") == []
