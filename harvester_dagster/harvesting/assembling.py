"""The outputs of a batch of products, from what the store has of them: pure, so that any process can do it.

Belongs here: which outputs of a family must be made, and making them with their hashes. Does not belong here: reading
and storing (`production.py`), what an output looks like (`documents/output.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from harvester_dagster.documents import canonical, output
from harvester_dagster.documents.output import Enriched
from harvester_dagster.tasks.task import Result
from harvester_dagster.workers import World


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


class Standing(NamedTuple):
    """The output that a document has in the candidate so far."""

    from_gen: int
    published: bool
    hash: bytes
    made_from: bytes


class Found(NamedTuple):
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
    """An output as it is to be stored; one whose inputs are unchanged comes without a body."""

    doc_id: int
    entity: str
    published: bool
    hash: bytes
    made_from: bytes
    body: bytes
    reasons: list[str]


class Batch(NamedTuple):
    """Families of one set. `version` is what every output was made with beside its document, `accept_at` the time
    that documents get which the candidate changes."""

    key: str
    version: str
    accept_at: datetime
    documents: list[Live]
    results: list[Found]
    standing: dict[int, Standing]


def assembled(world: World, batch: Batch) -> list[New]:
    return list(_Assembly(world, batch).families())


class _Assembly:
    def __init__(self, world: World, batch: Batch) -> None:
        self.world, self.batch = world, batch
        self.entities = {entity.name: entity for entity in world.catalog.entities}
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
                        yield New(document.doc_id, document.entity, kept.published, kept.hash, made_from, b"", [])
                continue
            yield from self._family(root, owned, made_from)

    def _family(self, root: Live, owned: Sequence[Live], made_from: bytes) -> Iterator[New]:
        enriched = [self._enriched(part) for part in owned]
        made, reasons = self._output(root.entity, self._enriched(root), enriched)
        yield self._new(root, made, reasons, made_from)
        for part, document in zip(owned, enriched, strict=True):
            if reasons or not output.is_shown(document, self.world.config.tasks):
                continue
            yield self._new(part, *self._output(part.entity, document, ()), made_from)

    def _output(
        self, entity: str, document: Enriched, parts: Sequence[Enriched]
    ) -> tuple[Mapping[str, Any], list[str]]:
        """An output, and why it is not valid. What nobody thought of in a value costs its document, never the set."""
        row = self.entities[entity]
        try:
            made = row.output(document, parts, self.world.config)
        except (TypeError, ValueError, AttributeError, LookupError, ArithmeticError) as error:
            return {}, [f"its output cannot be made: {error!r:.200}"]
        return made, row.validate(made)

    def _new(self, document: Live, made: Mapping[str, Any], reasons: list[str], made_from: bytes) -> New:
        body = canonical.encode(made)
        digest = canonical.digest(body)
        return New(document.doc_id, document.entity, not reasons, digest, made_from, body, reasons)

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
