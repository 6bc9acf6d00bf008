"""What an operator's page may have done: runs that somebody else begins.

Belongs here: the interface. Does not belong here: Dagster (`cli/dagster_runs.py` launches there), what a run does, who
may ask for one (`guard.py`).
"""

from collections.abc import Sequence
from typing import Protocol


class Acts(Protocol):
    """Each returns the id of the run that was begun, before it has ended. All raise NotStarted (`launching.py`)."""

    def harvest(self, key: str) -> str:
        """A set, all of its steps."""

    def accept(self, key: str, attempt: int) -> str:
        """A rejected candidate after all, the one that was looked at."""

    def retry(self, task: str, sets: Sequence[str]) -> str:
        """Make what is due of a task anew, in these sets."""

    def release(self) -> str:
        """What the sets have accepted; it ends a hold."""

    def roll_back(self, version: int) -> str:
        """Make an earlier version current again."""
