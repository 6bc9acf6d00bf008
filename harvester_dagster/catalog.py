"""What this system knows: its entities, its kinds of source, its document tasks. The one registry, in plain sight.

To add one, add a row; assets, checks, lineage and the command line follow from it.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from harvester_dagster.config import Config, set_spec
from harvester_dagster.documents import (
    index_form,
    indexed_product,
    making,
    output,
    overwriting,
    product_mapping,
    schema,
)
from harvester_dagster.documents.index_form import Form, IndexForm
from harvester_dagster.documents.making import Making, Parts
from harvester_dagster.documents.output import Enriched
from harvester_dagster.documents.schema import Schema
from harvester_dagster.sources.kind import Kind, Request
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.table import TASKS
from harvester_dagster.tasks.task import Task


@dataclass(frozen=True)
class Entity:
    """A kind of document, and its forms. What its tasks publish is not repeated here: it is added to the schema and to
    the mapping from their rows, and the output function takes it from its `Making`."""

    name: str
    singular: str
    description: str
    output: Callable[[Enriched, Iterable[Enriched], Making], dict[str, Any]]
    """A document, and what it owns, as consumers see it."""
    owned_by: str | None = None
    """Files are owned: a record replaces all that its product has. The owner's output lists its parts under their
    entity's name, and the owner's schema describes one in `$defs`, by its singular name."""
    schema: Callable[[], Schema] | None = None
    """JSON Schema of an output, without what tasks publish; None: every output may be published."""
    mapping: Mapping[str, Any] | None = None
    """The properties of the built-in search mapping, without what tasks publish; None: there is no such index."""
    queries: tuple[Mapping[str, Any], ...] = ()
    """What the built-in index is asked before it is announced: `{name, query, minimum_hits}`."""
    index_form: Form | None = None
    """Those of an output's fields that are others in a search index, but for what its tasks publish, which is added
    from their rows; None: it goes there as it is."""
    index_fields: frozenset[str] | None = None
    """What the index gets of an output, beside what its tasks publish; None: everything."""
    index_form_version: int = 1
    """Raised when the form answers differently: outputs are made anew, since both are stored, and the index too."""
    fixed: Mapping[str, str] = field(default_factory=lambda: overwriting.FIXED)
    """Fields of an output that nobody may overwrite, with the reason, beside those that its tasks publish."""


ENTITIES = (
    Entity(
        "products",
        "product",
        "Learning materials and research output, as their source describes them",
        output.product_output,
        schema=schema.product_schema,
        mapping=product_mapping.PROPERTIES,
        queries=product_mapping.QUERIES,
        index_form=indexed_product.product,
        index_fields=indexed_product.FIELDS,
        index_form_version=indexed_product.VERSION,
        fixed=overwriting.FIXED_OF_PRODUCTS,
    ),
    Entity(
        "files",
        "file",
        "The files and links of a product, one URL each",
        output.file_output,
        owned_by="products",
        fixed=overwriting.FIXED_OF_FILES,
    ),
)


@dataclass(frozen=True)
class Catalog:
    """The rows of all three tables, in the order in which people read them."""

    entities: tuple[Entity, ...]
    kinds: Mapping[str, Kind]
    tasks: tuple[Task, ...]

    def __post_init__(self) -> None:
        """Raises ValueError where what tasks publish does not fit together."""
        for entity in self.entities:
            self.published(entity.name)

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

    def mapping_versions(self, config: Config) -> tuple[str, ...]:
        """What the configured sets are extracted with (`Kind.mapping_version`), each once, sorted."""
        found = {
            self.kinds[settings.kind].mapping_version(Request(settings, set_spec(key, config), None, config.production))
            for key, settings in config.sets.items()
            if settings.kind in self.kinds
        }
        return tuple(sorted(found))

    def entity(self, name: str) -> Entity:
        """The entity of this name, which there must be."""
        return next(entity for entity in self.entities if entity.name == name)

    def task(self, name: str) -> Task:
        """The task of this name, which there must be."""
        return next(task for task in self.tasks if task.name == name)

    def tasks_of(self, entity: str) -> list[Task]:
        """The tasks of an entity's documents, in the order of the table."""
        return [task for task in self.tasks if task.entity == entity]

    def part_of(self, entity: str) -> Entity | None:
        """What the entity owns."""
        return next((part for part in self.entities if part.owned_by == entity), None)

    def published(self, entity: str) -> tuple[PublishedField, ...]:
        """The fields that an entity's tasks publish."""
        return making.published(self.tasks_of(entity))

    def making(self, entity: str, config: Config) -> Making:
        """What the entity's outputs are made with."""
        part = self.part_of(entity)
        return Making(config, entity, self.tasks, Making(config, part.name, self.tasks) if part else None)

    def schema(self, entity: str) -> Schema | None:
        """The published schema of an entity's outputs; None: it has none."""
        own = self.entity(entity).schema
        return schema.with_fields(own(), self.published(entity), self._parts(entity)) if own else None

    def validation(self, entity: str) -> Callable[[Mapping[str, Any]], list[str]]:
        """Why an output of the entity must not be published; empty: it may."""
        whole = self.schema(entity)
        return schema.validation(whole, self.entity(entity).singular) if whole else lambda _output: []

    def not_overwritable(self, entity: str, values: Mapping[str, Any]) -> list[str]:
        """Why these values cannot overwrite fields of an output of the entity, a field a line; empty: they can."""
        row, part = self.entity(entity), self.part_of(entity)
        whole = self.schema(row.owned_by or entity)
        if whole and row.owned_by:
            whole = {**whole["$defs"].get(row.singular, {}), "$defs": whole["$defs"]}
        tasks = [*self.tasks_of(entity), *(self.tasks_of(part.name) if part else ())]
        found = {each.name: f"it is what the task {task.name} finds" for task in tasks for each in task.publishes}
        return overwriting.reasons(values, whole, {**found, **row.fixed}, row.singular)

    def mapping(self, entity: str) -> dict[str, Any] | None:
        """The properties of the entity's built-in index; None: it has none."""
        own = self.entity(entity).mapping
        return None if own is None else index_form.properties(own, self.published(entity), self._parts(entity))

    def index_form(self, entity: str) -> IndexForm | None:
        """What becomes of the entity's outputs in an index; None: they stay as they are."""
        row, fields = self.entity(entity), self.published(entity)
        parts = self._parts(entity)
        return index_form.index_form(row.index_form, row.index_form_version, row.index_fields, fields, parts)

    def _parts(self, entity: str) -> Parts:
        part = self.part_of(entity)
        return Parts(part.name, part.singular, self.published(part.name)) if part else Parts()


class World(NamedTuple):
    """What a function that runs in further processes may read (`processes/workers.py`)."""

    catalog: Catalog
    config: Config


CATALOG = Catalog(ENTITIES, KINDS, TASKS)
