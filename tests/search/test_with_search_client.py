"""What the index gets, through the models of the search team's own package, where somebody has it installed.

It is on no registry, so nothing here depends on it (CONTRIBUTING, "With the search team's client"). Its models are
found by what they hold, not by where they lie.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Web
from harvester_dagster.documents.output import product_output
from tests.documents.families import families

package = pytest.importorskip("search_client", reason="the search team's client is not installed")

FORM = CATALOG.index_form("products")
CONFIG = Config(web=Web(public_url="https://harvester.example.org"))


def models() -> Iterator[type[Any]]:
    from pydantic import BaseModel

    for module in pkgutil.walk_packages(package.__path__, "search_client."):
        try:
            content = importlib.import_module(module.name)
        except Exception:  # parts of it need Django
            continue
        for _, found in inspect.getmembers(content, inspect.isclass):
            if issubclass(found, BaseModel) and found.__module__ == module.name:
                fields = found.model_fields
                if {"srn", "title", "files", "authors"} <= fields.keys():
                    yield found


def test_every_recorded_product_is_taken_by_its_models() -> None:
    assert FORM is not None
    making, taking = CATALOG.making("products", CONFIG), list(models())
    assert taking, "no model of a product was found in the package"
    for product, files in families():
        document = FORM.of(product_output(product, files, making))
        for model in taking:
            shown = model.model_validate(document)
            assert shown.title == document["title"]
