"""A Unix socket that only this user may use: bound, asked whether somebody listens, named for a client.

Belongs here: its mode, and paths of any length (Linux takes 107 bytes): the folder is opened, and named by its
descriptor. Does not belong here: what is said over it.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def short(path: Path) -> Iterator[str]:
    """A name for the socket that is short enough, while the block lasts and in this process. Raises
    FileNotFoundError where its folder is not there."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def bound(path: Path) -> socket.socket:
    """A socket at this path, in place of one that an earlier process left; mode 0600 from its first moment on."""
    path.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        with short(path) as name:
            found.bind(name)
    finally:
        os.umask(mask)
    return found


def is_listening(path: Path) -> bool:
    """Whether somebody answers there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, short(path) as name:
        return probe.connect_ex(name) == 0
