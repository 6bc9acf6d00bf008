"""Keys that an installation makes for itself: once, in its state folder, for its owner only.

Belongs here: making and reading such a file. Does not belong here: what is signed or hashed with it.
"""

import os
import secrets
from contextlib import suppress

from harvester_dagster.config import home, secret


def kept_key(name: str, variable: str) -> str:
    """The key of this name: from its variable, else from the file `NAME.key` of the state folder, made when it is first
    asked for. Several machines share one by the variable."""
    return secret(variable) or _kept(name)


def _kept(name: str) -> str:
    path = home() / f"{name}.key"
    with suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32))
        try:
            os.link(beside, path)  # whole or not at all; the first one stays
        finally:
            beside.unlink()
    return path.read_text()
