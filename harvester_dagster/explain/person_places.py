"""Where a person's name, e-mail address or identifier stands: in what is shown, in what is kept of a document.

Belongs here: looking, whatever the field, and who of a document's authors is meant. It reads all that is kept of
documents, so it takes as long as that is large. Does not belong here: overwriting (`publication/overwrites.py`), taking
down (`releases/taking_down.py`).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.config import Output
from harvester_dagster.documents.output import published_author
from harvester_dagster.failures import HarvesterError
from harvester_dagster.sets.generations import live

SHORTEST = 4
"""Characters: what is shorter stands everywhere."""


class NoPerson(HarvesterError):
    """What was given is too short to be looked for."""


class Standing(NamedTuple):
    """A document in which it stands, and where: shown (in the current version), kept (of whatever generation),
    overwritten (by a person, now or once), pushed (it may wait still: then `doc_id` may be None)."""

    srn: str
    doc_id: int | None
    places: Sequence[str]


class Authors(NamedTuple):
    """The overwrite of a product, and those of its authors who are not meant, as everybody may see them: what an
    overwrite holds is kept for good, and shown to whoever may overwrite."""

    overwrite: Mapping[str, Any]
    others: Sequence[Any]


_PLACES = f"""
WITH found AS (
    SELECT o.doc_id, 'shown' AS place FROM current_version JOIN dataset_version_set v USING (version_id)
    JOIN output o ON o.set_id = v.set_id AND o.published AND {live("o", "v.gen")}
    JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen WHERE strpos(lower(b.body), %(text)s) > 0
    UNION SELECT doc_id, 'kept' FROM body WHERE strpos(lower(body), %(text)s) > 0
    UNION SELECT doc_id, 'kept' FROM output_body WHERE strpos(lower(body), %(text)s) > 0
    UNION SELECT doc_id, 'overwritten' FROM overwrite_log WHERE strpos(lower(fields::jsonb::text), %(text)s) > 0)
SELECT s.key || ':' || d.external_id, d.doc_id, array_agg(f.place)
FROM found f JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = d.set_id GROUP BY 1, 2 ORDER BY 1
"""
_PUSHES = "SELECT s.key || ':' || p.external_id, p.page FROM push p JOIN harvest_set s USING (set_id) ORDER BY 1"


def places(connection: Connection[Any], text: str) -> list[Standing]:
    """Every document in which a text stands, in whatever case. Raises NoPerson."""
    text = text.strip()
    if len(text) < SHORTEST or not text.isprintable():
        raise NoPerson(f"{text!r:.100} is too short to be looked for", f"at least {SHORTEST} characters")
    encoded = canonical.encode(text)[1:-1].decode().lower()
    rows = connection.execute(_PLACES, {"text": encoded})
    found = {srn: Standing(srn, doc_id, sorted(places)) for srn, doc_id, places in rows}
    with connection.cursor("pushes") as cursor:  # at the server: they may be hundreds of megabytes
        for srn, page in cursor.execute(_PUSHES):
            if encoded in _plain(page).lower():
                known = found.get(srn, Standing(srn, None, ()))
                found[srn] = known._replace(places=sorted({*known.places, "pushed"}))
    return [found[srn] for srn in sorted(found)]


def _plain(page: bytes) -> str:
    """A page of JSON with its letters as they are; any other as it came."""
    try:
        return canonical.encode(msgspec.json.decode(page)).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return page.decode("utf-8", "replace")


_AUTHORS = f"""
SELECT d.doc_id, b.body, o.body FROM document d JOIN harvest_set s USING (set_id)
JOIN revision r ON r.doc_id = d.doc_id AND {live("r", "s.accepted_gen")}
JOIN body b ON b.doc_id = r.doc_id AND b.from_gen = r.from_gen
LEFT JOIN overwrite o ON o.doc_id = d.doc_id WHERE d.doc_id = ANY (%s) ORDER BY 1
"""


def authors(connection: Connection[Any], settings: Output, doc_ids: Sequence[int], text: str) -> dict[int, Authors]:
    """Of these documents those that have an author who is meant: one of whose values is the text, in whatever case."""
    found = {}
    for doc_id, body, overwrite in connection.execute(_AUTHORS, (list(doc_ids),)):
        values = {**msgspec.json.decode(body)["properties"], **(overwrite or {})}
        now = values.get("authors") or []
        others = [one for one in now if not _is_meant(one, text.strip().casefold())]
        if len(others) < len(now):
            shown = [published_author(one, settings) if isinstance(one, Mapping) else one for one in others]
            found[doc_id] = Authors(overwrite or {}, shown)
    return found


def _is_meant(author: Any, text: str) -> bool:
    values = author.values() if isinstance(author, Mapping) else ()
    return any(isinstance(value, str) and value.casefold() == text for value in values)
