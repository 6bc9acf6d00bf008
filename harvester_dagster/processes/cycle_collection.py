"""Collecting cycles rarely while documents go through in batches, and never among what a server is made of.

Belongs here: the collector's thresholds, for stages that make millions of small objects and no cycles. Their batches
are freed by reference counting; looking for cycles among them took a third of the time of making outputs (200 µs a
product with Python's thresholds, 130 with these). Does not belong here: anything about documents.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def rarely_collected() -> Iterator[None]:
    """Look for cycles of garbage only every 200,000 new objects, in all threads, while the block lasts."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 100)
    try:
        yield
    finally:
        gc.set_threshold(*before)


@contextmanager
def spared() -> Iterator[None]:
    """What there is now is not looked through for cycles while the block lasts: modules and what they define, half a
    million objects that stay, held each thirteenth page up by 90 ms."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
