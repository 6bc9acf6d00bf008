"""`harvester overwrite …`: an operator's values for one document."""

from pathlib import Path
from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import Commands, Json, Srn
from harvester_dagster.cli.session import opened
from harvester_dagster.explain import why
from harvester_dagster.publication import audit, overwrites

overwrite_app = Commands("An operator's values for one document; they win over the source's.")


@overwrite_app.command("set")
def overwrite_set(
    srn: Srn,
    values: Annotated[str, typer.Argument(help='JSON, such as {"title": "…"}, or @FILE.')],
    as_json: Json = False,
) -> None:
    """Set an operator's values for one document. They survive harvests, resets and rollbacks."""
    body = overwrites.read(_text(values))
    with opened() as installation:
        trying = audit.trying(installation.pool, "overwrite", srn, installation.clock)
        with trying, installation.pool.connection() as connection:
            found = why.look_up(installation, connection, srn)
            overwrites.refuse(installation.catalog.not_overwritable(found.entity, body))
            overwrites.put(connection, found.doc_id, body, installation.clock())
        if as_json:
            printing.as_json({"srn": srn, "overwritten": body})
        else:
            said = f"{printing.text(srn)}: {', '.join(body)} overwritten: {overwrites.WHEN_SHOWN}."
            printing.console.print(said)


def _text(values: str) -> str:
    if not values.startswith("@"):
        return values
    try:
        return Path(values[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise overwrites.BadOverwrite(f"{values[1:]} cannot be read: {error}", "name a file with JSON in it") from None


@overwrite_app.command("clear")
def overwrite_clear(srn: Srn, as_json: Json = False) -> None:
    """Give a document its source's values back."""
    with opened() as installation, installation.pool.connection() as connection:
        found = why.look_up(installation, connection, srn)
        gone = overwrites.clear(connection, found.doc_id, installation.clock())
        if as_json:
            printing.as_json({"srn": srn, "cleared": gone})
        else:
            said = f"cleared: {overwrites.WHEN_SHOWN}"
            printing.console.print(f"{printing.text(srn)}: {said if gone else 'there was no overwrite'}.")
