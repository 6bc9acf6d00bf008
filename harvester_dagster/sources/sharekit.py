"""Sharekit: the repository of SURF, as JSON:API. Its addresses and its mapping to products and files.

Belongs here: what Sharekit calls things, row by row as docs/sources.md lists them. Does not belong here: the loop
over pages (`json_api.py`), the shape of properties (`product_shape.py`), the cleaning of values (`values.py`).
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from harvester_dagster.config import SetSettings, secret
from harvester_dagster.sources import access_rights, dates, identifiers, json_api, product_shape, whole_pages
from harvester_dagster.sources.kind import (
    MOST_NOTES,
    Document,
    Kind,
    Record,
    Request,
    Single,
    UnknownRecord,
    Unreadable,
)
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.values import digest, line, lines, text, unique
from harvester_dagster.sources.walk import Walk

if TYPE_CHECKING:
    from harvester_dagster.outside.http import Outside

VERSION = 2
"""Raised with every change that extracts something else from the same record."""
PAGE_SIZE = "25"
EVERYTHING = datetime(1970, 1, 1, tzinfo=UTC)
MEND = "look at url, which ends before /jsonapi, and at the set's name"
_CHANNEL = re.compile(r"(?P<base>.+?)/jsonapi/channel/v1/(?P<set>[^/?]+)")
_Object = Mapping[str, Any]
_NOTHING: _Object = {}


def pages(request: Request, outside: "Outside", walk: Walk | None = None) -> Iterator[bytes]:
    """The raw pages of a channel, from `request.since` on or from the beginning of time. Raises SourceError."""
    return json_api.pages(
        outside,
        address(request.settings.url, request.spec),
        {
            "filter[modified][GE]": f"{(request.since or EVERYTHING).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "page[size]": PAGE_SIZE,
        },
        _headers(request.settings),
        MEND,
        walk or Walk(request.settings),
    )


def single(request: Request, external_id: str, outside: "Outside") -> Single:
    """One record of a channel, at its own address. Raises UnknownRecord, SourceError."""
    if external_id in (".", ".."):  # no address has it as its last part
        raise UnknownRecord(f"{request.settings.url}: has no record {external_id!r}")
    whole = f"{address(request.settings.url, request.spec)}/{quote(external_id, safe='')}"
    return json_api.single(outside, whole, _headers(request.settings), MEND, external_id)


def address(base: str, spec: str) -> str:
    """Of a channel."""
    return f"{base.rstrip('/')}/jsonapi/channel/v1/{quote(spec, safe='')}/repoItems"


def _headers(settings: SetSettings) -> dict[str, str]:
    headers = {"Accept": "application/vnd.api+json, application/json"}
    if not settings.token_env:
        return headers
    key = secret(settings.token_env)
    if not key:
        raise SourceError(
            f"{settings.url}: the environment variable {settings.token_env} is not set", "it holds the key"
        )
    return headers | {"Authorization": f"Bearer {key}"}


def extract(page: bytes, indices: Sequence[int], request: Request) -> Iterator[Record | Unreadable]:
    """The records of a page at these indices, as `read` reads them. Raises SourceError for what is no page."""
    return json_api.extract(page, indices, request, read)


def ids(page: bytes, request: Request) -> Sequence[str | None]:
    """The id of each record of a page. Raises SourceError for what is no page."""
    return json_api.ids(page, request, read)


def without(page: bytes, named: Mapping[int, str]) -> bytes:
    """The page with a deleted resource of another id in the place of these."""
    return json_api.without(page, {index: {"id": name, "meta": {"status": "deleted"}} for index, name in named.items()})


def read(external_id: str, resource: _Object, request: Request) -> Record | Unreadable:
    """The product and files that a resource object (`id`, `meta`, `attributes`) describes; without attributes it is
    Unreadable, unless it is deleted."""
    meta, attributes = _object(resource.get("meta")), _object(resource.get("attributes"))
    status = text(meta.get("status"))
    if status == "deleted":
        return Record(external_id, text(meta.get("deletedAt")) or text(attributes.get("modifiedAt")), ())
    if not attributes:
        return Unreadable(external_id, "a record without attributes that is not deleted")
    notes: list[str] = []
    found = _product(external_id, status, attributes, request, notes)
    return Record(external_id, text(attributes.get("modifiedAt")), found, tuple(notes[:MOST_NOTES]))


def _product(
    external_id: str, status: str | None, attributes: _Object, request: Request, notes: list[str]
) -> tuple[Document, ...]:
    get = attributes.get
    keywords = lines(get("keywords"))
    lowered = " ".join(keywords).lower()
    owner = _object(get("owner"))
    provider = _provider(owner, get("institutes"))
    return product_shape.Product(
        external_id=external_id,
        standing=_standing(status, line(owner.get("name")), request),
        files=_files(attributes, notes),
        title=line(get("title")),
        subtitle=line(get("subtitle")),
        description=text(get("abstract")),
        language=text(get("language")),
        keywords=keywords,
        copyright=text(get("termsOfUse")),
        authors=[author for item in _objects(get("authors")) if (author := _author(item))],
        provider=provider,
        organizations=product_shape.organizations(provider, text(owner.get("type")) or "unknown"),
        publishers=_publishers(lines(get("publishers")), lowered),
        publisher_date=_date(get("publishedAt"), notes),
        technical_type=text(get("technicalFormat")),
        doi=text(get("doi")),
        is_part_of=lines(get("partOf")),
        has_parts=lines(get("hasParts")),
        learning_material=product_shape.learning_material(
            material_types=lines(get("typesLearningMaterial")),
            aggregation_level=text(get("aggregationlevel")),
            lom_educational_levels=_levels(get("educationalLevels")),
            study_vocabulary=_terms(get("vocabularies")),
            disciplines=lines(get("themesLearningMaterial")),
            consortium=line(get("consortium")) or ("Projectgroep Vaktherapie" if "vaktherapie" in lowered else None),
        ),
        research_product=product_shape.research_product(
            text(get("typeResearchObject")), lines(get("themesResearchObject"))
        ),
    ).documents()


def _standing(status: str | None, owner: str | None, request: Request) -> product_shape.RecordStanding:
    if request.production and owner is not None and owner in request.settings.test_organizations:
        return product_shape.RecordStanding("skipped", f"of the test organization {owner}")
    if status not in (None, "active"):
        return product_shape.RecordStanding("inactive", f"the source gives it the status {status!r:.80}")
    return product_shape.ACTIVE


def _provider(owner: _Object, institutes: Any) -> dict[str, Any]:
    if owner:
        return product_shape.provider(line(owner.get("name")), text(owner.get("id")))
    return product_shape.provider(next(iter(lines(institutes)), None))


def _author(entry: _Object) -> dict[str, Any] | None:
    person = _object(entry.get("person"))
    if not person:
        return None
    get = person.get
    return product_shape.person(
        line(get("name")),
        email=text(get("email")),
        external_id=text(get("id")),
        dai=text(get("dai")),
        orcid=text(get("orcid")),
        isni=text(get("isni")),
        is_external=text(entry.get("external")) == "1" or entry.get("external") is True,
    )


def _publishers(publishers: list[str], lowered_keywords: str) -> list[str]:
    nursing = "HBO Verpleegkunde"
    if "hbovpk" in lowered_keywords and nursing not in publishers:
        publishers.append(nursing)
    return publishers


def _date(written: Any, notes: list[str]) -> str | None:
    return dates.first((written,), "publishedAt", notes)


def _levels(entries: Any) -> list[str]:
    return unique(value for item in _objects(entries) if (value := line(item.get("value"))))


def _terms(vocabularies: Any) -> list[str]:
    return [
        term
        for terms in _object(vocabularies).values()
        for item in _objects(terms)
        if (term := text(item.get("source")))
    ]


def _files(attributes: _Object, notes: list[str]) -> Iterable[product_shape.File]:
    for entry in _objects(attributes.get("files")):
        if found := _file(entry, "fileName", False, notes):
            yield found
    for entry in _objects(attributes.get("links")):
        if found := _file(entry, "urlName", True, notes):
            yield found


def _file(entry: _Object, title: str, is_link: bool, notes: list[str]) -> product_shape.File | None:
    get = entry.get
    written = text(get("url"))
    addresses = identifiers.addresses(written, notes)
    if not addresses:
        notes.extend([f"no web address: {written!r:.200}"] if written else [])
        return None
    return product_shape.File(
        url=addresses[0],
        is_link=is_link,
        mime_type=text(get("resourceMimeType")) or ("text/html" if is_link else None),
        access_rights=_access_rights(text(get("accessRight")), notes),
        copyright=text(get("usageRight")),
        title=line(get(title)),
        etag=_etag(text(get("eTag"))),
        priority=_priority(get("important")),
    )


def _access_rights(written: str | None, notes: list[str]) -> str:
    known = access_rights.read(written)
    if written and known is None:
        notes.append(f"an unknown accessRight, taken as ClosedAccess: {written!r:.80}")
    return known or access_rights.CLOSED


def _etag(written: str | None) -> str | None:
    if written and len(written) > 1 and written[0] == written[-1] == '"':
        return written[1:-1] or None
    return written


def _priority(written: Any) -> int:
    """`"1"`, 1 or null. Nine digits are more than anybody needs, and fit every integer column."""
    number = text(written) or ""
    return int(number) if number.isascii() and number.isdigit() and len(number) < 10 else 0


def _object(value: Any) -> _Object:
    return value if isinstance(value, dict) else _NOTHING


def _objects(value: Any) -> list[_Object]:
    return [item for item in value if isinstance(item, dict)] if value and isinstance(value, list) else []


def mapping_version(request: Request) -> str:
    """The version of this mapping, with a digest of the test organizations where they are left out."""
    tests = sorted(request.settings.test_organizations) if request.production else []
    return f"sharekit/{VERSION}" + (f" test_organizations={digest(repr(tests))[:12]}" if tests else "")


def check(settings: SetSettings, outside: "Outside") -> Iterator[str]:
    """Ask a channel for its first page: what is on it, and the lines of configuration that harvest it.
    `settings.url` is the channel's whole address, as a browser would ask for it. Raises SourceError."""
    found = _CHANNEL.match(settings.url)
    if not found:
        raise SourceError(
            f"{settings.url}: the channel is not in it", "write https://HOST/…/jsonapi/channel/v1/SET/repoItems"
        )
    base, spec = found["base"], unquote(found["set"])
    page = next(
        json_api.pages(
            outside, address(base, spec), {"page[size]": PAGE_SIZE}, _headers(settings), MEND, Walk(settings)
        )
    )
    yield f"{base}: speaks JSON:API as Sharekit does; set {spec}, first page:"
    for item in extract(page, range(min(len(json_api.cut(page)), int(PAGE_SIZE))), Request(settings, spec, None)):
        yield _seen(item)
    yield ""
    yield f"[sources.{whole_pages.short_name(urlsplit(base).hostname or 'sharekit')}]"
    yield 'kind = "sharekit"'
    yield f"url = {whole_pages.quoted(base)}"
    yield f"sets = [{whole_pages.quoted(spec)}]"
    if settings.token_env:
        yield f"token_env = {whole_pages.quoted(settings.token_env)}"


def _seen(item: Record | Unreadable) -> str:
    if isinstance(item, Unreadable):
        return f"  {item.external_id}: unreadable: {item.reason}"
    if not item.documents:
        return f"  {item.external_id}: deleted"
    title, files = item.documents[0].properties["title"], len(item.documents) - 1
    return f"  {item.external_id}: {title!r:.60}, {files} files"


KIND = Kind(
    name="sharekit",
    entity="products",
    pages=pages,
    cut=json_api.cut,
    extract=extract,
    ids=ids,
    without=without,
    mapping_version=mapping_version,
    check=check,
    checked_at=address,
    single=single,
    pushed=json_api.pushed,
)
