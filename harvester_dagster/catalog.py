"""What this system knows: its entities, its kinds of source, its document tasks. The one registry, in plain sight.

To add one, add a row; assets, checks, lineage and the command line follow from it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from harvester_dagster.config import Config
from harvester_dagster.documents import output, schema
from harvester_dagster.documents.output import Enriched
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source import Kind
from harvester_dagster.tasks.table import TASKS
from harvester_dagster.tasks.task import Task


@dataclass(frozen=True)
class Entity:
    """A kind of document. Files are owned: a record replaces all that its product has."""

    name: str
    description: str
    output: Callable[[Enriched, Iterable[Enriched], Config], dict[str, Any]]
    """A document, and what it owns, as consumers see it."""
    owned_by: str | None = None
    validate: Callable[[Mapping[str, Any]], list[str]] = lambda _output: []
    """Why an output must not be published; empty: it may."""


ENTITIES = (
    Entity(
        "products",
        "Learning materials and research output, as their source describes them",
        output.product_output,
        validate=schema.validate,
    ),
    Entity(
        "files",
        "The files and links of a product, one URL each",
        lambda file, _parts, config: output.file_output(file, config),
        owned_by="products",
    ),
)


@dataclass(frozen=True)
class Catalog:
    entities: tuple[Entity, ...]
    kinds: Mapping[str, Kind]
    tasks: tuple[Task, ...]

    def with_(
        self, entities: tuple[Entity, ...] = (), kinds: Mapping[str, Kind] | None = None, tasks: tuple[Task, ...] = ()
    ) -> "Catalog":
        """This catalog and more."""
        return replace(
            self,
            entities=self.entities + entities,
            kinds={**self.kinds, **(kinds or {})},
            tasks=self.tasks + tasks,
        )

    @property
    def passes(self) -> tuple[tuple[Task, ...], ...]:
        """The tasks in their order; together those that go through an entity's documents in one pass: what looks into
        vocabularies does so little for a document that reading it costs more."""
        passes: dict[str, list[Task]] = {}
        for task in self.tasks:
            together = task.uses_vocabularies and not task.after
            passes.setdefault(f"normalize_{task.entity}" if together else task.name, []).append(task)
        return tuple(tuple(tasks) for tasks in passes.values())

    def entity(self, name: str) -> Entity:
        return next(entity for entity in self.entities if entity.name == name)

    def task(self, name: str) -> Task:
        return next(task for task in self.tasks if task.name == name)


CATALOG = Catalog(ENTITIES, KINDS, TASKS)
