"""Of which code an asset is: the version that it is made with, and where it stands.

Belongs here: which of the domain's versions stands for which asset; the UI marks what was made with another one. A
version is raised where its code is, in the domain. Paths are those of the machine that loads the definitions, so that
an editor there opens them. Dagster's pages: https://docs.dagster.io/guides/build/assets/asset-versioning-and-caching
and https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

from collections.abc import Callable
from typing import Any

import dagster as dg

from harvester_dagster.access.decide import rules
from harvester_dagster.catalog import Catalog
from harvester_dagster.config import Config
from harvester_dagster.search import mapping
from harvester_dagster.sets import outputs, versions
from harvester_dagster.vocabularies import shipped


def documents_version(catalog: Catalog, config: Config) -> str | None:
    """The mappings of all configured sets, with the settings that they read; None without a set."""
    return "; ".join(catalog.mapping_versions(config)) or None


def outputs_version(catalog: Catalog, config: Config) -> str:
    """Of outputs, and so of the sets that consist of them."""
    return outputs.version(catalog, config)


def index_version(catalog: Catalog, config: Config) -> str | None:
    """What the indices are made with. None where the configured mapping cannot be used: a run then says why."""
    try:
        found = [mapping.definition(catalog, entity.name, config) for entity in catalog.entities]
    except mapping.BadMapping:
        return None
    return "; ".join(f"{one.entity}/{one.digest.hex()[:12]}" for one in found if one) or None


def release_version() -> str:
    """What every dataset version is recorded with."""
    return versions.code_version()


def vocabularies_version() -> str:
    """Of those that ship (11 ms, once in a process)."""
    return shipped.vocabularies().digest.hex()[:12]


def access_version() -> str:
    """Of the rules."""
    return str(rules.VERSION)


def reference(function: Callable[..., Any], label: str) -> dict[str, dg.MetadataValue[Any]]:
    """Metadata of an asset that this function of the domain makes; none for what is called and is no function.

    `inspect` would read and parse the file.
    """
    code = getattr(function, "__code__", None)
    if code is None:
        return {}
    place = dg.LocalFileCodeReference(file_path=code.co_filename, line_number=code.co_firstlineno, label=label)
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=[place])}
