"""What Dagster itself costs: a run of a set in which nothing is new, and nights of many of them.

A run is executed in a process that has loaded the definitions and run the set before, over an instance that is warm,
with every asset of the real catalog; what is counted is the time inside the run, as Dagster records it. The nights are
the command `harvester night` with the daemon, its queue and the release, and that of the demonstration, each the second
time, when nothing is new (`--night`: they take minutes; with `--million` also one of 300 sets).
`python -m benchmarks dagster`
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.harvest import ROUNDS, World, apart, worlds
from benchmarks.rows import Row
from benchmarks.source import JSON

RECORDS = 100
NIGHTS = {50: 100, 300: 600}
"""Sets of a night, and the seconds that it may take."""
_TOOK = re.compile(r"The night took (\d+) s")


def measure(night: bool = False, many: bool = False, rounds: int = ROUNDS) -> Iterator[Row]:
    with worlds((RECORDS,)) as (_, new_world):
        with new_world() as world:
            seconds = apart(_runs, world, rounds)
            yield Row("a set's run in which nothing is new, inside the run", seconds, "s", 3, seconds / 3, "≤ 3 s")
        for sets, most in NIGHTS.items() if night else ():
            if sets > min(NIGHTS) and not many:
                continue
            with new_world() as world:
                seconds = apart(_night, world, sets)
                name = f"a night of {sets} such sets, queue and release"
                yield Row(name, seconds, "s", most, seconds / most, f"≤ {most} s")
    if night:
        seconds = _demonstration()
        yield Row("the demonstration's night, nothing new", seconds, "s", 20, seconds / 20, "≤ 20 s")


def configured(world: World, sets: int) -> None:
    """The environment of a command over this world, its configuration written."""
    names = [f"n{RECORDS}-{number}" for number in range(sets)]
    file = Path(world.folder, "harvester.toml")
    file.write_text(
        f"""
timezone = "UTC"
[night]
deadline = "{datetime.now(UTC) + timedelta(hours=12):%H:%M}"
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
    configured(world, 1)
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
    configured(world, sets)
    command = [str(Path(sys.executable).with_name("harvester")), "night"]
    for _ in range(2):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def _demonstration() -> float:
    """Seconds of the night, as the command says it, the second time."""
    with tempfile.TemporaryDirectory(prefix="bench-demo-") as folder:
        kept = {name: value for name, value in os.environ.items() if name not in ("HARVESTER_CONFIG", "DAGSTER_HOME")}
        command = [str(Path(sys.executable).with_name("harvester")), "demo"]
        for _ in range(2):
            done = subprocess.run(
                command, env=kept | {"HARVESTER_HOME": folder}, check=True, capture_output=True, text=True
            )
    (seconds,) = _TOOK.findall(done.stdout)
    return float(seconds)
