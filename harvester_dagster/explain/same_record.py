"""Where else a record may be: under its id in another set, by its DOI, its addresses, or the content behind them.

A takedown is of one record: what these find is named to whoever takes it down, and never taken along. Belongs here:
looking, in bounded time, for it reads what all sets have accepted. Does not belong here: the takedown itself
(`releases/taking_down.py`).
"""

import hashlib
from typing import Any, NamedTuple

import msgspec
from psycopg import Connection
from psycopg.errors import QueryCanceled

from harvester_dagster import canonical
from harvester_dagster.explain.why import FoundDocument
from harvester_dagster.installation import Installation
from harvester_dagster.sets.generations import live

SECONDS = 20


class OtherRecord(NamedTuple):
    """A document that may be the same one, and what both have."""

    srn: str
    both_have: str


class Others(NamedTuple):
    """`is_whole`: false where there was no time to look for DOIs and addresses."""

    found: tuple[OtherRecord, ...]
    is_whole: bool


_OF_THAT_ID = """
SELECT s.key || ':' || d.external_id FROM harvest_set s JOIN document d ON d.set_id = s.set_id
  AND d.entity = %(entity)s AND d.external_id = %(id)s WHERE s.set_id <> %(set)s ORDER BY 1
"""
_BODIES = """
SELECT b.body FROM document d JOIN body b USING (doc_id) WHERE %(doc)s IN (d.doc_id, d.owner_id)
"""
_BEHIND_THEM = """
SELECT DISTINCT o.url FROM harvester.fetch f JOIN harvester.fetch o USING (digest)
WHERE md5(f.url) = ANY (%(md5)s) AND f.url = ANY (%(urls)s) AND f.ok AND o.url <> ALL (%(urls)s)
"""
_HAVING = f"""
SELECT s.key || ':' || d.external_id, (
    SELECT min(w.what) FROM unnest(%(texts)s::text[], %(whats)s::text[]) w (text, what)
    WHERE strpos(b.body, w.text) > 0)
FROM output o JOIN harvest_set s USING (set_id) JOIN document d ON d.doc_id = o.doc_id
JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
WHERE o.entity = %(entity)s AND o.published AND o.doc_id <> %(doc)s AND {live("o", "s.accepted_gen")}
  AND EXISTS (SELECT FROM unnest(%(texts)s::text[]) t (text) WHERE strpos(b.body, t.text) > 0)
ORDER BY 1 LIMIT 100
"""


def others(installation: Installation, found: FoundDocument) -> Others:
    """What may be the same record as this one. To be asked before a purge: nothing is left to compare then."""
    with installation.pool.connection() as connection:
        of_that_id = connection.execute(
            _OF_THAT_ID, {"entity": found.entity, "id": found.external_id, "set": found.set_id}
        ).fetchall()
        texts = _texts(connection, found.doc_id)
    named = [OtherRecord(srn, "the same id at its source") for (srn,) in of_that_id]
    try:
        with installation.pool.connection() as connection:
            connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
            asked = {"texts": list(texts), "whats": list(texts.values()), "entity": found.entity, "doc": found.doc_id}
            named += [OtherRecord(*row) for row in connection.execute(_HAVING, asked)] if texts else []
    except QueryCanceled:
        return Others(tuple(named), is_whole=False)
    return Others(tuple({one.srn: one for one in reversed(named)}.values())[::-1], is_whole=True)


def _texts(connection: Connection[Any], doc_id: int) -> dict[str, str]:
    """What the JSON of an output has where it is this record: the text, and what it says."""
    read = [msgspec.json.decode(body)["properties"] for (body,) in connection.execute(_BODIES, {"doc": doc_id})]
    urls = {one["url"] for one in read if isinstance(one.get("url"), str) and one["url"]}
    of_them = {"urls": list(urls), "md5": [_md5(url) for url in urls]}
    behind = [url for (url,) in connection.execute(_BEHIND_THEM, of_them)]
    texts = {_field("url", url): "the same content behind an address" for url in behind}
    texts |= {_field("url", url): "the same address" for url in urls}
    return texts | {_field("doi", one["doi"]): "the same DOI" for one in read if one.get("doi")}


def _md5(url: str) -> str:
    """As the index of fetches has it."""
    return hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()


def _field(name: str, value: Any) -> str:
    return canonical.encode({name: value})[1:-1].decode()
