"""Which files consumers see, by what `check_url` found: the rule that `check_url` and its row share.

Belongs here: the rule. Does not belong here: asking (`check_url.py`), and leaving out (`documents/making.py`).
"""

from harvester_dagster.config import Tasks
from harvester_dagster.tasks.task import Result

GONE = (404, 410)
"""Statuses by which a server says that there is nothing any more."""


def is_hidden(checked: Result | None, settings: Tasks) -> bool:
    """Whether a file counts as *not found*: at once when its server says that it is gone, for any other failure only
    when there was one on enough days in a row; a file that was not checked yet is shown."""
    if checked is None or checked.kind == "success":
        return False
    data = checked.data or {}
    return data.get("status") in GONE or int(data.get("strikes") or 0) >= settings.dead_after_nights
