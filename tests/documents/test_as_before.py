"""What the ten tasks of November 2026 give consumers, and the index, is what it was when it was looked at last.

A further task changes nothing here: only these ten are looked at.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster import canonical
from harvester_dagster.catalog import CATALOG, Catalog
from harvester_dagster.config import Config, Index, Output, Store, Web
from harvester_dagster.documents.output import file_output, product_output
from harvester_dagster.search import mapping
from harvester_dagster.sets import outputs
from tests.documents.families import DATA, families

TEN = {task for tasks in DATA.values() for task in tasks}
SHIPPED = replace(CATALOG, tasks=tuple(task for task in CATALOG.tasks if task.name in TEN))
PUBLISHED = Path(__file__).parent / "published" / "product.schema.json"


def test_outputs_are_the_same_bytes() -> None:
    config = Config(web=Web(public_url="https://harvester.example.org"))
    products, files = SHIPPED.making("products", config), SHIPPED.making("files", config)
    made = []
    for product, parts in families():
        made.append(canonical.encode(product_output(product, parts, products)))
        made += [canonical.encode(file_output(part, (), files)) for part in parts]
    assert len(made) == 920
    assert canonical.digest(b"\n".join(made)).hex() == "6ee7c9d1c6d7890e6c0cd9a005e43c34"


def test_their_form_in_the_index_is_the_same_bytes() -> None:
    form, config = SHIPPED.index_form("products"), Config(web=Web(public_url="https://harvester.example.org"))
    assert form is not None
    products = SHIPPED.making("products", config)
    made = [canonical.encode(form.of(product_output(product, parts, products))) for product, parts in families()]
    assert canonical.digest(b"\n".join(made)).hex() == "baa6ee999f8b7605ef807dd8c4cbb2ef"


def test_no_output_is_made_anew() -> None:
    assert outputs.version(SHIPPED, Config()) == "2:8043a0ea561fac944e0facaef278c92a"


@pytest.mark.parametrize(
    "another",
    [
        Config(web=Web(public_url="https://harvester.example.org")),
        Config(store=Store(objects_public_url="https://objects.example.org")),
        Config(output=Output(author_emails=True)),
    ],
    ids=str,
)
def test_a_setting_that_outputs_read_makes_them_anew(another: Config) -> None:
    assert outputs.version(SHIPPED, another) != outputs.version(SHIPPED, Config())


def test_a_setting_that_they_do_not_read_does_not() -> None:
    pages = Config(web=Web(port=1, token_env="OTHER"), index=Index(shards=3, mapping="own"))
    assert outputs.version(SHIPPED, pages) == outputs.version(SHIPPED, Config())
    both = Store(objects_public_url="https://objects.example.org")
    one, other = (Config(store=both, web=Web(public_url=url)) for url in ("https://a", "https://b"))
    assert outputs.version(SHIPPED, one) == outputs.version(SHIPPED, other), "addresses are the store's"


def _changed(**changes: Any) -> Catalog:
    products, *others = SHIPPED.entities
    return replace(SHIPPED, entities=(replace(products, **changes), *others))


def _digest(catalog: Catalog) -> bytes:
    made = mapping.definition(catalog, "products", Config())
    assert made is not None
    return made.digest


def test_another_mapping_builds_the_index_anew_and_makes_no_output() -> None:
    other = _changed(mapping={**(SHIPPED.entity("products").mapping or {}), "more": {"type": "keyword"}})
    assert outputs.version(other, Config()) == outputs.version(SHIPPED, Config())
    assert _digest(other) != _digest(SHIPPED)


def test_another_form_makes_both_anew() -> None:
    other = _changed(index_form_version=2)
    assert outputs.version(other, Config()) != outputs.version(SHIPPED, Config())
    assert _digest(other) != _digest(SHIPPED)


def test_the_published_schema_says_the_same() -> None:
    assert _in_any_order(SHIPPED.schema("products")) == _in_any_order(json.loads(PUBLISHED.read_text("utf-8")))


def _in_any_order(schema: Any) -> dict[str, Any]:
    return {**schema, "required": sorted(schema["required"])}


def test_no_index_is_built_anew() -> None:
    configs = [Config(index=index) for index in (Index(), Index(nl_decompound_word_list="x"))]
    made = [mapping.definition(SHIPPED, "products", config) for config in configs]
    assert [one.digest.hex() for one in made if one] == [
        "5a941de0a05c01c05c1d4cf8f203e6aa",
        "2a051856420e953f126a5597694a8aa4",
    ]
