"""Where a person's name, e-mail address or identifier stands: in what is shown, in what is kept of a document.

Texts are compared in one Unicode form, whatever the case. All that is kept is read, a row or a page at a time, so it
takes as long as that is large. Belongs here: looking, whatever the field, and who of a document's authors is meant.
Does not belong here: overwriting (`publication/overwrites.py`), taking down (`releases/taking_down.py`).
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from unicodedata import normalize
from urllib.parse import unquote

import msgspec
from psycopg import Connection

from harvester_dagster import canonical
from harvester_dagster.config import Output, set_spec
from harvester_dagster.documents.output import published_author
from harvester_dagster.failures import HarvesterError
from harvester_dagster.installation import Installation
from harvester_dagster.sets import fetch
from harvester_dagster.sets.generations import live
from harvester_dagster.sources.kind import Request
from harvester_dagster.sources.source_error import SourceError

SHORTEST = 4
"""Characters: what is shorter stands everywhere."""
MOST_FOUND = 10_000
"""Documents: so many are no person's."""
TOLD_EVERY = 20_000
_ORCID = re.compile(r"(?:https?://)?(?:www\.)?orcid\.org/(\d{4}-\d{4}-\d{4}-\d{3}[\dx])/?")
Progress = Callable[[str], None]


class NoPerson(HarvesterError):
    """What was given is too short to be looked for, or stands everywhere."""


class Standing(NamedTuple):
    """A document in which it stands, and where: shown (in the current version), kept (of whatever generation),
    overwritten (by a person, now or once), pushed (it may wait still: then `doc_id` may be None), a result of a task, a
    problem, a page of its source as it was stored (of a record that is unknown: the set's key), a report of a task's
    last run, why the index did not take it, why it was taken down, why its source did not give it (asked). Of a harvest
    `srn` is the set's key, of the audit what an act was about, of an alert its cause, of a call for a file its
    address."""

    srn: str
    doc_id: int | None
    places: Sequence[str]


class Authors(NamedTuple):
    """The overwrite of a product, and those of its authors who are not meant, as everybody may see them: what an
    overwrite holds is kept for good, and shown to whoever may overwrite."""

    overwrite: Mapping[str, Any]
    others: Sequence[Any]


class _Found(NamedTuple):
    srn: str
    doc_id: int | None
    place: str


def _folded(text: str) -> str:
    """One form of all texts that read alike."""
    return text.lower() if text.isascii() else normalize("NFC", normalize("NFC", text).casefold())


def _bare(text: str) -> str:
    """An ORCID without its address; any other text as it is."""
    found = _ORCID.fullmatch(folded := _folded(text.strip()))
    return found[1] if found else folded


class _Sought:
    """A text that is looked for: as it is written, and as JSON has it."""

    def __init__(self, text: str) -> None:
        bare = _bare(text)
        self._forms = {bare, canonical.encode(bare)[1:-1].decode()}

    def stands_in(self, text: str) -> bool:
        folded = _folded(text)
        return any(form in folded for form in self._forms)

    def stands_in_page(self, page: bytes) -> bool:
        return self.stands_in(_plain(page))


def _plain(page: bytes) -> str:
    """A page with its letters as they are, whatever JSON or XML wrote in their place."""
    text = page.decode("utf-8", "replace")
    if page.lstrip()[:1] in (b"{", b"["):
        return _unescaped(text)
    return html.unescape(text) if "&" in text else text


def _unescaped(text: str) -> str:
    if "\\u" not in text and "\\/" not in text:
        return text
    try:
        return canonical.encode(msgspec.json.decode(text)).decode()
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text


_SRN = "s.key || ':' || d.external_id"
_ROWS: Mapping[str, str] = {
    "outputs": f"""
SELECT {_SRN}, d.doc_id, CASE WHEN o.published AND {live("o", "v.gen")} THEN 'shown' ELSE 'kept' END, b.body
FROM output_body b JOIN output o USING (doc_id, from_gen) JOIN document d USING (doc_id)
JOIN harvest_set s ON s.set_id = d.set_id
LEFT JOIN (current_version JOIN dataset_version_set USING (version_id)) v ON v.set_id = d.set_id""",
    "revisions": f"""
SELECT {_SRN}, d.doc_id, 'kept', b.body FROM body b JOIN document d USING (doc_id) JOIN harvest_set s USING (set_id)""",
    "overwrites": f"""
SELECT {_SRN}, d.doc_id, 'overwritten', o.fields::text
FROM overwrite_log o JOIN document d USING (doc_id) JOIN harvest_set s USING (set_id) WHERE o.fields IS NOT NULL""",
    "pushes": """
SELECT s.key || ':' || p.external_id, d.doc_id, 'pushed', p.page FROM push p JOIN harvest_set s USING (set_id)
LEFT JOIN document d ON d.set_id = p.set_id AND d.external_id = p.external_id AND d.owner_id IS NULL""",
    "problems": """
SELECT s.key || ':' || coalesce(p.external_id, ''), NULL::bigint, 'problem', p.reason
FROM problem p JOIN attempt a USING (attempt_id) JOIN harvest_set s USING (set_id)""",
    "acts": "SELECT subject, NULL::bigint, 'audit', detail::text FROM audit",
    "takedowns": f"""
SELECT {_SRN}, d.doc_id, 'takedown', t.reason
FROM takedown t JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = t.set_id""",
    "asked_anew": f"""
SELECT {_SRN}, d.doc_id, 'asked', a.reason
FROM asked_anew a JOIN document d USING (doc_id) JOIN harvest_set s ON s.set_id = a.set_id""",
    "rejected_by_index": f"""
SELECT {_SRN}, d.doc_id, 'index', r.reason
FROM search_rejected r JOIN document d USING (doc_id) JOIN harvest_set s USING (set_id)""",
    "reports": """
SELECT e ->> 0, NULL::bigint, 'report', coalesce(e ->> 2, '') FROM task_report
CROSS JOIN LATERAL json_array_elements(CASE WHEN json_typeof(examples) = 'array' THEN examples ELSE '[]' END) e""",
    "attempts": """
SELECT s.key, NULL::bigint, 'harvest', a.why || ' ' || a.reason FROM attempt a JOIN harvest_set s USING (set_id)""",
    "reconciliations": """
SELECT s.key, NULL::bigint, 'harvest', a.report::text FROM attempt a JOIN harvest_set s USING (set_id)
WHERE a.report IS NOT NULL""",
    "alerts": """
SELECT cause, NULL::bigint, 'alert', concat_ws(' ', cause, body ->> 'message', body ->> 'mend') FROM alert""",
}
"""What is read: srn, document, place, text."""
_CALLS = "SELECT url, reason FROM harvester.fetch"
_RESULTS = "SELECT task, fingerprint, coalesce(data::text, '') || ' ' || reason FROM result"
_USERS = f"""
SELECT DISTINCT {_SRN}, d.doc_id FROM task_use u JOIN document d USING (doc_id)
JOIN harvest_set s ON s.set_id = d.set_id WHERE u.task = %s AND u.fingerprint = %s
"""
_BUNDLES = """
SELECT s.key, p.object_key FROM page_bundle p JOIN attempt a USING (attempt_id) JOIN harvest_set s USING (set_id)
WHERE p.holds = 'records' ORDER BY 1, 2
"""


def places(installation: Installation, text: str, progress: Progress = lambda _: None) -> list[Standing]:
    """Every document in which a text stands. Raises NoPerson."""
    text = text.strip()
    if len(text) < SHORTEST or not text.isprintable():
        raise NoPerson(f"{text!r:.100} is too short to be looked for", f"at least {SHORTEST} characters")
    sought, found = _Sought(text), dict[str, Standing]()
    with installation.pool.connection() as connection:
        for one in _all(installation, connection, sought, progress):
            known = found.setdefault(one.srn, Standing(one.srn, None, ()))
            doc_id = known.doc_id if one.doc_id is None else one.doc_id
            found[one.srn] = Standing(one.srn, doc_id, sorted({*known.places, one.place}))
            if len(found) > MOST_FOUND:
                raise NoPerson(f"{text!r:.100} stands in more than {MOST_FOUND:,} documents", "write more of it")
    return [found[srn] for srn in sorted(found)]


def _all(
    installation: Installation, connection: Connection[Any], sought: _Sought, progress: Progress
) -> Iterator[_Found]:
    for name, query in _ROWS.items():
        for srn, doc_id, place, text in _streamed(connection, name, query, progress):
            if sought.stands_in_page(text) if isinstance(text, bytes) else sought.stands_in(_unescaped(text)):
                yield _Found(srn, doc_id, place)
    for url, reason in _streamed(connection, "calls", _CALLS, progress):
        if any(sought.stands_in(text) for text in (url, unquote(url), reason)):
            yield _Found(url, None, "call")
    for task, fingerprint, text in _streamed(connection, "results", _RESULTS, progress):
        if sought.stands_in(_unescaped(text)):
            for srn, doc_id in connection.execute(_USERS, (task, fingerprint)).fetchall():
                yield _Found(srn, doc_id, "result")
    bundles = connection.execute(_BUNDLES).fetchall()
    for number, (key, name) in enumerate(bundles, start=1):
        if installation.objects.exists(name):  # else a harvest was killed between its row and its object
            for page in fetch.bundled(installation, name):
                if sought.stands_in_page(page):
                    yield from (_Found(srn, None, "page") for srn in _records(installation, key, page, sought))
        if number % 100 == 0 or number == len(bundles):
            progress(f"stored pages: {number:,} of {len(bundles):,} objects looked at")


def _streamed(connection: Connection[Any], name: str, query: str, progress: Progress) -> Iterator[Any]:
    """Rows of a query, which stay at the server until they are looked at."""
    with connection.cursor(name) as cursor:
        for number, row in enumerate(cursor.execute(query), start=1):
            yield row
            if number % TOLD_EVERY == 0:
                progress(f"{name}: {number:,} looked at")


def _records(installation: Installation, key: str, page: bytes, sought: _Sought) -> Iterator[str]:
    """The SRNs of the records of a page in which it stands; where they cannot be told, the set's key."""
    config = installation.config
    try:
        settings = config.sets[key]
        kind, request = installation.catalog.kinds[settings.kind], Request(settings, set_spec(key, config), None)
        records = list(zip(kind.cut(page), kind.ids(page, request), strict=True))
    except (KeyError, SourceError, ValueError):
        yield key
        return
    names = [f"{key}:{name}" if name else key for raw, name in records if sought.stands_in_page(raw)]
    yield from names or [key]


_AUTHORS = f"""
SELECT d.doc_id, b.body, o.body FROM document d JOIN harvest_set s USING (set_id)
JOIN revision r ON r.doc_id = d.doc_id AND {live("r", "s.accepted_gen")}
JOIN body b ON b.doc_id = r.doc_id AND b.from_gen = r.from_gen
LEFT JOIN overwrite o ON o.doc_id = d.doc_id WHERE d.doc_id = ANY (%s) ORDER BY 1
"""


def authors(connection: Connection[Any], settings: Output, doc_ids: Sequence[int], text: str) -> dict[int, Authors]:
    """Of these documents those that have an author who is meant: one of whose values is the text."""
    found = {}
    for doc_id, body, overwrite in connection.execute(_AUTHORS, (list(doc_ids),)):
        values = {**msgspec.json.decode(body)["properties"], **(overwrite or {})}
        now = values.get("authors") or []
        others = [one for one in now if not _is_meant(one, _bare(text))]
        if len(others) < len(now):
            shown = [published_author(one, settings) if isinstance(one, Mapping) else one for one in others]
            found[doc_id] = Authors(overwrite or {}, shown)
    return found


def _is_meant(author: Any, text: str) -> bool:
    values = author.values() if isinstance(author, Mapping) else ()
    return any(isinstance(value, str) and _bare(value) == text for value in values)
