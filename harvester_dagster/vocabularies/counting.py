"""How often each value occurs in the current version, counted after a release for the trees and for the next night.

Belongs here: which field of an output counts for which vocabulary, and keeping the counts together with the version
that they are of, so that only what differs from it is counted (30,000 products a second).
Does not belong here: what a count means (`trees.py`, `publisher_year.py`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec
from psycopg import Connection

from harvester_dagster.harvesting.generations import live
from harvester_dagster.installation import Installation
from harvester_dagster.store.database import copy
from harvester_dagster.versions import versions
from harvester_dagster.vocabularies import publisher_year

BATCH = 2_000

FIELDS = ("study_vocabulary", "disciplines", "disciplines_normalized", "consortium", "publisher_year")
OF_VERSION = "version"
"""The field of the one row without a value, which tells what version the counts are of."""

Counts = dict[str, Counter[str]]
"""In how many published products each value occurs, by vocabulary."""


class _Terms(msgspec.Struct):
    keyword: list[str] = []


class _Consortium(msgspec.Struct):
    keyword: str | None = None


class _Product(msgspec.Struct):
    """What counts of an output; its many other keys are skipped while decoding."""

    study_vocabulary: _Terms
    disciplines_normalized: _Terms
    consortium: _Consortium
    publisher_year_normalized: str | None
    publisher_year: int | None = None
    disciplines: list[str] = []


_DECODER = msgspec.json.Decoder(_Product)


def count(installation: Installation) -> Counts:
    """Bring the counts from the version that they are of to the current one."""
    with installation.pool.connection() as connection:
        connection.execute("LOCK TABLE vocabulary_count IN SHARE ROW EXCLUSIVE MODE")
        version = versions.current(connection)
        before, counts = _kept(connection)
        after = version.generations if version else {}
        for set_id in {*before, *after}:
            x, y = before.get(set_id, 0), after.get(set_id, 0)
            _count(counts, _outputs(connection, set_id, y, x), 1)
            _count(counts, _outputs(connection, set_id, x, y), -1)
        _keep(connection, version, counts)
    return counts


def _values(product: _Product) -> Iterator[tuple[str, Iterable[str]]]:
    yield "study_vocabulary", product.study_vocabulary.keyword
    yield "disciplines", set(product.disciplines)
    yield "disciplines_normalized", product.disciplines_normalized.keyword
    if product.consortium.keyword:
        yield "consortium", (product.consortium.keyword,)
    if product.publisher_year is not None:
        yield "publisher_year", (str(product.publisher_year),)
    if product.publisher_year_normalized == publisher_year.OLDER:
        yield "publisher_year", (publisher_year.OLDER,)


def _count(counts: Counts, outputs: Iterable[bytes], sign: int) -> None:
    for output in outputs:
        for field, values in _values(_DECODER.decode(output)):
            for value in values:
                counts[field][value] += sign


def _outputs(connection: Connection[Any], set_id: int, at: int, but_not_at: int) -> Iterator[bytes]:
    """Published products of a set that are live at one generation and not at the other (0: there was none)."""
    low, high = sorted((at, but_not_at))
    if low == high:
        return
    with connection.cursor(name="outputs", binary=True) as cursor:
        cursor.itersize = BATCH
        cursor.execute(
            f"""SELECT convert_to(b.body::text, 'UTF8') FROM output o JOIN output_body b USING (doc_id, from_gen)
                WHERE o.set_id = %(set)s AND o.entity = 'products' AND o.published
                  AND (o.from_gen > %(low)s AND o.from_gen <= %(high)s OR o.to_gen > %(low)s AND o.to_gen <= %(high)s)
                  AND {live("o", "%(at)s")} AND NOT ({live("o", "%(but_not_at)s")})""",
            {
                "set": set_id,
                "at": at,
                "but_not_at": but_not_at,
                "low": min(at, but_not_at),
                "high": max(at, but_not_at),
            },
        )
        for (body,) in cursor:
            yield body


def _kept(connection: Connection[Any]) -> tuple[Mapping[int, int], Counts]:
    """The generations that the kept counts are of, and these; nothing when that version is no longer retained."""
    counts: Counts = {field: Counter() for field in FIELDS}
    rows = connection.execute("SELECT field, value, count FROM vocabulary_count").fetchall()
    of = next((version_id for field, _, version_id in rows if field == OF_VERSION), None)
    retained = {version.version_id: version for version in versions.all_versions(connection)}
    if of not in retained:
        return {}, counts
    for field, value, n in rows:
        if field in counts:
            counts[field][value] = n
    return retained[of].generations, counts


def _keep(connection: Connection[Any], version: versions.Version | None, counts: Counts) -> None:
    connection.execute("DELETE FROM vocabulary_count")
    rows = [(field, value, n) for field, values in counts.items() for value, n in values.items() if n > 0]
    if version:
        rows.append((OF_VERSION, "", version.version_id))
    copy(connection, "vocabulary_count", ("field", "value", "count"), ("text", "text", "int4"), rows)
