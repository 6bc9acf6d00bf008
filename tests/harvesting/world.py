"""A whole installation on a real store with a scripted source and a clock that tests set: nights in one line.

Belongs here: running nights, and reading what they left, by plain SQL that shares nothing with the code that wrote it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from harvester_dagster import config, installation
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.documents import canonical, output
from harvester_dagster.harvesting import sets, steps
from harvester_dagster.harvesting.attempts import Mode
from harvester_dagster.harvesting.steps import SetOutcome
from harvester_dagster.installation import Installation
from harvester_dagster.tasks import check_url
from harvester_dagster.tasks.reports import Report
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Task
from tests.harvesting.scripted_source import ScriptedSource

NIGHT = datetime(2026, 3, 1, 1, 30, tzinfo=UTC)
DAY = timedelta(days=1)
KEY = "src:one"


class Scripted:
    """A task whose answers a test sets; `ran` lists the SRNs that it was run for."""

    def __init__(self, name: str = "echo", entity: str = "products", **row: Any) -> None:
        self.ran: list[str] = []
        self.answer: Callable[[Item], Outcome] = lambda item: Outcome("success", {"saw": _plain(item)})
        self.row = Task(name, entity, **{"version": 1, "reads": ("$.title",), "run": self._run, **row})

    def _run(self, items: Sequence[Item], _context: Context) -> Iterator[tuple[Item, Outcome]]:
        for item in items:
            self.ran.append(item.srn)
            yield item, self.answer(item)

    def took(self) -> list[str]:
        """What it was run for since it was asked last."""
        ran, self.ran = sorted(self.ran), []
        return ran


def _plain(item: Item) -> Any:
    return item.subject.properties.get("title")


def catalog(*tasks: Task) -> Catalog:
    return Catalog(CATALOG.entities, CATALOG.kinds, tasks)


CHECKED = catalog(check_url.TASK)


class World:
    def __init__(self, opened: Installation, source: ScriptedSource, url: str) -> None:
        self.installation, self.source, self.url = opened, source, url
        self.at(NIGHT)

    @property
    def now(self) -> datetime:
        return self.source.now

    def at(self, moment: datetime) -> None:
        self.source.now = moment

    def forward(self, by: timedelta = DAY) -> None:
        self.at(self.now + by)

    # What runs.

    def night(
        self, key: str = KEY, asked: Mode | None = None, run_id: str | None = None, pass_time: bool = True
    ) -> SetOutcome:
        """A set's whole night, a day after the last one."""
        steps.harvest(self.installation, key, asked=asked, run_id=run_id)
        steps.documents(self.installation, key, run_id=run_id)
        self.tasks(key, run_id=run_id)
        steps.outputs(self.installation, key, run_id=run_id)
        outcome = steps.conclude(self.installation, key, run_id=run_id)
        if pass_time:
            self.forward()
        return outcome

    def tasks(self, key: str = KEY, run_id: str | None = None, **options: Any) -> dict[str, Report]:
        return {
            report.task: report
            for rows in self.installation.catalog.passes
            for report in steps.tasks(self.installation, key, rows, run_id=run_id, **options)
        }

    def day_work(self, key: str = KEY) -> SetOutcome:
        self.tasks(key)
        return steps.conclude(self.installation, key)

    # What there is.

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.installation.pool.connection() as connection:
            return connection.execute(query, parameters or None).fetchall()

    def one(self, query: str, *parameters: Any) -> Any:
        ((value,),) = self.rows(query, *parameters)
        return value

    def change(self, query: str, *parameters: Any) -> None:
        with self.installation.pool.connection() as connection:
            connection.execute(query, parameters or None)

    def state(self, key: str = KEY) -> sets.SetState:
        with self.installation.pool.connection() as connection:
            return sets.find(connection, key)

    def attempts(self) -> list[tuple[str, str]]:
        return [(mode, state) for mode, state in self.rows("SELECT mode, state FROM attempt ORDER BY attempt_id")]

    def outputs(self, key: str = KEY, gen: int | None = None) -> dict[str, dict[str, Any]]:
        """What consumers see of a set: bodies by external id."""
        state = self.state(key)
        found = self.rows(
            """SELECT d.external_id, b.body::json FROM output o JOIN output_body b USING (doc_id, from_gen)
               JOIN document d USING (doc_id)
               WHERE o.set_id = %s AND o.published AND o.from_gen <= %s AND (o.to_gen IS NULL OR o.to_gen > %s)""",
            state.set_id,
            *[state.accepted_gen if gen is None else gen] * 2,
        )
        return dict(found)

    def titles(self, key: str = KEY, gen: int | None = None) -> dict[str, str]:
        """Titles of the published products."""
        return {name: body["title"] for name, body in self.outputs(key, gen).items() if body["entity"] == "products"}

    def overwrite(self, external_id: str, values: Mapping[str, Any] | None, key: str = KEY) -> None:
        """As an operator does, by `harvester overwrite`."""
        doc_id = self.one(
            "SELECT doc_id FROM document WHERE set_id = %s AND external_id = %s", self.state(key).set_id, external_id
        )
        if values is None:
            self.change("DELETE FROM overwrite WHERE doc_id = %s", doc_id)
        else:
            self.change(
                """INSERT INTO overwrite (doc_id, body, changed_at) VALUES (%s, %s, %s)
                   ON CONFLICT (doc_id) DO UPDATE SET body = excluded.body""",
                doc_id,
                canonical.encode(values).decode(),
                self.now,
            )
        self.change(
            """INSERT INTO dirty (doc_id, set_id) SELECT doc_id, set_id FROM document WHERE doc_id = %s
               ON CONFLICT (doc_id) DO UPDATE SET done_in = NULL""",
            doc_id,
        )

    def rebuilt(self, key: str = KEY) -> dict[str, dict[str, Any]]:
        """What consumers should see, made from nothing, document by document."""
        state = self.state(key)
        live = self.rows(
            """SELECT r.doc_id, d.owner_id, d.external_id, r.entity, r.state, r.from_gen, r.source_modified_at,
                      g.accepted_at, b.body::json, o.body
               FROM revision r JOIN document d USING (doc_id) JOIN body b USING (doc_id, from_gen)
               JOIN generation g ON g.set_id = r.set_id AND g.gen = r.hash_gen
               LEFT JOIN overwrite o USING (doc_id)
               WHERE r.set_id = %s AND r.from_gen <= %s AND (r.to_gen IS NULL OR r.to_gen > %s) ORDER BY r.doc_id""",
            state.set_id,
            state.accepted_gen,
            state.accepted_gen,
        )
        made: dict[str, dict[str, Any]] = {}
        enriched = {row[0]: self._enriched(key, row) for row in live}
        for doc_id, owner_id, *_ in live:
            root = enriched[doc_id]
            if owner_id is not None or root.state != "active":
                continue
            parts = [enriched[row[0]] for row in live if row[1] == doc_id]
            product = self._entity(live, doc_id).output(root, parts, self.installation.config)
            if self._entity(live, doc_id).validate(product):
                continue
            made[root.external_id] = product
            for row in live:
                part = enriched[row[0]]
                if row[1] == doc_id and output.is_shown(part, self.installation.config.tasks):
                    made[part.external_id] = self._entity(live, row[0]).output(part, (), self.installation.config)
        return {name: canonical_json(body) for name, body in made.items()}

    def _entity(self, live: list[tuple[Any, ...]], doc_id: int) -> Any:
        return self.installation.catalog.entity(next(row[3] for row in live if row[0] == doc_id))

    def _enriched(self, key: str, row: tuple[Any, ...]) -> output.Enriched:
        doc_id, _, external_id, _, state, from_gen, source_modified_at, accepted_at, body, overwrite = row
        results = {}
        for task, mark in self.rows(
            "SELECT task, fingerprint FROM task_use WHERE doc_id = %s AND from_gen = %s", doc_id, from_gen
        ):
            found = self.rows(
                """SELECT kind, data, reason, due_at, attempts, finished_at FROM result
                   WHERE task = %s AND fingerprint = %s ORDER BY kind = 'retry', version DESC""",
                task,
                mark,
            )
            if found:
                results[task] = Result(*found[0])
        return output.Enriched(
            srn=f"{key}:{external_id}",
            set=key,
            external_id=external_id,
            state=state,
            properties=body["properties"],
            results=results,
            overwrite=overwrite,
            modified_at=accepted_at,
            source_modified_at=source_modified_at,
        )


def canonical_json(value: Any) -> Any:
    return json.loads(canonical.encode(value))


def check(world: World) -> None:
    """Every invariant of the schema that no index holds, over the whole store."""
    none = {
        "revisions of a document overlap": """SELECT FROM revision a JOIN revision b USING (doc_id)
            WHERE a.from_gen < b.from_gen AND (a.to_gen IS NULL OR a.to_gen > b.from_gen)""",
        "outputs of a document overlap": """SELECT FROM output a JOIN output b USING (doc_id)
            WHERE a.from_gen < b.from_gen AND (a.to_gen IS NULL OR a.to_gen > b.from_gen)""",
        "a revision has no body, or a body no revision": """SELECT FROM revision FULL JOIN body b
            USING (doc_id, from_gen) WHERE b.body IS NULL OR state IS NULL""",
        "an output has no body, or a body no output": """SELECT FROM output o FULL JOIN output_body b
            USING (doc_id, from_gen) WHERE b.body IS NULL OR o.hash IS NULL""",
        "something beyond the candidate": """SELECT FROM revision r JOIN harvest_set s USING (set_id)
            WHERE r.from_gen > s.accepted_gen + 1 OR r.to_gen > s.accepted_gen + 1""",
        "generations with gaps": """SELECT FROM harvest_set s LEFT JOIN generation g USING (set_id)
            GROUP BY s.set_id HAVING count(g.gen) <> s.accepted_gen OR coalesce(max(g.gen), 0) <> s.accepted_gen""",
        "a file without its product": """SELECT FROM revision r JOIN document d USING (doc_id)
            JOIN harvest_set s ON s.set_id = r.set_id
            WHERE d.owner_id IS NOT NULL AND r.from_gen <= s.accepted_gen
              AND (r.to_gen IS NULL OR r.to_gen > s.accepted_gen) AND NOT EXISTS (
                SELECT FROM revision p WHERE p.doc_id = d.owner_id AND p.from_gen <= s.accepted_gen
                  AND (p.to_gen IS NULL OR p.to_gen > s.accepted_gen))""",
        "one hash with two dates": """SELECT FROM revision a JOIN revision b
            ON b.doc_id = a.doc_id AND a.to_gen = b.from_gen WHERE a.hash = b.hash AND a.hash_gen <> b.hash_gen""",
        "a date of the future": "SELECT FROM revision WHERE hash_gen > from_gen",
        "two open attempts": """SELECT FROM attempt WHERE state IN ('open', 'fetched', 'staged')
            GROUP BY set_id HAVING count(*) > 1""",
        "a use of nothing": """SELECT FROM task_use u LEFT JOIN revision r USING (doc_id, from_gen)
            WHERE r.doc_id IS NULL""",
    }
    for sentence, query in none.items():
        assert world.rows(query) == [], sentence
    for key, published, counted in world.rows(
        """SELECT s.key || ' ' || g.gen, g.published, (
               SELECT coalesce(json_object_agg(entity, n), '{}') FROM (
                   SELECT entity, count(*) AS n FROM output o WHERE o.set_id = g.set_id AND o.published
                     AND o.from_gen <= g.gen AND (o.to_gen IS NULL OR o.to_gen > g.gen) GROUP BY entity) c)
           FROM generation g JOIN harvest_set s USING (set_id)
           WHERE g.gen = s.accepted_gen"""
    ):
        assert {name: n for name, n in published.items() if n} == counted, key


@contextmanager
def opened_world(
    database: str,
    source: ScriptedSource,
    catalog: Catalog = CHECKED,
    tasks: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Iterator[World]:
    """A world over two sets of one source; `settings` are those of the source."""
    read = configured(source, tasks, **settings)
    with installation.opened(read, database, catalog=catalog, clock=lambda: source.now) as opened:
        world = World(opened, source, database)
        sets.synchronise(opened.pool, read, opened.clock())
        yield world


def configured(source: ScriptedSource, tasks: Mapping[str, Any] | None = None, **settings: Any) -> config.Config:
    row = {"kind": "sharekit", "url": source.url, "sets": ["one", "two"], "min_documents": 50, **settings}
    return config.parse(
        {
            "sources": {"src": row},
            "tasks": dict(tasks or {}),
            "index": {"url": "none"},
            "network": {"allow_hosts": ["127.0.0.1"], "per_host_per_second": 10_000},
        }
    )
