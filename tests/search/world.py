"""A store with sets whose outputs grow over generations, and a real OpenSearch beside it."""

from collections.abc import Mapping
from typing import Any

from opensearchpy import OpenSearch

from harvester_dagster import config
from harvester_dagster.catalog import CATALOG
from harvester_dagster.documents.index_form import stored
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.installation import Installation
from harvester_dagster.sets import outputs, sets, versions
from harvester_dagster.sets.versions import Version
from harvester_dagster.store.database import copy


class World:
    """An installation of one platform, whose sets accept what a test gives them."""

    def __init__(self, opened: Installation, client: OpenSearch) -> None:
        self.installation, self.client = opened, client
        self.alias = f"{opened.config.platform}-products"

    def accept(
        self,
        changes: Mapping[str, dict[str, Any] | None],
        key: str = "a:one",
        entity: str = "products",
        as_before: bool = False,
    ) -> None:
        """A next generation of a set: these outputs are new or changed, None ends one. `as_before`: stored without
        their form in the index, as outputs were once."""
        form = None if as_before else self.installation.catalog.index_form(entity)
        with self.installation.pool.connection() as connection:
            state = sets.find(connection, key)
            gen = state.accepted_gen + 1
            known = dict(
                connection.execute(
                    "SELECT external_id, doc_id FROM document WHERE set_id = %s", (state.set_id,)
                ).fetchall()
            )
            (highest,) = connection.execute("SELECT coalesce(max(doc_id), 0) FROM document").fetchone() or (0,)
            new = {name: highest + n for n, name in enumerate((n for n in changes if n not in known), 1)}
            ids = known | new
            copy(
                connection,
                "document",
                ("doc_id", "set_id", "entity", "external_id"),
                ("int8", "int4", "text", "text"),
                ((doc_id, state.set_id, entity, name) for name, doc_id in new.items()),
            )
            connection.execute(
                "UPDATE output SET to_gen = %s WHERE doc_id = ANY (%s) AND to_gen IS NULL",
                (gen, [ids[name] for name in changes]),
            )
            bodies = {ids[name]: stored(body, form) for name, body in changes.items() if body is not None}
            copy(
                connection,
                "output",
                ("doc_id", "set_id", "entity", "from_gen", "published", "hash", "made_from"),
                ("int8", "int4", "text", "int4", "bool", "bytea", "bytea"),
                ((doc_id, state.set_id, entity, gen, True, body.hash, b"") for doc_id, body in bodies.items()),
            )
            copy(
                connection,
                "output_body",
                ("doc_id", "from_gen", "body", "index_head", "common_at"),
                ("int8", "int4", "bytea", "bytea", "int4"),
                ((doc_id, gen, *body) for doc_id, body in bodies.items()),
            )
            connection.execute(
                "UPDATE harvest_set SET accepted_gen = %s, output_version = %s WHERE set_id = %s",
                (gen, outputs.version(self.installation.catalog, self.installation.config), state.set_id),
            )

    def prepare(self) -> Version:
        version = versions.prepare(self.installation)
        assert version is not None
        return version

    def shown(self, index: str | None = None) -> dict[str, str]:
        """Title by id of what readers of the alias (or of an index) find."""
        found = self.client.search(index=index or self.alias, body={"size": 1000, "_source": ["title"]})
        return {hit["_id"]: hit["_source"]["title"] for hit in found["hits"]["hits"]}

    def aliased(self) -> set[str]:
        return set(self.client.indices.get_alias(name=self.alias))

    def indices(self) -> set[str]:
        return set(self.client.indices.get(index=f"{self.installation.config.platform}-*"))

    def current(self) -> Version | None:
        with self.installation.pool.connection() as connection:
            return versions.current(connection)


def product(name: str, title: str, text: str = "", language: str = "nl", **properties: Any) -> dict[str, Any]:
    """The output of a product of set a:one."""
    own = {"title": title, "language": language, "description": text or None, **properties}
    making = CATALOG.making("products", config.Config())
    return product_output(Enriched(f"a:one:{name}", "a:one", name, "active", own), [], making)
