"""The field `publisher_year`: what ships plus the years counted at releases, cut into recent years and older ones.

The tree is computed, because "recent" moves with the calendar and with what was harvested; the file in `data/` gives
the years and the name of the root of the older ones. A year after the current one is never recent, nor is it older.
"""

import re
from functools import lru_cache

from harvester_dagster.vocabularies.trees import Term, Vocabularies

FIELD = "publisher_year"
OLDER = "older-than"
_YEAR = re.compile("[1-9][0-9]{0,3}")


def root(vocabularies: Vocabularies, year: object, this_year: int, recent: int) -> str | None:
    """The root of a year's branch: the year itself when it is one of the `recent` latest known up to this year,
    `older-than` for one before these, None for one that is not known or still to come."""
    return _roots(vocabularies, this_year, recent).get(str(year))


def is_known(vocabularies: Vocabularies, year: object) -> bool:
    """Whether the year ships, or occurs in the current version: written without leading zeros, from 1 to 9999."""
    return str(year) in _known(vocabularies)


def terms(vocabularies: Vocabularies, this_year: int, recent: int) -> tuple[Term, ...]:
    """The tree as it is now: the recent years, then `older-than` with the years under it, newest first."""
    roots = _roots(vocabularies, this_year, recent)
    years = sorted(roots, key=int, reverse=True)
    latest = [year for year in years if roots[year] != OLDER]
    before = latest[-1] if latest else str(this_year + 1)
    return (
        *(Term(year, None, year, year) for year in latest),
        Term(OLDER, None, f"Ouder dan {before}", f"Older than {before}"),
        *(Term(year, OLDER, year, year) for year in years if roots[year] == OLDER),
    )


@lru_cache(maxsize=4)
def _known(vocabularies: Vocabularies) -> frozenset[str]:
    return frozenset(value for value in vocabularies.values(FIELD) if _YEAR.fullmatch(value))


@lru_cache(maxsize=4)
def _roots(vocabularies: Vocabularies, this_year: int, recent: int) -> dict[str, str]:
    past = sorted((int(year) for year in _known(vocabularies) if int(year) <= this_year), reverse=True)
    return {str(year): str(year) if rank < recent else OLDER for rank, year in enumerate(past)}
