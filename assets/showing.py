"""How counts, examples and times become Dagster metadata: numbers that plot, tables, thumbnails.

Belongs here: the form only. What is counted comes from the domain's reports. Dagster's page:
https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import dagster as dg

from harvester_dagster import page_addresses, shown_text
from harvester_dagster.config import Config

Metadata = dict[str, Any]


def page_of_set(config: Config, key: str) -> Metadata:
    """The way to the page of a set: where everybody can reach it, else at this machine."""
    base = config.web.public_url or f"http://{config.web.host}:{config.web.port}"
    return {"page": dg.MetadataValue.url(f"{base}{page_addresses.set_page(key)}")}


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Any:
    """A table for the UI; every cell is text or a number."""
    records = [dg.TableRecord({name: _cell(value) for name, value in zip(columns, row, strict=True)}) for row in rows]
    if not records:
        return dg.MetadataValue.text("none")
    schema = dg.TableSchema([dg.TableColumn(name, _type(records, name)) for name in columns])
    return dg.MetadataValue.table(records, schema=schema)


def _cell(value: Any) -> str | int | float | bool:
    if isinstance(value, int | float | bool):
        return value
    return "" if value is None else shown_text.one_line(str(value))


def _type(records: Sequence[dg.TableRecord], name: str) -> str:
    first = records[0].data[name]
    return "int" if isinstance(first, int) and not isinstance(first, bool) else "string"


def why_commands(srns: Iterable[str]) -> Any:
    """The commands that explain these documents, as Markdown's preformatted text."""
    lines = [f"    harvester why {shlex.quote(shown_text.one_line(srn))}" for srn in srns]
    return dg.MetadataValue.md("\n".join(lines) if lines else "none")


def pictures(named: Iterable[tuple[str, str]]) -> Any:
    """Pictures in a row, by their names and addresses: what a document holds is not to be kept here."""
    return dg.MetadataValue.md(" ".join(f"![{shown_text.markdown(name)}]({address})" for name, address in named))
