"""A strip of small pictures for people, from the previews that a task stored."""

from base64 import b64encode
from collections.abc import Iterator, Sequence

from harvester_dagster.failures import OutsideError
from harvester_dagster.sets.task_reports import Thumbnail
from harvester_dagster.store.objects import Objects

MOST_BYTES = 30_000
"""What the UI shows of a data URI without growing slow: measured."""


def data_uris(pictures: Sequence[Thumbnail], objects: Objects) -> list[tuple[str, str]]:
    """(SRN, data URI) of those pictures that are small enough, within a bound for all together; what cannot be read
    is left out."""
    return list(_small(pictures, objects))


def _small(pictures: Sequence[Thumbnail], objects: Objects) -> Iterator[tuple[str, str]]:
    left = 4 * MOST_BYTES
    for srn, key in pictures:
        try:
            content = objects.get(key)
        except (OutsideError, FileNotFoundError):
            continue
        if len(content) <= min(left, MOST_BYTES):
            left -= len(content)
            kind = {"png": "png", "webp": "webp"}.get(key.rpartition(".")[2], "jpeg")
            yield srn, f"data:image/{kind};base64,{b64encode(content).decode()}"
