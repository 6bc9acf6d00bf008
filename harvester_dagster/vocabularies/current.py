"""The vocabularies as tonight uses them: what ships, what was harvested beside it, and last release's counts.

Belongs here: putting them together from the store, once per state and process. What a tree answers is `trees.py`.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from harvester_dagster.vocabularies import shipped, skos
from harvester_dagster.vocabularies.trees import Vocabularies

if TYPE_CHECKING:
    from harvester_dagster.installation import Installation


class Current(NamedTuple):
    """`version` is another one when any answer may differ."""

    vocabularies: Vocabularies
    version: str


def load(installation: "Installation") -> Current:
    with installation.pool.connection() as connection:
        sources = connection.execute("SELECT name, object_key FROM vocabulary_source ORDER BY name").fetchall()
        counts = connection.execute(
            "SELECT field, value, count FROM vocabulary_count WHERE value <> '' ORDER BY 1, 2"
        ).fetchall()
    bodies = tuple((name, installation.objects.get(key)) for name, key in sources)
    vocabularies = _together(bodies, tuple(counts))
    return Current(vocabularies, vocabularies.digest.hex())


@lru_cache(maxsize=2)
def _together(sources: tuple[tuple[str, bytes], ...], counts: tuple[tuple[str, str, int], ...]) -> Vocabularies:
    by_field: dict[str, dict[str, int]] = {}
    for field, value, count in counts:
        by_field.setdefault(field, {})[value] = count
    parts = [skos.part(name, body) for name, body in sources]
    return shipped.vocabularies().with_parts(parts).with_counts(by_field)
