"""A strip of small pictures for people, from the previews that a task stored."""

from base64 import b64encode
from collections.abc import Iterator, Sequence

from harvester_dagster.outside.failures import OutsideError
from harvester_dagster.store.objects import Objects
from harvester_dagster.tasks.reports import Example

MOST_BYTES = 30_000
"""What the UI shows of a data URI without growing slow: measured."""


def data_uris(examples: Sequence[Example], objects: Objects) -> list[tuple[str, str]]:
    """(SRN, data URI) of those pictures that are small enough, within a bound for all together."""
    return list(_small(examples, objects))


def _small(examples: Sequence[Example], objects: Objects) -> Iterator[tuple[str, str]]:
    left = 4 * MOST_BYTES
    for example in examples:
        key = (example.data or {}).get("preview_small")
        if not isinstance(key, str):
            continue
        try:
            content = objects.get(key)
        except (OutsideError, FileNotFoundError):
            continue
        if len(content) <= min(left, MOST_BYTES):
            left -= len(content)
            kind = {"png": "png", "webp": "webp"}.get(key.rpartition(".")[2], "jpeg")
            yield example.srn, f"data:image/{kind};base64,{b64encode(content).decode()}"
