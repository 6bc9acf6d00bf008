"""Where else a record may be: under its id in another set, by its DOI, its addresses, or the content behind them.

A takedown is of one record: what these find is named to whoever takes it down, and never taken along. Belongs here:
looking, in bounded time, for it reads what all sets have accepted. Does not belong here: the takedown itself
(`releases/taking_down.py`).
"""

import hashlib
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec
from psycopg import Connection
from psycopg.errors import QueryCanceled

from harvester_dagster import canonical
from harvester_dagster.explain.why import FoundDocument
from harvester_dagster.installation import Installation
from harvester_dagster.sets.generations import live
from harvester_dagster.sources import identifiers

SECONDS = 20
"""Of each statement that reads what all sets have accepted, and of that which reads all fetches."""
MOST_FOUND = 100
MOST_SHARING = 100
"""Addresses with the same content: one that more have, such as a page to log in, says nothing of a record."""


class OtherRecord(NamedTuple):
    """A document that may be the same one, and what both have."""

    srn: str
    both_have: str


class Others(NamedTuple):
    """`is_whole`: false where something could not be compared; `unseen`: what was not, and why, in sentences without
    their full stop."""

    found: tuple[OtherRecord, ...]
    is_whole: bool
    unseen: tuple[str, ...]


class _Own(NamedTuple):
    """What the record has, in whatever revision that is kept."""

    dois: frozenset[str]
    urls: frozenset[str]


class _Shared(NamedTuple):
    """The other addresses behind which the same content is; `is_cut`: some content is behind too many."""

    urls: frozenset[str]
    is_cut: bool


_OF_THAT_ID = """
SELECT s.key || ':' || d.external_id FROM harvest_set s JOIN document d ON d.set_id = s.set_id
  AND d.entity = %(entity)s AND d.external_id = %(id)s WHERE s.set_id <> %(set)s ORDER BY 1
"""
_BODIES = """
SELECT b.body FROM document d JOIN body b USING (doc_id) WHERE %(doc)s IN (d.doc_id, d.owner_id)
"""
_BEHIND_THEM = f"""
SELECT f.digest, o.url FROM (
    SELECT DISTINCT digest FROM harvester.fetch
    WHERE md5(url) = ANY (%(md5)s) AND url = ANY (%(urls)s) AND ok AND digest IS NOT NULL) f
CROSS JOIN LATERAL (
    SELECT DISTINCT url FROM (
        SELECT url FROM harvester.fetch o WHERE o.digest = f.digest AND o.url <> ALL (%(urls)s)
        LIMIT {10 * MOST_SHARING}) first
    LIMIT {MOST_SHARING + 1}) o
"""
_HAS_TEXT = "EXISTS (SELECT FROM unnest(%(texts)s::text[]) t (text) WHERE strpos(b.body, t.text) > 0)"
_HAVING = f"""
SELECT s.key || ':' || d.external_id, w.doi, {_HAS_TEXT}
FROM output o JOIN harvest_set s USING (set_id) JOIN document d ON d.doc_id = o.doc_id
JOIN output_body b ON b.doc_id = o.doc_id AND b.from_gen = o.from_gen
CROSS JOIN LATERAL (
    SELECT CASE WHEN strpos(b.body, '"doi":"') > 0
        THEN lower(split_part(substr(b.body, strpos(b.body, '"doi":"') + 7, 400), '"', 1)) ELSE '' END AS doi
    OFFSET 0) w
WHERE o.entity = %(entity)s AND o.published AND o.doc_id <> %(doc)s AND {live("o", "s.accepted_gen")}
  AND (w.doi <> '' AND EXISTS (SELECT FROM unnest(%(begins)s::text[], %(parts)s::text[]) p (begins, part)
                               WHERE strpos(w.doi, p.begins) > 0 AND strpos(w.doi, p.part) > 0)
    OR {_HAS_TEXT})
ORDER BY 1
"""
_DOI_BEGINS = re.compile(r"10\.\d{4,9}(?:/|%2f)", re.IGNORECASE)
_NEVER_ENCODED = re.compile(r"[a-z\d]+")
_SCHEMES = ("https://", "http://")


def others(installation: Installation, found: FoundDocument, seconds: float = SECONDS) -> Others:
    """What may be the same record as this one. To be asked before a purge: nothing is left to compare then. What is
    behind its addresses comes last, and takes nothing along of what was found before when there is no time for it."""
    with installation.pool.connection() as connection:
        of_that_id = connection.execute(
            _OF_THAT_ID, {"entity": found.entity, "id": found.external_id, "set": found.set_id}
        ).fetchall()
        own = _own(connection, found.doc_id)
    named = [OtherRecord(srn, "the same id at its source") for (srn,) in of_that_id]
    if own is None:
        return Others(tuple(named), is_whole=False, unseen=("nothing of it is kept that could be compared",))
    unseen, shared = [], _Shared(frozenset(), is_cut=False)
    try:
        with _within(installation, seconds) as connection:
            named += _having(connection, found, own.urls, "the same address", own.dois)
    except QueryCanceled:
        unseen.append("there was no time to look for its DOI and addresses elsewhere")
    try:
        with _within(installation, seconds) as connection:
            shared = _behind(connection, own.urls)
            named += _having(connection, found, shared.urls, "the same content behind an address")
    except QueryCanceled:
        unseen.append("there was no time to look for the same content elsewhere")
    is_whole = not unseen
    if shared.is_cut:
        unseen.append(f"a content that is behind more than {MOST_SHARING} other addresses was not compared")
    each = {one.srn: one for one in reversed(named)}
    return Others(tuple(each.values())[::-1], is_whole, tuple(unseen))


@contextmanager
def _within(installation: Installation, seconds: float) -> Iterator[Connection[Any]]:
    """A connection none of whose statements takes longer. Raises QueryCanceled."""
    with installation.pool.connection() as connection:
        connection.execute(f"SET LOCAL statement_timeout = {int(seconds * 1000)}")
        yield connection


def _own(connection: Connection[Any], doc_id: int) -> _Own | None:
    """None where nothing of it is kept."""
    read = [msgspec.json.decode(body)["properties"] for (body,) in connection.execute(_BODIES, {"doc": doc_id})]
    dois = {_doi(one["doi"]) for one in read if isinstance(one.get("doi"), str)}
    urls = {one["url"] for one in read if isinstance(one.get("url"), str)}
    return _Own(frozenset(dois - {""}), frozenset(urls - {""})) if read else None


def _behind(connection: Connection[Any], urls: Collection[str]) -> _Shared:
    asked = {"urls": list(urls), "md5": [_md5(url) for url in urls]}
    of_digest: dict[bytes, set[str]] = {}
    for digest, url in connection.execute(_BEHIND_THEM, asked):
        of_digest.setdefault(digest, set()).add(url)
    few = [shared for shared in of_digest.values() if len(shared) <= MOST_SHARING]
    return _Shared(frozenset[str]().union(*few), is_cut=len(few) < len(of_digest))


def _having(
    connection: Connection[Any],
    found: FoundDocument,
    urls: Collection[str],
    both_have: str,
    dois: Collection[str] = (),
) -> list[OtherRecord]:
    """Documents that have one of these addresses, or of these DOIs, however they are written there."""
    if not urls and not dois:
        return []
    begins, parts = zip(*map(_certain, dois), strict=True) if dois else ((), ())
    asked: dict[str, Any] = {"entity": found.entity, "doc": found.doc_id}
    asked |= {"texts": [_text(form) for url in urls for form in _forms_of_url(url)]}
    asked |= {"begins": list(begins), "parts": list(parts)}
    with connection.cursor("having") as cursor:
        rows = ((srn, _doi(written) in dois, has_text) for srn, written, has_text in cursor.execute(_HAVING, asked))
        same = (OtherRecord(srn, "the same DOI" if is_it else both_have) for srn, is_it, has in rows if is_it or has)
        return list(islice(same, MOST_FOUND))


def _doi(written: str) -> str:
    """What all ways to write a DOI come to: in small letters, for capitals say nothing in it, without what an address
    has encoded or behind it. What is none as it is."""
    begins = _DOI_BEGINS.search(written)
    if begins and ("://" in written or "doi.org" in written.lower()):
        written = written[: begins.end()] + re.split("[?#]", written[begins.end() :], maxsplit=1)[0]
    return (identifiers.doi(unquote(written)) or written.strip()).lower()


def _certain(doi: str) -> tuple[str, str]:
    """Two parts of a DOI that stand in it however it is written, by which the store finds where it may be."""
    begins, _, rest = doi.partition("/") if _DOI_BEGINS.match(doi) else ("", "", doi)
    return begins, max(_NEVER_ENCODED.findall(rest), key=len, default="")


def _forms_of_url(url: str) -> set[str]:
    """With and without encryption, and a slash at its end."""
    bare = url.rstrip("/")
    rest = next((bare.removeprefix(scheme) for scheme in _SCHEMES if bare.startswith(scheme)), None)
    if rest is None:
        return {url}
    return {f"{scheme}{rest}{end}" for scheme in _SCHEMES for end in ("", "/")}


def _md5(url: str) -> str:
    """As the index of fetches has it."""
    return hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()


def _text(url: str) -> str:
    """As the JSON of an output has an address."""
    return f'"url":{canonical.encode(url).decode()}'
