"""Where the program `harvester` begins: its commands are imported, and then run.

Belongs here: how the import is made cheap. Does not belong here: any command (`main.py`).
"""

import gc


def main() -> None:
    """Import without collecting garbage: an import makes much that stays and little else, and each collection looks
    at all of it, for a fifth of the time until a command begins."""
    gc.disable()
    from harvester_dagster.cli import main as commands

    gc.freeze()
    gc.enable()
    commands.main()
