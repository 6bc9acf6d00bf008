"""The vocabularies as tonight uses them: what ships, what was harvested beside it, and last release's counts.

Belongs here: putting them together from the store, once per state and process. What a tree answers is `trees.py`.
"""

from functools import lru_cache
from typing import NamedTuple

from harvester_dagster.failures import HarvesterError, PermanentError
from harvester_dagster.store.database import Pool
from harvester_dagster.store.objects import Objects
from harvester_dagster.vocabularies import shipped, skos
from harvester_dagster.vocabularies.skos import SkosError
from harvester_dagster.vocabularies.trees import Vocabularies

OF_VERSION = "version"
"""The field of the one row of `vocabulary_count` that counts nothing: it tells which version was counted."""


class VocabularyLost(HarvesterError):
    """What was harvested of a vocabulary cannot be read any more, and will not be until it is harvested again."""

    def __init__(self, said: Exception) -> None:
        super().__init__(
            f"a harvested vocabulary is lost: {said}", "the asset `vocabularies` harvests it again, weekly or at once"
        )


class Current(NamedTuple):
    """The vocabularies of this moment; `version` is another one when any of their answers may differ."""

    vocabularies: Vocabularies
    version: str


NONE = Current(Vocabularies([]), "")
"""For what looks into none."""


def load(pool: Pool, objects: Objects) -> Current:
    """What tasks look up now, put together from the store's rows and objects; the same state is put together once in
    a process. Raises VocabularyLost; StorageError when no object can be read now."""
    with pool.connection() as connection:
        sources = connection.execute("SELECT name, object_key FROM vocabulary_source ORDER BY name").fetchall()
        counts = connection.execute(
            "SELECT field, value, count FROM vocabulary_count WHERE field <> %s ORDER BY 1, 2", (OF_VERSION,)
        ).fetchall()
    try:
        bodies = tuple((name, objects.get(key)) for name, key in sources)
        vocabularies = _together(bodies, tuple(counts))
    except (PermanentError, SkosError) as error:
        raise VocabularyLost(error) from error
    return Current(vocabularies, vocabularies.digest.hex())


@lru_cache(maxsize=2)
def _together(sources: tuple[tuple[str, bytes], ...], counts: tuple[tuple[str, str, int], ...]) -> Vocabularies:
    by_field: dict[str, dict[str, int]] = {}
    for field, value, count in counts:
        by_field.setdefault(field, {})[value] = count
    parts = [skos.part(name, body) for name, body in sources]
    return shipped.vocabularies().with_parts(parts).with_counts(by_field)
