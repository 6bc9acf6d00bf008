"""What a command costs that only reads: its own time, from its start to its end, beside a store that runs.

The ceiling is what was to be reached; most of the time is imports. `python -m benchmarks commands`
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from benchmarks.dagster_runs import configured
from benchmarks.harvest import World, apart, worlds
from benchmarks.rows import Row

RECORDS = 100
ROUNDS = 5
MOST = 0.5
"""Seconds."""


def measure(rounds: int = ROUNDS) -> Iterator[Row]:
    with worlds((RECORDS,)) as (_, new_world), new_world() as world:
        for name, seconds in apart(_measured, world, rounds).items():
            yield Row(f"harvester {name}", seconds, "s", MOST, seconds / MOST, f"≤ {MOST} s")


def _measured(world: World, rounds: int) -> dict[str, float]:
    """The best of some rounds of each command, over a set that was harvested."""
    configured(world, 1)
    key = f"bench:n{RECORDS}-0"
    _run("harvest", key)
    commands = (["--version"], ["status"], ["why", f"{key}:{_any_record(world)}"])
    return {command[0]: min(_seconds(*command) for _ in range(rounds)) for command in commands}


def _any_record(world: World) -> str:
    with psycopg.connect(world.database) as connection:
        row = connection.execute(
            "SELECT external_id FROM harvester.document WHERE entity = 'products' ORDER BY doc_id LIMIT 1"
        ).fetchone()
    assert row is not None
    return str(row[0])


def _run(*arguments: str) -> None:
    command = [str(Path(sys.executable).with_name("harvester")), *arguments]
    subprocess.run(command, env=os.environ, check=True, stdout=subprocess.DEVNULL)


def _seconds(*arguments: str) -> float:
    began = time.perf_counter()
    _run(*arguments)
    return time.perf_counter() - began
