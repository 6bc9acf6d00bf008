"""`python -m harvester_dagster.demo`: the sample source server as a process of its own.

Belongs here: the command line and its signals. Does not belong here: anything that is served.
"""

import argparse
import os
import sys

from harvester_dagster.demo.lies import UnknownLieError, help_text, telling
from harvester_dagster.demo.server import serve
from harvester_dagster.processes.stop_signals import StopSignals


def main() -> int:
    """Serve until a signal comes; the exit code. Prints `READY URL` when it answers."""
    arguments = _parser().parse_args()
    try:
        telling(arguments.lie)
    except UnknownLieError as error:
        print(error, file=sys.stderr)
        return 2
    token = os.environ.get(arguments.token_env) if arguments.token_env else None
    stop = StopSignals()
    with serve(arguments.port, arguments.lie, token) as sample:
        print(f"READY {sample.url}", flush=True)
        stop.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harvester_dagster.demo",
        description="Serve recorded and invented records of Edurep and Sharekit, and their files, on loopback.",
        epilog=help_text(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free one; the READY line names it")
    parser.add_argument("--lie", default=None, metavar="NAME", help="what to lie about from the start")
    parser.add_argument("--token-env", default="", metavar="NAME", help="variable of the token that Sharekit wants")
    return parser


if __name__ == "__main__":
    sys.exit(main())
