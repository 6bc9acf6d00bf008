"""A Unix socket of our own: nobody else's from its first moment, however long its path."""

import os
import stat
from pathlib import Path

import pytest

from harvester_dagster.services import unix_socket


@pytest.mark.parametrize("length", [1, 100, 240])
def test_only_this_user_may_use_it_whatever_its_path(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("x" * length)
    folder.mkdir()
    file = folder / "ui-3000.sock"
    assert not unix_socket.is_listening(file)
    mask = os.umask(0)
    try:
        with unix_socket.bound(file) as server:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert not unix_socket.is_listening(file), "bound, and nobody answers yet"
            server.listen()
            assert unix_socket.is_listening(file)
        assert not unix_socket.is_listening(file), "left by one that has gone"
        with unix_socket.bound(file) as server:
            server.listen()
            assert unix_socket.is_listening(file)
        assert os.umask(0) == 0
    finally:
        os.umask(mask)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), unix_socket.short(tmp_path / "none" / "ui.sock"):
        pass
