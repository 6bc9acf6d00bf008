"""The walk along an OAI-PMH 2.0 list: tokens, errors, granularity; who a repository is and what it offers.

Belongs here: what is asked and when it ends. Does not belong here: the bytes of an answer (`oai_page.py`), what a
metadata format means (`lom.py`, `oai_dc.py`), retries of failed calls and politeness (`outside/`).
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from harvester_dagster.config import SetSettings, Source
from harvester_dagster.failures import OutsideError
from harvester_dagster.outside.http import Answer, Cookies, shown
from harvester_dagster.sources import whole_pages, xml
from harvester_dagster.sources.kind import IdentifierLists, Kind, Request, Single, UnknownRecord
from harvester_dagster.sources.oai_page import (
    OAI,
    Format,
    ListPage,
    answer,
    cut,
    error_texts,
    extract,
    gone,
    identity_of,
    ids,
    listed_identifiers,
    read_identifiers,
    read_page,
    read_record,
    sets_of,
    without,
)
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole, Walk

if TYPE_CHECKING:
    from harvester_dagster.outside.http import Outside
    from harvester_dagster.sources.xml import Element

RESTARTS = 3
"""So often a list is begun anew after its token was refused, before the source is given up for now."""
_END = "the end"
_MUST_MEND = "the next harvest asks the same again; the source must mend its paging"
SHOWN = 50
"""So many sets are named by `check`."""
_MEND = "open url?verb=Identify in a browser; an empty answer often means that this machine's address is blocked"
_MENDS = {
    "cannotDisseminateFormat": "it does not have this metadata_prefix; `harvester source check URL` lists what it has",
    "noSetHierarchy": 'it has no sets: write sets = ["*"]',
    "badArgument": "look at sets and metadata_prefix; `harvester source check URL` lists what it has",
    "badVerb": "look at url: it must be the base URL of OAI-PMH, without a query",
}


def kind(*formats: Format) -> Kind:
    """OAI-PMH with these metadata formats, one of which a source's `format` chooses, else its `metadata_prefix`."""
    known = {format_.prefix: format_ for format_ in formats}

    def chosen(settings: SetSettings) -> Format:
        wanted = settings.format or settings.metadata_prefix
        if found := known.get(wanted):
            return found
        raise SourceError(
            f"{shown(settings.url)}: nobody has written a mapping for the format {wanted!r}",
            f"write format = one of {', '.join(known)}",
        )

    def listed(request: Request, outside: "Outside", walk: Walk | None = None) -> Iterator[bytes]:
        chosen(request.settings)  # what nobody can read is not asked for
        return pages(request, outside, request.settings.metadata_prefix, walk)

    def identified(request: Request, outside: "Outside", walk: Walk | None = None) -> Iterator[bytes]:
        return pages(request, outside, request.settings.metadata_prefix, walk, IDENTIFIERS)

    def version(request: Request) -> str:
        found = known.get(request.settings.format or request.settings.metadata_prefix)
        deleted = "+empty=deleted" if request.settings.empty_metadata == "deleted" else ""
        return found.version(request) + deleted if found else "none"

    return Kind(
        name="oai-pmh",
        entity="products",
        pages=listed,
        cut=cut,
        extract=lambda page, indices, request: extract(page, indices, request, chosen(request.settings)),
        ids=lambda page, request: ids(page, request, chosen(request.settings)),
        without=without,
        mapping_version=version,
        check=lambda settings, outside: check(settings, outside, tuple(known)),
        formats=tuple(known),
        identity=lambda settings, outside: "{repositoryName} ({adminEmail})".format_map(identity(settings, outside)),
        single=single,
        identifiers=IdentifierLists(identified, listed_identifiers, gone),
        sets=offered_sets,
    )


class _Verb(NamedTuple):
    """A list of the protocol: how a page of it is read, and one of its lines known again."""

    name: str
    read: Callable[[bytes], ListPage]
    identity: Callable[[bytes], int]


RECORDS = _Verb("ListRecords", read_page, identity_of)
IDENTIFIERS = _Verb("ListIdentifiers", read_identifiers, hash)


def single(request: Request, external_id: str, outside: "Outside") -> Single:
    """One record, by GetRecord. Raises UnknownRecord, SourceError."""
    settings = request.settings
    params = {"verb": "GetRecord", "identifier": external_id, "metadataPrefix": settings.metadata_prefix}
    asking = whole_pages.Asking(posts=True)
    said, page = whole_pages.whole(
        outside, settings.url, params, read_record, _MEND, asking, lambda page: bool(page.errors)
    )
    if page.errors.keys() & {"idDoesNotExist", "noRecordsMatch"}:
        raise UnknownRecord(f"{shown(settings.url)}: has no record {external_id!r:.200} ({_said(page.errors)})")
    if page.errors:
        raise SourceError(f"{shown(settings.url)}: GetRecord: {_said(page.errors)}", _mend(page.errors))
    return Single(said.body, sets_of(page.records[0]))


def pages(
    request: Request, outside: "Outside", prefix: str, walk: Walk | None = None, verb: _Verb = RECORDS
) -> Iterator[bytes]:
    """The raw pages of a list to its end. A refused token begins the list anew, a bounded number of times. Raises
    SourceError; NotWhole where the list ended and is not all there."""
    walk = walk or Walk(request.settings)
    listing, refused = _Listing(request, outside, prefix, walk, verb), ""
    for _ in range(1 + RESTARTS):
        refused = yield from listing.pages()
        if not refused:
            return
        at_last = walk.distinct, walk.announced
        walk.begin_anew(refused)
    url = shown(request.settings.url)
    if refused.startswith("noRecordsMatch") and at_last[1] is not None:
        raise NotWhole(
            f"{url}: its list is not whole: {at_last[0]:,} of {at_last[1]:,} records that it announced came, "
            f"{1 + RESTARTS} times; then it broke off ({refused})",
            'the next harvest asks the same again; if its sizes are mere estimates, write list_size = "estimate"',
            short=True,
        )
    raise SourceError(
        f"{url}: {1 + RESTARTS} times its list broke off ({refused})",
        "its tokens may expire faster than pages can be read: ask for larger pages or longer tokens; "
        "the next harvest begins anew",
    )


class _Listing:
    """One list: what is asked first, and how its server wants to be asked."""

    def __init__(self, request: Request, outside: "Outside", prefix: str, walk: Walk, verb: _Verb) -> None:
        self.request, self.outside, self.prefix, self.walk, self.verb = request, outside, prefix, walk, verb
        self.url = request.settings.url
        self.posts = True
        self.forms: list[str] = []
        """How `from` may still be written: what the server says it wants first."""

    def pages(self) -> Generator[bytes, None, str]:
        """One walk along the tokens. Returns "" at the end of the list, else why a token was refused."""
        walk, loops = self.walk, whole_pages.Loops(shown(self.url))
        if not self._recounted():
            return "what was stored of it cannot be read"
        if walk.goes_on and not walk.is_read and not self._is_as_it_was():
            return "the list that was cut is not as it was"
        if walk.follows is None and walk.newest:
            return self._concluded()
        if walk.follows is not None:
            loops.token(walk.follows)
        params = self._next(walk.follows) if walk.follows is not None else self._first()
        while True:
            try:
                said, page = self._whole(params)
            except SourceError as error:
                if walk.goes_on:
                    return str(error)
                raise
            if page.errors:
                if ended := self._ended(page, params):
                    return self._concluded() if ended == _END else ended
                if changed := self._asked_otherwise(page.errors, params):
                    params = changed
                    continue
                if page.ending.odd or page.errors.keys() != {"noRecordsMatch"}:
                    odd = f" ({page.ending.odd})" if page.ending.odd else ""
                    raise SourceError(f"{shown(self.url)}: {_said(page.errors)}{odd}", _mend(page.errors))
            walk.goes_on = False
            if self._goes_round(partial(loops.content, page.records)):
                return self._concluded("the same pages came again and again")
            brought = self._count(page, len(said.body))
            walk.came_by, walk.follows = params.get("resumptionToken"), page.token
            yield said.body
            if page.ending.odd:
                raise NotWhole(f"{shown(self.url)}: its list is not whole: {page.ending.odd}", _MUST_MEND)
            if page.token is None:
                return self._concluded()
            if walk.is_full and not brought:
                return self._concluded("a page without anything new")
            if self._goes_round(partial(loops.token, page.token)):
                return self._concluded("a page that was there before")
            params = self._next(page.token)

    def _goes_round(self, look: Callable[[], None]) -> bool:
        """Whether a list that is all there goes in circles. Raises Circle for one that is not."""
        try:
            look()
        except whole_pages.Circle:
            if not self.walk.is_about_full:
                raise
            return True
        return False

    def _recounted(self) -> bool:
        """Count the pages that were stored. False: they are none that can be gone on with."""
        try:
            for body in self.walk.stored():
                page = self.verb.read(body)
                self._count(page, len(body))
                if page.ending.odd:
                    return False
        except SourceError:
            return False
        return True

    def _is_as_it_was(self) -> bool:
        """Whether the last stored page is still what its token leads to; then what follows it is known anew. A server
        whose tokens are spent by their use keeps the list as it was: what it gave last may hold."""
        if self.walk.came_by is None:
            return False
        try:
            _, page = self._whole(self._next(self.walk.came_by))
        except SourceError:
            return False
        if page.errors:
            return "badResumptionToken" in page.errors
        self.walk.follows = page.token
        return not page.ending.odd and self.walk.is_as_it_was(map(self.verb.identity, page.records))

    def _count(self, page: ListPage, size: int) -> bool:
        return self.walk.came(size, map(self.verb.identity, page.records), page.ending.size, page.ending.before)

    def _concluded(self, led_to: str = "") -> str:
        """The list ended, if it is whole; where its last token led, if it led anywhere."""
        if led_to:
            self.walk.note(
                f"the token of its last page led to {led_to}, after {self.walk.distinct:,} different records"
            )
        self.walk.conclude()
        return ""

    def _whole(self, params: Mapping[str, str]) -> "tuple[Answer, ListPage]":
        asking = whole_pages.Asking(cookies=self.walk.cookies, posts=self.posts)
        return whole_pages.whole(
            self.outside, self.url, params, self.verb.read, _MEND, asking, lambda page: bool(page.errors)
        )

    def _next(self, token: str) -> dict[str, str]:
        return {"verb": self.verb.name, "resumptionToken": token}

    def _first(self) -> dict[str, str]:
        params = {"verb": self.verb.name, "metadataPrefix": self.prefix}
        if self.request.spec != "*":
            params["set"] = self.request.spec
        if self.request.since is not None:
            self.forms = self.forms or _forms(self.request.since, _granularity(self.url, self.outside, self.walk))
            params["from"] = self.forms[0]
        return params

    def _ended(self, page: ListPage, params: Mapping[str, str]) -> str:
        """Where a token was followed to an error: `_END` at the end of the list, else why the token is not accepted;
        "" for other errors. "No records" in the middle of a list says that its rest is lost."""
        if "resumptionToken" not in params or page.ending.odd:
            return ""
        walk = self.walk
        code = next((code for code in ("badResumptionToken", "noRecordsMatch") if code in page.errors), "")
        if not code:
            return ""
        nothing_more = code == "noRecordsMatch" and (
            walk.is_reached or (not walk.goes_on and (walk.announced is None or walk.settings.list_size == "estimate"))
        )
        if (walk.is_full or nothing_more) and walk.distinct:
            walk.note(f"the token of its last page led to {code}, after {walk.distinct:,} different records")
            return _END
        return f"{code}: {page.errors[code]}".rstrip(": ")

    def _asked_otherwise(self, errors: Mapping[str, str], params: Mapping[str, str]) -> dict[str, str] | None:
        """What is asked instead where a server says one thing in Identify and takes another, and where it does not
        read what is posted."""
        if "badArgument" in errors and "from" in params and len(self.forms) > 1:
            self.walk.note(f"it refuses from={self.forms[0]}, whatever Identify says: asked with {self.forms[1]}")
            del self.forms[0]
            return self._first()
        if "badVerb" in errors and "resumptionToken" in params and self.posts:
            self.posts = False
            return dict(params)
        return None


def _said(errors: Mapping[str, str]) -> str:
    return "; ".join(f"{code}: {text}".rstrip(": ") for code, text in errors.items())[:500]


def _mend(errors: Mapping[str, str]) -> str:
    return next((_MENDS[code] for code in errors if code in _MENDS), "the source must say what it wants")


def _forms(since: datetime, granularity: str) -> list[str]:
    """How `from` may be written, the form that the server asks for first."""
    moment = since.astimezone(UTC)
    forms = [f"{moment:%Y-%m-%d}", f"{moment:%Y-%m-%dT%H:%M:%SZ}"]
    return forms if len(granularity) == len("YYYY-MM-DD") else forms[::-1]


def _granularity(url: str, outside: "Outside", walk: Walk) -> str:
    """What `from` may look like. Days are understood by every server: taken where Identify says nothing usable."""
    why = "says no granularity"
    try:
        asking = whole_pages.Asking(cookies=walk.cookies)
        _, root = whole_pages.whole(outside, url, {"verb": "Identify"}, answer, _MEND, asking, _is_error)
    except SourceError as error:
        why = f"failed ({error.sentence:.200})"
    else:
        if said := xml.text(root.find(f"{OAI}Identify/{OAI}granularity")):
            return said
    walk.note(f"Identify {why}: changes are asked for by the day")
    return "YYYY-MM-DD"


def check(settings: SetSettings, outside: "Outside", mapped: Sequence[str]) -> Iterator[str]:
    """Who a repository is and what it offers, and the lines of configuration that harvest it; `mapped` are the
    prefixes that have a mapping here. Raises SourceError."""
    said = identity(settings, outside)
    yield f"{shown(settings.url)}: {said['repositoryName']} ({said['adminEmail']})"
    yield from _odd_packing(settings, outside)
    yield f"granularity {said.get('granularity')}, earliest record {said.get('earliestDatestamp')}"
    deletes = said.get("deletedRecord") or "no"
    yield f"deleted records: {deletes}"
    prefixes = _offered(_asked(settings, outside, "ListMetadataFormats"), "metadataPrefix")
    usable = [prefix for prefix in mapped if prefix in prefixes]
    yield f"metadata formats: {', '.join(prefixes) or 'none'}; with a mapping here: {', '.join(usable) or 'none'}"
    sets = _offered(_asked(settings, outside, "ListSets"), "setSpec")
    yield f"sets: {', '.join(sets[:SHOWN]) or 'none'}{f' and {len(sets) - SHOWN} more' if len(sets) > SHOWN else ''}"
    if not usable:
        raise SourceError(
            f"{shown(settings.url)}: offers none of the formats that have a mapping: {', '.join(mapped)}",
            "ask it for one of them; if it has one under another name, write that name as metadata_prefix and ours as "
            "format; else write a mapping (docs/sources.md)",
        )
    harvestable = [name for name in sets if _can_be_key(settings, name)][:SHOWN] or ["*"]
    yield ""
    yield f"[sources.{whole_pages.short_name(urlsplit(settings.url).hostname or 'source')}]"
    yield 'kind = "oai-pmh"'
    yield f"url = {whole_pages.quoted(settings.url)}"
    yield f"metadata_prefix = {whole_pages.quoted(usable[0])}"
    yield f"sets = [{', '.join(map(whole_pages.quoted, harvestable))}]"
    yield f"deletes = {whole_pages.quoted(deletes if deletes in ('no', 'transient', 'persistent') else 'no')}"


def _odd_packing(settings: SetSettings, outside: "Outside") -> Iterator[str]:
    try:
        outside.get(settings.url, params={"verb": "Identify"}, max_bytes=whole_pages.MAX_PAGE_BYTES)
    except OutsideError as error:
        if error.code == whole_pages.BAD_ENCODING:
            yield "announces gzip or deflate, and does not pack its answers: it is asked without, twice for each page"


def identity(settings: SetSettings, outside: "Outside") -> Mapping[str, str | None]:
    """What a repository says of itself, by the names of the protocol."""
    found = _asked(settings, outside, "Identify")
    if found is None:
        raise SourceError(f"{shown(settings.url)}: does not say who it is (no Identify)", _MEND)
    said = {xml.name(element): xml.text(element) for element in reversed(found)}
    return {"repositoryName": None, "adminEmail": None} | said


def offered_sets(settings: SetSettings, outside: "Outside") -> list[str]:
    """Every set that the repository names, to the end of its list."""
    loops, cookies = whole_pages.Loops(shown(settings.url)), Cookies()
    params, found = {"verb": "ListSets"}, list[str]()
    while True:
        asking = whole_pages.Asking(cookies=cookies, posts=True)
        root = _answered(settings, outside, params, asking)
        listed = next(root.iterchildren(f"{OAI}ListSets"), None)
        found += _offered(listed, "setSpec")
        token = xml.text(listed.find(f"{OAI}resumptionToken")) if listed is not None else None
        if token is None:
            return found
        loops.token(token)
        params = {"verb": "ListSets", "resumptionToken": token}


def _can_be_key(settings: SetSettings, name: str) -> bool:
    try:
        Source(kind=settings.kind, url=settings.url, sets=(name,))
    except ValueError:
        return False
    return True


def _asked(settings: SetSettings, outside: "Outside", verb: str) -> "Element | None":
    """The element of that verb's name; None where the server has no such thing (noSetHierarchy)."""
    return next(_answered(settings, outside, {"verb": verb}).iterchildren(f"{OAI}{verb}"), None)


def _answered(
    settings: SetSettings, outside: "Outside", params: Mapping[str, str], asking: whole_pages.Asking = whole_pages.USUAL
) -> "Element":
    """An answer to what is no list of records. Raises SourceError with the server's own words, unless they say that it
    has no sets, or that nothing more follows."""
    _, root = whole_pages.whole(outside, settings.url, params, answer, _MEND, asking, _is_error)
    errors = error_texts(root)
    harmless = {"noSetHierarchy", "noMetadataFormats"} | ({"noRecordsMatch"} if "resumptionToken" in params else set())
    if not errors.keys() <= harmless:
        raise SourceError(f"{shown(settings.url)}: {params['verb']}: {_said(errors)}", _mend(errors))
    return root


def _is_error(root: "Element") -> bool:
    return bool(error_texts(root))


def _offered(listed: "Element | None", name: str) -> list[str]:
    if listed is None:
        return []
    return [found for element in listed.iter(f"{OAI}{name}") if (found := xml.text(element))]
