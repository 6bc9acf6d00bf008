"""The vocabularies that ship with the project: CSV trees and SKOS schemes in `data/` (see ATTRIBUTION there).

Read at first use, once per process. A CSV tree has the columns value, parent, nl, en.
"""

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from io import StringIO

from harvester_dagster.vocabularies import skos
from harvester_dagster.vocabularies.trees import Part, Term, Vocabularies

TREES: Mapping[str, str] = {
    "information-literacy": "study_vocabulary",
    "disciplines": "disciplines",
    "disciplines_normalized": "disciplines_normalized",
    "publisher_year": "publisher_year",
    "consortium": "consortium",
}
"""The CSV trees, and the field that each belongs to."""

SCHEMES = ("applied-science-2021", "informatievaardigheid-2020", "vaktherapie-2020", "verpleegkunde-2019")
"""The SKOS schemes of the field study_vocabulary. A harvested one of the same name takes a scheme's place."""


@cache
def vocabularies() -> Vocabularies:
    """The vocabularies that ship, without counts."""
    return Vocabularies(
        [
            *(_tree(name, field) for name, field in TREES.items()),
            *(skos.part(name, _data(f"{name}.skos.json").read_bytes()) for name in SCHEMES),
        ]
    )


@cache
def technical_types() -> Mapping[str, str]:
    """Technical types by MIME type in lower case, from the table that ships."""
    return {row["mime_type"].lower(): row["technical_type"] for row in _rows("technical_types")}


def _tree(name: str, field: str) -> Part:
    terms = (
        Term(row["value"], row["parent"] or None, nl := row["nl"] or row["value"], row["en"] or nl)
        for row in _rows(name)
    )
    return Part(f"{name}.csv", field, tuple(terms), curated=True)


def _rows(name: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(_data(f"{name}.csv").read_text(encoding="utf-8"))))


def _data(name: str) -> Traversable:
    return files(__package__) / "data" / name
