"""A set beside its source's whole list of identifiers: a million of them, 2,000 a page.

What is known is made in the store by one statement a table, for harvesting is measured elsewhere (`harvest.py`). A
hundred records are missing of it, and asked for one by one.

Belongs here: what is measured. Does not belong here: what is served (`source.py`).
"""

import time
from collections.abc import Iterator

from benchmarks.harvest import MILLION, World, apart, opened_in, peak_mb, worlds
from benchmarks.rows import Row
from benchmarks.source import IDENTIFIERS_A_PAGE, LOM
from harvester_dagster.sets import outputs, reconcile
from harvester_dagster.sets.fetch import mapping_version

MISSING = 100
_KNOWN = (
    """INSERT INTO attempt (set_id, mode, state, started_at, ended_at, mapping_version, base_gen, generation)
       SELECT set_id, 'full', 'accepted', now(), now(), %(mapping)s, 0, 1 FROM harvest_set WHERE key = %(key)s""",
    """INSERT INTO generation (set_id, gen, attempt_id, accepted_at, published)
       SELECT set_id, 1, attempt_id, now(), '{}' FROM attempt""",
    """INSERT INTO document (doc_id, set_id, entity, external_id)
       SELECT n + 1, g.set_id, 'products',
              'bench:' || lpad((n / %(page)s)::text, 8, '0') || '-' || lpad((n %% %(page)s)::text, 4, '0')
       FROM generation g, generate_series(0, %(count)s - 1) n WHERE n %% (%(count)s / %(missing)s) <> 0""",
    """INSERT INTO revision (doc_id, set_id, entity, from_gen, state, hash, hash_gen, source_modified_at)
       SELECT doc_id, set_id, entity, 1, 'active', decode(md5(external_id), 'hex'), 1, '2024-05-06T07:08:09Z'
       FROM document""",
    """UPDATE harvest_set SET accepted_gen = 1, watermark = now(), refreshed_at = now(), mapping_version = %(mapping)s,
           output_version = %(outputs)s
       WHERE key = %(key)s""",
    "SELECT setval('doc_id_block', %(count)s + 10000)",
)


def measure(count: int = MILLION) -> Iterator[Row]:
    with worlds((count,)) as (_, new_world), new_world() as world:
        apart(_fill, world, f"{LOM.kind}:n{count}", count)
        bare = apart(_listed, world, count)
        seconds, memory = apart(_reconcile, world, f"{LOM.kind}:n{count}")
    called = f"reconciliation, {count:,} identifiers"
    target = f"≤ {max(1, count * 60 // MILLION)} s"
    yield Row(
        f"{called} ({MISSING} missing ones fetched), beside a bare client", seconds, "s", bare, seconds / bare, target
    )
    yield Row(f"{called}: peak memory", memory, "MB", 800, memory / 800, "≤ 800 MB")


def _fill(world: World, key: str, count: int) -> None:
    """A set of which all but a few of these are known."""
    with opened_in(world) as opened:
        values = {
            "key": key,
            "count": count,
            "page": IDENTIFIERS_A_PAGE,
            "missing": MISSING,
            "mapping": mapping_version(opened, key),
            "outputs": outputs.version(opened.catalog, opened.config),
        }
        with opened.pool.connection() as connection:
            for statement in _KNOWN:
                connection.execute(statement, values)
            connection.execute("ANALYZE")


def _reconcile(world: World, key: str) -> tuple[float, float]:
    """Seconds, and the peak of the memory in MB."""
    with opened_in(world) as opened:
        began = time.perf_counter()
        report, outcome = reconcile.reconcile(opened, key)
        seconds = time.perf_counter() - began
    assert (report.missing, report.missed, report.not_given) == (MISSING, MISSING, 0), report
    assert outcome.attempt is not None and outcome.attempt.state == "accepted", outcome
    return seconds, peak_mb()


def _listed(world: World, count: int) -> float:
    """Seconds of a bare client that walks and parses the same list."""
    import requests
    from lxml import etree

    token = (
        "{http://www.openarchives.org/OAI/2.0/}ListIdentifiers/{http://www.openarchives.org/OAI/2.0/}resumptionToken"
    )
    url: str | None = f"{world.source}/oai?verb=ListIdentifiers&metadataPrefix=lom&set=n{count}"
    pages, began = 0, time.perf_counter()
    with requests.Session() as session:
        while url:
            found = etree.fromstring(session.get(url).content).findtext(token)
            pages += 1
            url = f"{world.source}/oai?verb=ListIdentifiers&resumptionToken={found}" if found else None
    assert pages * IDENTIFIERS_A_PAGE == count, pages
    return time.perf_counter() - began
