"""The process that runs are forks of: what it imports is there, opens nothing, and is not the configuration's."""

import subprocess
import sys

IMPORTING = """
import importlib, sys, threading, psutil
from harvester_dagster.cli.forked_runs import IMPORTED
for name in IMPORTED:
    importlib.import_module(name)
print(threading.active_count(), len(psutil.Process().net_connections()), "harvester_dagster.definitions" in sys.modules)
"""


def test_what_runs_share_opens_nothing_when_imported() -> None:
    said = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, timeout=120, check=False)
    assert (said.stdout.split(), said.returncode) == (["1", "0", "False"], 0), said.stderr
