"""An installation after a year, written straight into a store: sets, nights, what came of them, documents, failures.

As far as pages read it, the rows are as nights, day work and people leave them. Belongs here: the rows. Does not belong
here: measuring.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from psycopg import Connection

from benchmarks.search import product
from harvester_dagster.documents.index_form import stored
from harvester_dagster.installation import Installation
from harvester_dagster.sets import sets
from harvester_dagster.store.database import copy

SOURCES, SETS_EACH, NIGHTS = 30, 10, 365
FAILURES = 100_000
SETS = SOURCES * SETS_EACH
REJECTED, FAILED = 7, 8
"""Sets, whose newest harvest ended so."""
TEMPLATES = 200
_KEY, _NAME = "sQQ:tQQ", "pQQQQQQQQ"
"""Of the templates; as long as those that take their place."""
_FILE_TASKS = ("check_url", "tika", "pdf_preview", "image_preview")


def configured() -> dict[str, Any]:
    """Its sources, as the configuration has them."""
    specs = [f"t{number:02}" for number in range(SETS_EACH)]
    source = {"kind": "sharekit", "url": "https://example.org", "sets": specs}
    return {f"s{number:02}": source for number in range(SOURCES)}


def fill(opened: Installation, documents: int) -> None:
    """A year of nights, half of the documents products with a file each, a hundredth of them changed last night; the
    newest generations are in no version yet."""
    now = opened.clock()
    sets.synchronise(opened.pool, opened.config, now)
    with opened.pool.connection() as connection:
        connection.execute("SET LOCAL synchronous_commit = off")
        given = {
            "first": now - timedelta(days=NIGHTS, hours=3),
            "now": now,
            "nights": NIGHTS,
            "sets": SETS,
            "rejected": REJECTED,
            "failed": FAILED,
            "documents": documents,
            "products": documents // 2,
            "templates": TEMPLATES,
            "file_tasks": list(_FILE_TASKS),
            "versions": [opened.catalog.task(name).version for name in _FILE_TASKS],
            "failures_each": min(FAILURES // len(_FILE_TASKS), documents // 2),
            "product_tasks": [task.name for task in opened.catalog.tasks if task.entity == "products"],
            "product_versions": [task.version for task in opened.catalog.tasks if task.entity == "products"],
            "tasks": [task.name for task in opened.catalog.tasks],
        }
        _templates(connection, opened)
        for statement in (*_NIGHTS, *_DOCUMENTS, *_RESULTS, *_PEOPLE, *_ACCESS):
            connection.execute(statement, given)
    with opened.pool.connection() as connection:
        connection.execute("ANALYZE")


def _templates(connection: Connection[Any], opened: Installation) -> None:
    connection.execute(
        "CREATE TEMP TABLE template (number int, body text, index_head text, common_at int) ON COMMIT DROP"
    )
    form = opened.catalog.index_form("products")

    def rows() -> Iterator[tuple[Any, ...]]:
        for number in range(TEMPLATES):
            body = stored(product(number, key=_KEY, name=_NAME, word=f"thema{number}"), form)
            yield (number, *(part.decode() if isinstance(part, bytes) else part for part in body))

    columns, types = ("number", "body", "index_head", "common_at"), ("int4", "text", "text", "int4")
    copy(connection, "template", columns, types, rows())


_NIGHTS = (
    """INSERT INTO night (opened_at, deadline_at, origin, released_at, ended_at, scheduled_at)
       SELECT at, at + interval '5 hours', 'schedule', at + interval '90 minutes', at + interval '100 minutes', at
       FROM (SELECT %(first)s::timestamptz + n * interval '1 day' AS at FROM generate_series(1, %(nights)s) n) each""",
    """INSERT INTO night_set (night_id, set_id, outcome, ended_at)
       SELECT night_id, set_id, 'success', opened_at + interval '1 hour' FROM night, harvest_set""",
    """INSERT INTO attempt (set_id, night_id, run_id, mode, why, since, started_at, base_gen, state, fetched_at,
           ended_at, pages, records, outputs_made, counts, verdict, tally, reason, generation, requests, bytes)
       SELECT set_id, night_id, gen_random_uuid()::text, CASE WHEN is_full THEN 'full' ELSE 'delta' END,
              'since the last harvest', opened_at - interval '1 day', opened_at, night_id - 1, state,
              opened_at + interval '4 minutes', opened_at + interval '9 minutes', 40, records, true,
              '{"products": {"new": 5, "changed": 30, "unchanged": 900, "deleted": 2}}',
              '{"products": {"n": 1600, "h": 1620, "rejected": false, "reason": ""}}',
              json_build_object('new', 5, 'changed', 30, 'unchanged', records - 35),
              CASE state WHEN 'accepted' THEN '' ELSE 'products shrank from 1,620 to 900 (44 %%)' END,
              CASE state WHEN 'accepted' THEN night_id END, 41, 4000000
       FROM (SELECT *, (night_id + set_id) %% 30 = 0 AS is_full,
                    CASE WHEN (night_id + set_id) %% 30 = 0 THEN 1600
                         ELSE 40 + (night_id * set_id) %% 50 END AS records,
                    CASE WHEN (set_id = %(rejected)s AND night_id = %(nights)s)
                              OR (night_id * 7 + set_id) %% 97 = 0 THEN 'rejected'
                         WHEN (set_id = %(failed)s AND night_id = %(nights)s)
                              OR (night_id * 5 + set_id) %% 89 = 0 THEN 'failed' ELSE 'accepted' END AS state
             FROM night, harvest_set) each ORDER BY night_id, set_id""",
    """INSERT INTO attempt (set_id, mode, why, started_at, base_gen, state, ended_at, outputs_made, generation)
       SELECT set_id, 'derive', 'day work', opened_at + interval '12 hours', night_id, 'accepted',
              opened_at + interval '12 hours 1 minute', true, night_id
       FROM night, harvest_set WHERE night_id < %(nights)s AND (night_id + set_id) %% 5 = 0""",
    """INSERT INTO generation (set_id, gen, attempt_id, accepted_at, published)
       SELECT set_id, night_id, attempt_id, a.ended_at,
              json_build_object('products', %(products)s / %(sets)s, 'files', %(products)s / %(sets)s)
       FROM attempt a WHERE night_id IS NOT NULL""",
    """UPDATE harvest_set SET accepted_gen = %(nights)s, refreshed_at = %(now)s,
           watermark = CASE WHEN set_id IN (%(rejected)s, %(failed)s) THEN %(now)s - interval '2 days'
                            ELSE %(now)s - interval '3 hours' END""",
    """INSERT INTO problem (attempt_id, external_id, kind, reason)
       SELECT attempt_id, 'p' || n, CASE WHEN n %% 3 = 0 THEN 'unreadable' ELSE 'note' END, 'its language is unknown'
       FROM (SELECT attempt_id FROM attempt WHERE night_id > %(nights)s - 14) a, generate_series(1, 10) n""",
    """INSERT INTO task_report (set_id, task, finished_at, looked_at, reused, outcomes, examples, seconds)
       SELECT set_id, task, %(now)s - interval '3 hours', 1600, 1500, '{"success": 70, "failure": 20, "retry": 10}',
              '[["s00:t00:p1", "failure", "answered 404"]]', 4 FROM harvest_set, unnest(%(tasks)s::text[]) task""",
    """INSERT INTO dataset_version (prepared_at, code_version, night_id, promoted_at, ceased_at)
       SELECT opened_at, '1', night_id, opened_at + interval '2 hours',
              CASE WHEN night_id < %(nights)s - 1 THEN opened_at + interval '26 hours' END
       FROM night WHERE night_id BETWEEN %(nights)s - 14 AND %(nights)s - 1 ORDER BY 1""",
    """INSERT INTO dataset_version_set (version_id, set_id, gen)
       SELECT version_id, set_id, night_id FROM dataset_version, harvest_set""",
    "INSERT INTO current_version (version_id) SELECT max(version_id) FROM dataset_version",
    """INSERT INTO publication (seq, set_id, at, version_id, from_gen, to_gen)
       SELECT night_id, set_id, opened_at + interval '2 hours', night_id, night_id - 1, night_id
       FROM night, harvest_set WHERE night_id < %(nights)s""",
    """INSERT INTO alert (cause, told_at, body)
       SELECT 'set ' || key, %(now)s, json_build_object('kind', 'set', 'set', key, 'reason', 'rejected three nights')
       FROM harvest_set WHERE set_id <= 20""",
)
_DOCUMENTS = (
    "SELECT setval('doc_id_block', %(documents)s + 10000)",
    """INSERT INTO document (doc_id, set_id, entity, external_id, owner_id)
       SELECT n, (n - 1) / 2 %% %(sets)s + 1, CASE n %% 2 WHEN 1 THEN 'products' ELSE 'files' END,
              CASE n %% 2 WHEN 1 THEN 'p' ELSE 'f' END || lpad(((n + 1) / 2)::text, 8, '0'),
              CASE n %% 2 WHEN 0 THEN n - 1 END
       FROM generate_series(1, %(documents)s) n""",
    """INSERT INTO revision (doc_id, set_id, entity, from_gen, to_gen, state, hash, hash_gen)
       SELECT doc_id, set_id, entity, 1,
              CASE WHEN doc_id %% 100 < 2 THEN %(nights)s
                   WHEN set_id = %(rejected)s AND (doc_id - 1) / (2 * %(sets)s) %% 10 = 0 THEN %(nights)s + 1 END,
              'active', sha256(int8send(doc_id)), 1 FROM document
       UNION ALL SELECT doc_id, set_id, entity, %(nights)s,
              CASE WHEN set_id = %(rejected)s AND (doc_id - 1) / (2 * %(sets)s) %% 10 = 0 THEN %(nights)s + 1 END,
              'active', sha256(int8send(-doc_id)), %(nights)s FROM document WHERE doc_id %% 100 < 2
       UNION ALL SELECT doc_id, set_id, entity, %(nights)s + 1, NULL, 'active', sha256(int8send(doc_id + 1000000000)),
              %(nights)s + 1 FROM document WHERE set_id = %(rejected)s AND (doc_id - 1) / (2 * %(sets)s) %% 10 = 0""",
    """INSERT INTO body (doc_id, from_gen, body)
       SELECT doc_id, from_gen, CASE entity
           WHEN 'files' THEN '{"properties":{"title":"A file","mime_type":"application/pdf","url":"https://h'
               || (doc_id * doc_id %% 400) || '.example.org/' || doc_id || '.pdf"}}'
           ELSE '{"properties":{"title":"De zorg voor patiënten","language":"nl","keywords":["zorg"]}}' END
       FROM revision""",
    """INSERT INTO output (doc_id, set_id, entity, from_gen, to_gen, published, hash, made_from)
       SELECT doc_id, set_id, entity, from_gen, to_gen, true, hash, hash FROM revision""",
    """INSERT INTO output_body (doc_id, from_gen, body, index_head, common_at)
       SELECT r.doc_id, r.from_gen, replace(replace(t.body, 'sQQ:tQQ', s.key), 'pQQQQQQQQ', d.external_id),
              replace(replace(t.index_head, 'sQQ:tQQ', s.key), 'pQQQQQQQQ', d.external_id), t.common_at
       FROM revision r JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = r.set_id
       JOIN template t ON t.number = (r.doc_id + r.from_gen) %% %(templates)s WHERE r.entity = 'products'
       UNION ALL SELECT doc_id, from_gen, body, NULL, NULL FROM revision JOIN body USING (doc_id, from_gen)
       WHERE entity = 'files'""",
    """UPDATE harvest_set SET staged_attempt = (SELECT max(attempt_id) FROM attempt a
           WHERE a.set_id = %(rejected)s AND night_id = %(nights)s) WHERE set_id = %(rejected)s""",
    "UPDATE attempt SET base_gen = %(nights)s WHERE set_id = %(rejected)s AND night_id = %(nights)s",
    "INSERT INTO dirty (doc_id, set_id) SELECT doc_id, set_id FROM document WHERE doc_id %% 501 = 0",
)
_RESULTS = (
    """INSERT INTO result (task, version, fingerprint, kind, data, finished_at)
       SELECT task, version, int8send(n), 'success', '{}', %(now)s FROM generate_series(1, 1000) n,
           unnest(%(product_tasks)s::text[], %(product_versions)s::int[]) t (task, version)""",
    """INSERT INTO task_use (doc_id, from_gen, task, set_id, fingerprint)
       SELECT doc_id, from_gen, task, set_id, int8send(doc_id %% 1000 + 1)
       FROM revision, unnest(%(product_tasks)s::text[]) task WHERE entity = 'products'""",
    """INSERT INTO result (task, version, fingerprint, kind, data, reason, due_at, finished_at, what, host)
       SELECT task, version, sha256((task || doc_id)::bytea), kind, CASE kind WHEN 'success' THEN '{}'::json END,
              replace(what, '…', 'https://h' || host || '.example.org/' || doc_id),
              CASE kind WHEN 'retry' THEN %(now)s + (doc_id %% 5 - 1) * interval '1 day' END, %(now)s, what,
              CASE WHEN what = '' THEN '' ELSE 'h' || host || '.example.org' END
       FROM (SELECT *, CASE WHEN doc_id / 2 > %(failures_each)s THEN 'success'
                            WHEN doc_id %% 3 = 0 THEN 'retry' ELSE 'failure' END AS kind,
                    CASE WHEN doc_id / 2 > %(failures_each)s THEN '' ELSE
                        (ARRAY['answered 404', 'answered 403', '… timed out after 20 s', 'its bytes are no PDF',
                               'answered 500'])[doc_id %% 5 + 1] END AS what, doc_id * doc_id %% 400 AS host
             FROM document, unnest(%(file_tasks)s::text[], %(versions)s::int[]) t (task, version)
             WHERE entity = 'files') each""",
    """INSERT INTO task_use (doc_id, from_gen, task, set_id, fingerprint)
       SELECT doc_id, from_gen, task, set_id, sha256((task || doc_id)::bytea)
       FROM revision, unnest(%(file_tasks)s::text[]) task WHERE entity = 'files'""",
)
_PEOPLE = (
    """INSERT INTO audit (at, actor, act, subject, address, outcome, detail)
       SELECT %(first)s::timestamptz + n * interval '10 minutes', 'token:library',
              (ARRAY['harvest', 'push', 'overwrite', 'mail'])[n %% 4 + 1], 's00:t00', '192.0.2.1', 'done',
              '{"run": "x"}'
       FROM generate_series(1, %(nights)s * 144) n""",
    """INSERT INTO overwrite_log (doc_id, at, actor, fields)
       SELECT doc_id, %(now)s, 'token:library', '{"title": "Other"}' FROM document WHERE doc_id %% 1001 = 1""",
    """INSERT INTO push (set_id, external_id, source_date, digest, page, sender, received_at, state, ended_at)
       SELECT set_id, external_id, '', hash, '', 'token:library', %(now)s, 'taken', %(now)s
       FROM revision JOIN document USING (doc_id, set_id) WHERE doc_id %% 997 = 1""",
)
_ACCESS = (
    "INSERT INTO access_endpoint (name, journals_generation, journals_at) VALUES ('bench', 1, %(now)s)",
    """INSERT INTO journal (endpoint_id, id, issns, title, open_access, embargo_years, ranges, problems, digest)
       SELECT 1, 'j' || n, ARRAY['1234-5678'], 'A journal', true, 0, '[]',
              CASE n %% 20 WHEN 0 THEN '[["issn", "1234-567X"]]' ELSE '[]' END::json, ''
       FROM generate_series(1, 20000) n""",
    """INSERT INTO access_run (endpoint_id, mode, state, requested_at, started_at, ended_at, progress)
       SELECT 1, 'partial', 'complete', opened_at, opened_at, opened_at + interval '20 minutes',
              '{"counts": {"total": 200000, "processed": 200000, "changes": {}, "rules": {}, "problems": {}}}'
       FROM night ORDER BY night_id""",
    """INSERT INTO access_message (run_id, at, text)
       SELECT run_id, started_at + n * interval '1 second', 'batch ' || n || ' is written'
       FROM access_run, generate_series(1, 50) n ORDER BY 1, n""",
    """INSERT INTO access_finding (run_id, id, kind, seen)
       SELECT run_id, n::text, 'year', '20O4' FROM access_run, generate_series(1, 50) n""",
)
