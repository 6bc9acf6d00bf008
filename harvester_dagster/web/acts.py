"""What an operator's page may have done: runs that somebody else begins, how they go, and ending those of a night.

Belongs here: the interface. Does not belong here: Dagster (`cli/dagster_runs.py` launches there), what a run does, who
may ask for one (`guard.py`).
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from harvester_dagster.installation import Installation
from harvester_dagster.releases.nights import Night

RunState = Literal["waits", "goes on", "done", "failed", "stopped"]


class Said(NamedTuple):
    """A line of what a run says of itself."""

    at: datetime
    text: str


class RunSeen(NamedTuple):
    """How a run goes. `act` is one of the names of `Acts`, or of a job that no page begins; `subject` is a set's key, a
    version or a task. `reason`: why it failed, in a line."""

    run_id: str
    act: str
    subject: str
    state: RunState
    said: Sequence[Said]
    """The newest lines, oldest first."""
    reason: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nothing more happens to it."""
        return self.state in ("done", "failed", "stopped")


class Acts(Protocol):
    """Those that begin a run return its id before it has ended, and raise NotStarted (`launching.py`)."""

    def harvest(self, key: str) -> str:
        """A set, all of its steps."""

    def look(self, key: str) -> str:
        """Stage a rejected candidate again, so that it can be looked at."""

    def accept(self, key: str, attempt: int, seen: str) -> str:
        """A rejected candidate after all: stage it again, and take it where it is the one that was looked at. `seen`:
        the digest of the figures that were shown; empty: none were."""

    def retry(self, task: str, sets: Sequence[str]) -> str:
        """Make what is due of a task anew, in these sets."""

    def release(self, hold_seen: str) -> str:
        """What the sets have accepted; it ends the hold that was seen, by when it began (ISO 8601), and no other one.
        Empty: none was."""

    def roll_back(self, version: int, instead_of: int) -> str:
        """Make an earlier version current again, where the one is current that was seen."""

    def seen(self, run_id: str) -> RunSeen | None:
        """How a run goes now; None: there is none of this id."""

    def accepted(self, installation: Installation, key: str) -> None:
        """A candidate was accepted without a run: whoever shows the set as rejected is told."""

    def end_runs(self, night: Night) -> Sequence[str]:
        """Have every run of a night end; the ids of those that have not ended yet."""
