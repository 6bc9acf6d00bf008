"""A whole installation on a real store with a scripted source and a clock that tests set: nights in one line.

Belongs here: running nights, and reading what they left, by plain SQL that shares nothing with the code that wrote it.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster import canonical, config, installation
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.documents import output
from harvester_dagster.documents.making import Making
from harvester_dagster.documents.object_addresses import ROUTE
from harvester_dagster.installation import USUAL, Installation, Limits
from harvester_dagster.publication import overwrites
from harvester_dagster.sets import sets, steps
from harvester_dagster.sets.attempts import Mode
from harvester_dagster.sets.steps import SetOutcome
from harvester_dagster.sets.task_reports import TaskReport
from harvester_dagster.store import keys
from harvester_dagster.store.objects import Objects
from harvester_dagster.tasks import access_policy, check_url, once_per_body, pictures
from harvester_dagster.tasks.task import Context, Item, Outcome, Result, Subject, Task
from tests.sets.scripted_source import ScriptedSource

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


def drawing(name: str = "image_preview", version: int = 1) -> Task:
    """A content task as ours are: keeps an object of the body's, and names it where outputs look for pictures."""

    def work(item: Item, context: Context) -> Outcome:
        body = once_per_body.body_of(item, context)

        def store(prefix: str) -> Outcome:
            key = f"{prefix}preview_small.jpg"
            context.objects.put(key, body.path.read_bytes())
            return Outcome("success", dict.fromkeys(pictures.SIZES, key))

        return once_per_body.once(body, row, context, store)

    def run(items: Sequence[Item], context: Context) -> Iterator[tuple[Item, Outcome]]:
        return once_per_body.each(items, context, lambda item: work(item, context), threads=2)

    def reachable(subject: Subject, _context: Context) -> str | None:
        return access_policy.not_reachable(subject)

    reads = ("$.url", "check_url.validator", "check_url.status")
    row = Task(name, "files", version, reads, run, reachable, after=("check_url",), publishes=(pictures.PREVIEWS,))
    return row


def _plain(item: Item) -> Any:
    return item.subject.properties.get("title")


def catalog(*tasks: Task) -> Catalog:
    return Catalog(CATALOG.entities, CATALOG.kinds, tasks)


CHECKED = catalog(check_url.TASK)


class World:
    def __init__(self, opened: Installation, source: ScriptedSource, url: str) -> None:
        self.installation, self.source, self.url = opened, source, url
        self.said: list[str] = []
        """What extracting and comparing said of its progress."""
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
        steps.documents(self.installation, key, run_id=run_id, progress=self.said.append)
        self.tasks(key, run_id=run_id)
        steps.outputs(self.installation, key, run_id=run_id)
        outcome = steps.conclude(self.installation, key, run_id=run_id)
        if pass_time:
            self.forward()
        return outcome

    def tasks(self, key: str = KEY, run_id: str | None = None, **options: Any) -> dict[str, TaskReport]:
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
        with self.installation.pool.connection() as connection:
            if values is None:
                overwrites.clear(connection, doc_id, self.now)
            else:
                overwrites.put(connection, doc_id, values, self.now)

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
            product = self._output(live, doc_id, root, parts)
            if self.installation.catalog.validation(_entity(live, doc_id))(product):
                continue
            made[root.external_id] = product
            for row in live:
                part = enriched[row[0]]
                if row[1] == doc_id and output.is_shown(part, self._making(row[3])):
                    made[part.external_id] = self._output(live, row[0], part, ())
        return {name: canonical_json(body) for name, body in made.items()}

    def _output(
        self, live: list[tuple[Any, ...]], doc_id: int, document: output.Enriched, parts: Sequence[output.Enriched]
    ) -> dict[str, Any]:
        entity = _entity(live, doc_id)
        return self.installation.catalog.entity(entity).output(document, parts, self._making(entity))

    def _making(self, entity: str) -> Making:
        return self.installation.catalog.making(entity, self.installation.config)

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


SHAREKIT = 'kind = "sharekit"'


def commanded(world: World, folder: Path, monkeypatch: pytest.MonkeyPatch, settings: str = SHAREKIT) -> None:
    """Let commands work on a world: its source with these settings, and no task that needs more than this process."""
    file = folder / "harvester.toml"
    file.write_text(
        f"""
        [sources.src]
        url = "{world.source.url}"
        sets = ["one", "two"]
        {settings}
        [tasks]
        disabled = ["tika", "youtube_api", "video_preview", "pdf_preview", "image_preview"]
        [index]
        url = "none"
        [network]
        allow_hosts = ["127.0.0.1"]
        per_host_per_second = 1000
        """
    )
    monkeypatch.setenv("HARVESTER_CONFIG", str(file))
    monkeypatch.setenv("HARVESTER_POSTGRES_URL", world.url)


def _entity(live: list[tuple[Any, ...]], doc_id: int) -> str:
    name: str = next(row[3] for row in live if row[0] == doc_id)
    return name


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


def check_objects(world: World) -> None:
    """Every object that a row names is there, and there is none that no row names."""
    there = {found.key for found in world.installation.objects.list()}
    pages = {key for (key,) in world.rows("SELECT object_key FROM page_bundle")}
    vocabularies = {key for (key,) in world.rows("SELECT object_key FROM vocabulary_source")}
    fetched = {
        digest for (digest,) in world.rows("SELECT encode(digest, 'hex') FROM harvester.fetch WHERE digest IS NOT NULL")
    }
    shown = world.rows(
        """SELECT value FROM result, json_each_text(data) WHERE key IN ('full_size', 'preview_small')
           UNION SELECT value FROM output o JOIN output_body b USING (doc_id, from_gen)
               JOIN harvest_set s USING (set_id), json_each_text(
                   CASE json_typeof(b.body::json -> 'previews') WHEN 'object' THEN b.body::json -> 'previews' END)
           WHERE value IS NOT NULL AND (o.to_gen IS NULL OR o.to_gen > least(s.accepted_gen, (
               SELECT min(gen) FROM dataset_version_set v WHERE v.set_id = s.set_id)))"""
    )
    named = {name.partition(ROUTE)[2].partition("?")[0] or name for (name,) in shown}
    missing = (pages | vocabularies | named | set(map(keys.body, fetched))) - there
    assert not missing, missing
    folders = {key.rpartition("/")[0] for key in named}
    for key in there - pages - vocabularies - named - set(map(keys.body, fetched)):
        place = keys.place(key)
        assert place is not None, key
        assert place.digest in fetched or key.rpartition("/")[0] in folders, key


@contextmanager
def opened_world(
    database: str,
    source: ScriptedSource,
    catalog: Catalog = CHECKED,
    tasks: Mapping[str, Any] | None = None,
    installed: Mapping[str, Any] | None = None,
    objects: Objects | None = None,
    limits: Limits = USUAL,
    **settings: Any,
) -> Iterator[World]:
    """A world over two sets of one source; `settings` are those of the source, `installed` of the installation."""
    read = configured(source, tasks, installed, **settings)
    with installation.opened(
        read, database, catalog=catalog, objects=objects, clock=lambda: source.now, limits=limits
    ) as opened:
        world = World(opened, source, database)
        sets.synchronise(opened.pool, read, opened.clock())
        yield world


def configured(
    source: ScriptedSource,
    tasks: Mapping[str, Any] | None = None,
    installed: Mapping[str, Any] | None = None,
    **settings: Any,
) -> config.Config:
    row = {"kind": "sharekit", "url": source.url, "sets": ["one", "two"], "min_documents": 50, **settings}
    return config.parse(
        {
            "sources": {"src": row},
            "tasks": dict(tasks or {}),
            "index": {"url": "none"},
            "network": {"allow_hosts": ["127.0.0.1"], "per_host_per_second": 10_000},
            "web": {"public_url": "https://harvester.example.org"},
            **(installed or {}),
        }
    )
