"""Dagster's code server, whose runs begin as forks of one process that has imported what a run needs.

Left alone, it starts each run as a new Python, which imports Dagster and this project anew: some seconds of processor
time a run, where a set without news takes one. Here the runs' process begins beside the server and serves them all.
What an operator may change while the server runs is not imported there: each run reads the configuration itself.
When that process is killed, its runs end with it: the server then holds them to have failed, and they are run again.
Run as `python -m harvester_dagster.cli.forked_runs api grpc …`: the arguments are those of `dagster`.
"""

import multiprocessing
import sys
from importlib.metadata import entry_points
from multiprocessing.context import BaseContext
from typing import Any

from harvester_dagster.cli import run_process

IMPORTED = (
    run_process.__name__,
    "dagster_postgres",
    "harvester_dagster.explain.config_check",
    "harvester_dagster.store.kept_connections",
    "resources.harvester",
    "sensors.access",
    "sensors.night",
    *(f"assets.{name}" for name in ("access", "harvest", "index", "jobs", "release", "sets", "tasks", "vocabularies")),
)
"""Not `harvester_dagster.definitions`, which reads the configuration. Nothing here opens anything when imported."""


def main() -> None:
    """As `dagster` itself, with another way to start runs."""
    forking = run_process.Forking()
    forking.set_forkserver_preload([*IMPORTED])
    forking.Process(target=_nothing).start()  # so that it imports while this process does
    given = multiprocessing.get_context

    def context(method: str | None = None) -> BaseContext:
        return forking if method == "spawn" else given(method)

    replaced: Any = multiprocessing  # Dagster asks there for "spawn", which cannot be configured
    replaced.get_context = context
    (dagster,) = entry_points(group="console_scripts", name="dagster")
    sys.exit(dagster.load()())


def _nothing() -> None:
    """The first fork: it is asked for so that the process to fork from is there."""


if __name__ == "__main__":
    main()
