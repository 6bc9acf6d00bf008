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
from harvester_dagster.sources import identifiers

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
_DOI = """CASE WHEN strpos(b.body, '"doi":"') > 0
    THEN lower(split_part(substr(b.body, strpos(b.body, '"doi":"') + 7, 400), '"', 1)) END"""
_HAVING = f"""
SELECT s.key || ':' || d.external_id, CASE WHEN {_DOI} = ANY (%(dois)s) THEN 'the same DOI' ELSE (
    SELECT min(w.what) FROM unnest(%(texts)s::text[], %(whats)s::text[]) w (text, what)
    WHERE strpos(b.body, w.text) > 0) END
FROM output o JOIN harvest_set s USING (set_id) JOIN document d ON d.doc_id = o.doc_id
JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
WHERE o.entity = %(entity)s AND o.published AND o.doc_id <> %(doc)s AND {live("o", "s.accepted_gen")}
  AND ({_DOI} = ANY (%(dois)s)
    OR EXISTS (SELECT FROM unnest(%(texts)s::text[]) t (text) WHERE strpos(b.body, t.text) > 0))
ORDER BY 1 LIMIT 100
"""
_OF_DOI = ("", "doi:", "doi: ", "info:doi/", "urn:doi:", "doi.org/", "dx.doi.org/", "www.doi.org/")
_SCHEMES = ("https://", "http://")


def others(installation: Installation, found: FoundDocument) -> Others:
    """What may be the same record as this one. To be asked before a purge: nothing is left to compare then."""
    with installation.pool.connection() as connection:
        of_that_id = connection.execute(
            _OF_THAT_ID, {"entity": found.entity, "id": found.external_id, "set": found.set_id}
        ).fetchall()
        texts, dois = _texts(connection, found.doc_id)
    named = [OtherRecord(srn, "the same id at its source") for (srn,) in of_that_id]
    try:
        with installation.pool.connection() as connection:
            connection.execute(f"SET LOCAL statement_timeout = '{SECONDS}s'")
            asked = {"entity": found.entity, "doc": found.doc_id, "dois": dois}
            asked |= {"texts": list(texts), "whats": list(texts.values())}
            named += [OtherRecord(*row) for row in connection.execute(_HAVING, asked)] if texts or dois else []
    except QueryCanceled:
        return Others(tuple(named), is_whole=False)
    return Others(tuple({one.srn: one for one in reversed(named)}.values())[::-1], is_whole=True)


def _texts(connection: Connection[Any], doc_id: int) -> tuple[dict[str, str], list[str]]:
    """What the JSON of an output has where it is this record: the text, and what it says; and how its DOI may be
    written there, in small letters."""
    read = [msgspec.json.decode(body)["properties"] for (body,) in connection.execute(_BODIES, {"doc": doc_id})]
    urls = {one["url"] for one in read if isinstance(one.get("url"), str) and one["url"]}
    of_them = {"urls": list(urls), "md5": [_md5(url) for url in urls]}
    behind = {url for (url,) in connection.execute(_BEHIND_THEM, of_them)}
    texts = {_url(form): "the same content behind an address" for url in behind for form in _forms_of_url(url)}
    texts |= {_url(form): "the same address" for url in urls for form in _forms_of_url(url)}
    dois = {form for one in read if isinstance(one.get("doi"), str) for form in _forms_of_doi(one["doi"])}
    return texts, [_quoted(form)[1:-1] for form in sorted(dois)]


def _forms_of_url(url: str) -> set[str]:
    """With and without encryption, and a slash at its end."""
    bare = url.rstrip("/")
    rest = next((bare.removeprefix(scheme) for scheme in _SCHEMES if bare.startswith(scheme)), None)
    if rest is None:
        return {url}
    return {f"{scheme}{rest}{end}" for scheme in _SCHEMES for end in ("", "/")}


def _forms_of_doi(written: str) -> set[str]:
    """Bare, and as people and sources write it; capitals say nothing in a DOI."""
    bare = (identifiers.doi(written) or written).lower()
    return {f"{scheme}{before}{bare}" for before in _OF_DOI for scheme in ("", *_SCHEMES)}


def _md5(url: str) -> str:
    """As the index of fetches has it."""
    return hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()


def _url(url: str) -> str:
    return f'"url":{_quoted(url)}'


def _quoted(text: str) -> str:
    return canonical.encode(text).decode()
