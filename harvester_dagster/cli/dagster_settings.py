"""Dagster's own settings: the file that ships, and its copy in Dagster's folder, which an operator may change.

Belongs here: when the copy is written and when it is left alone. What is set is in `dagster.yaml` beside this file.
"""

import hashlib
import os
import re
import tempfile
from pathlib import Path

SHIPPED = Path(__file__).with_name("dagster.yaml")
_OF_ONE_SOURCE = re.compile(rb"(?<=limit: )\d+(?=  # half of)")
_WRITTEN_BY_US = b"# Written anew at every start."
"""So began a file that earlier versions wrote over whatever stood there."""


def storage_url(url: str) -> str:
    """The URL of a PostgreSQL as Dagster's storages take it; it asks for `store/kept_connections.py` by its name among
    SQLAlchemy's plugins (`pyproject.toml`), and only SQLAlchemy can read it."""
    return f"{url}{'&' if '?' in url else '?'}plugin=kept"


def place(folder: Path, shipped: Path = SHIPPED, of_one_source: int = 2) -> str:
    """Have `dagster.yaml` in this folder: the one that ships, with how many sets of one source may run at once, unless
    somebody has changed it there.

    Returns what an operator should be told, once: another file would stand there than the one that was changed. Else
    "".
    """
    ours = _OF_ONE_SOURCE.sub(str(of_one_source).encode(), shipped.read_bytes())
    copy, mark = folder / "dagster.yaml", folder / "dagster.yaml.shipped"
    last, now = mark.read_text() if mark.exists() else "", _digest(ours)
    found = copy.read_bytes() if copy.exists() else None
    is_changed = found is not None and _digest(found) not in (last, now) and not found.startswith(_WRITTEN_BY_US)
    if not is_changed and found != ours:
        _write(copy, ours)
    if last != now:
        _write(mark, now.encode())
    if is_changed and last and last != now:
        return f"{copy} was changed here and stays as it is; now it would be another one: compare it with {shipped}"
    return ""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write(file: Path, content: bytes) -> None:
    """Whole or not at all: other commands start at the same moment."""
    handle, name = tempfile.mkstemp(dir=file.parent)
    with os.fdopen(handle, "wb") as new:
        new.write(content)
    Path(name).chmod(0o644)
    Path(name).replace(file)
