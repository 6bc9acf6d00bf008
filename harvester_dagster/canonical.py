"""One byte form per JSON value, and its hash: what "changed" means everywhere.

Belongs here: the encoding and the digest that hashes of properties, outputs and fingerprints stand on. Does not belong
here: what goes into them.
"""

from hashlib import sha256
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder(order="sorted")


def encode(value: Any) -> bytes:
    """JSON with sorted keys and no white space."""
    return _ENCODER.encode(value)


def digest(content: bytes) -> bytes:
    """The first 16 bytes of SHA-256."""
    return sha256(content).digest()[:16]
