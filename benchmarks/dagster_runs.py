"""What Dagster itself costs: a run of a set in which nothing is new, and a night of fifty of them.

A run is executed in a process that has loaded the definitions and run the set before, over an instance that is warm,
with every asset of the real catalog; what is counted is the time inside the run, as Dagster records it. The night is
the command `harvester night` with the daemon, its queue and the release (`--night`: it takes minutes).
`python -m benchmarks dagster`
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harvest import ROUNDS, World, apart, worlds
from benchmarks.rows import Row
from benchmarks.source import JSON

RECORDS = 100
SETS = 50


def measure(night: bool = False, sets: int = SETS, rounds: int = ROUNDS) -> Iterator[Row]:
    with worlds((RECORDS,)) as (_, new_world):
        with new_world() as world:
            seconds = apart(_runs, world, rounds)
            yield Row("a set's run in which nothing is new, inside the run", seconds, "s", 3, seconds / 3, "≤ 3 s")
        if night:
            with new_world() as world:
                seconds = apart(_night, world, sets)
                yield Row(
                    f"a night of {sets} such sets, queue and release", seconds, "s", 100, seconds / 100, "≤ 100 s"
                )


def _configured(world: World, sets: int) -> None:
    """The environment of a command over this world, its configuration written."""
    names = [f"n{RECORDS}-{number}" for number in range(sets)]
    file = Path(world.folder, "harvester.toml")
    file.write_text(
        f"""
[network]
allow_hosts = ["127.0.0.1"]
per_host_per_second = 1000000
[tasks]
disabled = ["check_url", "tika", "pdf_preview", "image_preview", "video_preview", "youtube_api"]
[index]
url = "none"
[sources.bench]
kind = "{JSON.kind}"
url = "{world.source}"
sets = {names}
""",
        encoding="utf-8",
    )
    os.environ |= {
        "HARVESTER_CONFIG": str(file),
        "HARVESTER_HOME": world.folder,
        "HARVESTER_POSTGRES_URL": world.database,
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }


def _runs(world: World, rounds: int) -> float:
    """Seconds inside the best of some runs."""
    _configured(world, 1)
    from harvester_dagster.cli.session import dagster_home, opened

    with opened() as installation:
        dagster_home(installation.config)
        import dagster as dg

        from harvester_dagster.cli import dagster_runs

        (key,) = installation.config.sets
        dagster_runs.run_set(installation, key)
        ids = [dagster_runs.run_set(installation, key) for _ in range(rounds)]
        with dg.DagsterInstance.get() as instance:
            records = [instance.get_run_record_by_id(run_id) for run_id in ids]
    return min(
        record.end_time - record.start_time for record in records if record and record.end_time and record.start_time
    )


def _night(world: World, sets: int) -> float:
    """Seconds of the command, the second time: nothing is new."""
    _configured(world, sets)
    command = [str(Path(sys.executable).with_name("harvester")), "night"]
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
