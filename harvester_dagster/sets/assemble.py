"""The outputs of a batch of products, from what the store has of them: pure, so that any process can do it.

Belongs here: which outputs of a family must be made, and making them with their hashes. Does not belong here: reading
and storing (`outputs.py`), what an output looks like (`documents/output.py`).
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from harvester_dagster import canonical
from harvester_dagster.catalog import World
from harvester_dagster.documents import index_form, output
from harvester_dagster.documents.index_form import Stored
from harvester_dagster.documents.output import Enriched
from harvester_dagster.tasks.task import Result


class Live(NamedTuple):
    """A live document of the candidate. `body` and `overwrite` are JSON."""

    doc_id: int
    entity: str
    external_id: str
    owner_id: int | None
    state: str
    hash: bytes
    hash_gen: int
    source_modified_at: str | None
    accepted_at: datetime | None
    body: str
    overwrite: str | None


class StandingOutput(NamedTuple):
    """The output that a document has in the candidate so far."""

    from_gen: int
    published: bool
    hash: bytes
    made_from: bytes


class FoundResult(NamedTuple):
    """A standing result of a document. `data` is JSON."""

    doc_id: int
    task: str
    version: int
    kind: Any
    data: str | None
    reason: str
    due_at: datetime | None
    attempts: int
    finished_at: datetime


class New(NamedTuple):
    """An output as it is to be stored; one whose inputs are unchanged comes with an empty one."""

    doc_id: int
    entity: str
    published: bool
    hash: bytes
    made_from: bytes
    stored: Stored
    reasons: list[str]


_UNCHANGED = Stored(b"")


class Batch(NamedTuple):
    """Families of one set. `version` is what every output was made with beside its document, `accept_at` the time
    that documents get which the candidate changes."""

    key: str
    version: str
    accept_at: datetime
    documents: list[Live]
    results: list[FoundResult]
    standing: dict[int, StandingOutput]


def assembled(world: World, batch: Batch) -> list[New]:
    """The outputs of a batch of roots, each with those of what it owns."""
    return list(_Assembly(world, batch).families())


class _Assembly:
    def __init__(self, world: World, batch: Batch) -> None:
        self.batch = batch
        self.making = {row.name: world.catalog.making(row.name, world.config) for row in world.catalog.entities}
        self.made = {row.name: row.output for row in world.catalog.entities}
        self.form = {row.name: world.catalog.index_form(row.name) for row in world.catalog.entities}
        self.validation = {row.name: world.catalog.validation(row.name) for row in world.catalog.entities}
        self.results: dict[int, dict[str, Result]] = {}
        self.marks: dict[int, list[Any]] = {}
        for doc_id, task, version, kind, data, reason, due_at, attempts, finished_at in batch.results:
            decoded = msgspec.json.decode(data) if data is not None else None
            result = Result(kind, decoded, reason, due_at, attempts, finished_at)
            self.results.setdefault(doc_id, {})[task] = result
            digest = canonical.digest(data.encode()) if data is not None else None
            self.marks.setdefault(doc_id, []).append((task, version, kind, attempts, digest))

    def families(self) -> Iterator[New]:
        standing = self.batch.standing
        parts: dict[int, list[Live]] = {}
        for document in self.batch.documents:
            if document.owner_id is not None:
                parts.setdefault(document.owner_id, []).append(document)
        for root in self.batch.documents:
            if root.owner_id is not None or root.state != "active":
                continue
            owned = parts.get(root.doc_id, [])
            made_from = self._made_from(root, owned)
            before = standing.get(root.doc_id)
            if (
                before
                and before.made_from == made_from
                and all(part.doc_id not in standing or standing[part.doc_id].made_from == made_from for part in owned)
            ):
                for document in (root, *owned):
                    if kept := standing.get(document.doc_id):
                        yield New(
                            document.doc_id, document.entity, kept.published, kept.hash, made_from, _UNCHANGED, []
                        )
                continue
            yield from self._family(root, owned, made_from)

    def _family(self, root: Live, owned: Sequence[Live], made_from: bytes) -> Iterator[New]:
        enriched = [self._enriched(part) for part in owned]
        stored, reasons = self._output(root.entity, self._enriched(root), enriched)
        yield self._new(root, stored, reasons, made_from)
        for part, document in zip(owned, enriched, strict=True):
            if reasons or not output.is_shown(document, self.making[part.entity]):
                continue
            yield self._new(part, *self._output(part.entity, document, ()), made_from)

    def _output(self, entity: str, document: Enriched, parts: Sequence[Enriched]) -> tuple[Stored, list[str]]:
        """An output, and why it is not valid. What nobody thought of in a value costs its document, never the set."""
        made: dict[str, Any] = {}
        try:
            made = self.made[entity](document, parts, self.making[entity])
            reasons = self.validation[entity](made)
            return index_form.stored(made, None if reasons else self.form[entity]), reasons
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            return index_form.stored(made, None), [f"its output cannot be made: {error!r:.200}"]

    def _new(self, document: Live, stored: Stored, reasons: list[str], made_from: bytes) -> New:
        return New(document.doc_id, document.entity, not reasons, stored.hash, made_from, stored, reasons)

    def _made_from(self, root: Live, owned: Sequence[Live]) -> bytes:
        """The hash of everything that the outputs of a family are made from."""
        family = [
            (
                document.external_id,
                document.state,
                document.hash,
                document.accepted_at or self.batch.accept_at,
                self.marks.get(document.doc_id),
                document.overwrite,
            )
            for document in (root, *owned)
        ]
        return canonical.digest(canonical.encode([self.batch.version, family]))

    def _enriched(self, document: Live) -> Enriched:
        return Enriched(
            srn=f"{self.batch.key}:{document.external_id}",
            set=self.batch.key,
            external_id=document.external_id,
            state=document.state,
            properties=msgspec.json.decode(document.body)["properties"],
            results=self.results.get(document.doc_id, {}),
            overwrite=msgspec.json.decode(document.overwrite) if document.overwrite else None,
            modified_at=document.accepted_at or self.batch.accept_at,
            source_modified_at=document.source_modified_at,
        )
