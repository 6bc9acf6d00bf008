"""The process of one run, as a fork of the process beside the code server (`forked_runs.py`).

Belongs here: that it ends with the process that it was forked from. Dagster's code server learns of a run's end from
that one alone: when it is killed, its runs have failed for the server, and begin again beside those that go on.
"""

import os
import signal
from multiprocessing.context import ForkServerContext, ForkServerProcess

from harvester_dagster.services import spawn

_IMPORTED_IN = os.getpid()
"""In a fork: the process that it was forked from."""


class RunProcess(ForkServerProcess):
    """A fork that is killed when the process is gone that it was forked from."""

    def run(self) -> None:
        """What it was made for."""
        if os.getpid() != _IMPORTED_IN:
            spawn.end_with(_IMPORTED_IN, signal.SIGKILL)
        super().run()


class Forking(ForkServerContext):
    """The way of `multiprocessing` to make such processes."""

    Process = RunProcess
