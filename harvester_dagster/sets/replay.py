"""Whether the stored raw pages of a set hold all of it, so that it can be extracted anew without its source.

Belongs here: which attempts' pages these are, and what is missing of them. Reading them is `fetch.stored_pages`, for
how long they stay `releases/retention.py`.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from psycopg import Connection

from harvester_dagster.installation import Installation
from harvester_dagster.sets import attempts
from harvester_dagster.sets.attempts import Attempt
from harvester_dagster.sets.sets import SetState


class Coverage(NamedTuple):
    """The accepted harvests that hold a set, oldest first, and how many pages that is. `missing` says in a few words
    why they do not hold all of it; empty: they do."""

    attempts: list[Attempt]
    pages: int
    missing: str


def coverage(installation: Installation, state: SetState) -> Coverage:
    """What could be replayed of a set. Costs a listing for each of its harvests since the last complete one."""
    with installation.pool.connection() as connection:
        covering = attempts.covering(connection, state.set_id)
        bundles = _bundles(connection, covering)
    pages = sum(attempt.pages for attempt in covering)
    if state.watermark is None or not covering:
        return Coverage(covering, pages, "no complete harvest of it was accepted")
    for attempt in covering:
        known = bundles.get(attempt.attempt_id, {})
        if sum(known[key] for key in there(installation, known)) != attempt.pages:
            return Coverage(covering, pages, f"pages of attempt {attempt.attempt_id} are gone")
    return Coverage(covering, pages, "")


def there(installation: Installation, bundles: Iterable[str]) -> set[str]:
    """Those of these bundles, by their key, whose object is there. Costs a listing for each attempt that stored some: a
    harvest's own, and those that it went on with."""
    bundles = set(bundles)
    folders = {f"{key.rpartition('/')[0]}/" for key in bundles}
    return bundles.intersection(found.key for folder in folders for found in installation.objects.list(folder))


def _bundles(connection: Connection[Any], covering: list[Attempt]) -> dict[int, dict[str, int]]:
    """Per attempt its bundles by their key, and how many pages each holds."""
    found: dict[int, dict[str, int]] = {}
    for attempt_id, key, pages in connection.execute(
        "SELECT attempt_id, object_key, pages FROM page_bundle WHERE attempt_id = ANY (%s) AND holds <> 'identifiers'",
        ([attempt.attempt_id for attempt in covering],),
    ):
        found.setdefault(attempt_id, {})[key] = pages
    return found
