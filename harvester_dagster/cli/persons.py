"""`harvester find-person TEXT`: where a person stands, and taking them out of the authors of what is shown."""

from typing import Annotated

import typer

from harvester_dagster.cli import printing
from harvester_dagster.cli.commands import DryRun, Json
from harvester_dagster.cli.session import opened
from harvester_dagster.explain import person_places
from harvester_dagster.installation import Installation
from harvester_dagster.publication import audit, overwrites

Wanted = Annotated[
    str, typer.Argument(metavar="TEXT", help="A name, an e-mail address or an identifier, as it is written.")
]
Mask = Annotated[
    bool, typer.Option("--mask", help="Overwrite the authors of these documents: all but the one who is meant.")
]

ACT = "mask a person"


def find_person(text: Wanted, mask: Mask = False, dry_run: DryRun = False, as_json: Json = False) -> None:
    """List where a person's name, e-mail address or identifier stands, in what is shown and what is kept. --mask takes
    them out of the authors, as an overwrite does; other places are listed still: see docs/takedown.md."""
    with opened() as installation:
        found = person_places.places(installation, text, printing.progress)
        with installation.pool.connection() as connection:
            doc_ids, settings = [one.doc_id for one in found if one.doc_id], installation.config.output
            masked = person_places.authors(connection, settings, doc_ids, text) if mask else {}
        if mask and not dry_run:
            with audit.trying(installation.pool, ACT, "", installation.clock):
                _mask(installation, masked)
        srns = [one.srn for one in found if one.doc_id in masked]
        untaken = [one.srn for one in found if one.doc_id is None and "pushed" in one.places]
        if as_json:
            rows = [{"srn": one.srn, "places": one.places} for one in found]
            printing.as_json({"found": rows, "masked": srns, "untaken": untaken, "dry_run": dry_run})
            return
        printing.table(
            ["document", "where", ""],
            [(one.srn, ", ".join(one.places), "an author" if one.doc_id in masked else "") for one in found],
        )
        if mask:
            said = "would be masked" if dry_run else f"masked, {overwrites.WHEN_SHOWN}"
            printing.console.print(f"Authors of {len(srns)} documents {said}.")
            if untaken:
                printing.console.print(f"Pushed, and not taken yet: {len(untaken)} records; mask again when they are.")


def _mask(installation: Installation, masked: dict[int, person_places.Authors]) -> None:
    """All or none."""
    with installation.pool.connection() as connection:
        now = installation.clock()
        for doc_id, one in masked.items():
            overwrites.put(connection, doc_id, {**one.overwrite, "authors": one.others}, now)
        audit.write(connection, ACT, "", now, documents=len(masked))
