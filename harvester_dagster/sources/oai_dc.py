"""Dublin Core as every OAI-PMH repository offers it (`oai_dc`): its mapping to products and files.

Belongs here: what can be read from fifteen loose elements, as docs/sources.md says. Does not belong here: the loop
over pages (`oai_pmh.py`), records and their header (`oai_page.py`), the shape of properties (`product_shape.py`), the
cleaning of values (`values.py`).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harvester_dagster.sources import access_rights, dates, identifiers, languages, licences, product_shape, xml
from harvester_dagster.sources.kind import Document, Request
from harvester_dagster.sources.oai_page import Format
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.values import line, text, unique

if TYPE_CHECKING:
    from harvester_dagster.sources.xml import Element

VERSION = 2
"""Raised with every change that extracts something else from the same record."""
REFINED = {
    "date": ("issued", "dateSubmitted", "created", "available"),
    "rights": ("license", "accessRights"),
    "identifier": ("hasFormat",),
    "format": ("medium",),
}
"""What says the same in `dcterms`, and is looked at after it."""
ELEMENTS = frozenset(
    (
        "title", "creator", "subject", "description", "publisher", "contributor", "date", "type", "format",
        "identifier", "source", "language", "relation", "coverage", "rights", "abstract", "isPartOf", "hasPart",
    )
).union(*REFINED.values())  # fmt: skip
_WEB = re.compile(r"https?://", re.IGNORECASE)
_DOI_ORG = re.compile(r"https?://(?:dx\.|www\.)?doi\.org/10\.", re.IGNORECASE)
_MIME = re.compile(r"[a-z]+/[\w.+-]+", re.IGNORECASE)
_EU_REPO = "info:eu-repo/semantics/"
_EU_REPO_DATE = "info:eu-repo/date/"
"""The end of an embargo, which is no date of publication."""


def read(dc: "Element", external_id: str, request: Request, notes: list[str]) -> tuple[Document, ...]:
    """The product that a Dublin Core record describes, then its files. What is odd is added to `notes`.
    Raises SourceError for what says nothing in elements of Dublin Core."""
    fields = _fields(dc)
    rights = fields["rights"]
    copyright_, said = _copyright(rights)
    publishers = _lines(fields["publisher"])
    provider = product_shape.provider(publishers[0] if publishers else None)
    return product_shape.Product(
        external_id=external_id,
        standing=product_shape.ACTIVE,
        files=_files(fields, _access_rights(rights, copyright_), copyright_, notes),
        title=line(_first(fields["title"])),
        description=_first(fields["description"] or fields["abstract"]),
        language=next((found for value in fields["language"] if (found := languages.code(value))), None),
        keywords=_lines(fields["subject"]),
        copyright=copyright_,
        copyright_description=said,
        authors=[product_shape.person(name) for name in _lines(fields["creator"])],
        provider=provider,
        organizations=product_shape.organizations(provider),
        publishers=publishers,
        publisher_date=_published(fields["date"], notes),
        doi=next((found for value in fields["identifier"] if (found := identifiers.doi(value))), None),
        is_part_of=_lines(fields["isPartOf"]),
        has_parts=_lines(fields["hasPart"]),
        learning_material=product_shape.learning_material(),
        research_product=product_shape.research_product(_type(fields["type"])),
    ).documents()


def _fields(dc: "Element") -> Mapping[str, list[str]]:
    """The texts by name of element: `dc:` is declared under more than one namespace, so that the name alone counts."""
    fields: dict[str, list[str]] = defaultdict(list)
    for element in dc.iterchildren():
        if found := xml.text(element):
            fields[xml.name(element)].append(found)
    if len(dc) and fields.keys().isdisjoint(ELEMENTS) and not any(xml.name(element) in ELEMENTS for element in dc):
        raise SourceError(f"no element of Dublin Core in it: {str(dc[0].tag)!r:.200}")
    for name, refined in REFINED.items():
        for more in refined:
            if more in fields:
                fields[name] += fields[more]
    return fields


def _first(values: Sequence[str]) -> str | None:
    return text(values[0]) if values else None


def _lines(values: Sequence[str]) -> list[str]:
    return unique(found for value in values if (found := line(value)))


def _files(
    fields: Mapping[str, list[str]], access: str, copyright_: str | None, notes: list[str]
) -> Iterator[product_shape.File]:
    """Every web address in an identifier. One of doi.org leads to one of the others, or to a page about the work: it is
    a file only where there is no other. Formats belong to files only where there are as many."""
    found = [address for value in fields["identifier"] for address in identifiers.addresses(value, notes)]
    addresses = [address for address in found if _WEB.match(address)]
    addresses = [address for address in addresses if not _DOI_ORG.match(address)] or addresses
    formats = [value.lower() for value in fields["format"] if _MIME.fullmatch(value)]
    types = formats if len(formats) == len(addresses) else [None] * len(addresses)
    for address, mime_type in zip(addresses, types, strict=True):
        yield product_shape.File(
            url=address,
            is_link=mime_type in (None, "text/html"),
            mime_type=mime_type,
            access_rights=access,
            copyright=copyright_,
        )


def _copyright(rights: Sequence[str]) -> tuple[str | None, str | None]:
    """The first licence that can be read, and the text that says it; else the first text that says anything but
    access."""
    for value in rights:
        if found := licences.code(value):
            return found, value
    return None, next((value for value in rights if not _only_access(value)), None)


def _only_access(written: str) -> bool:
    return (access_rights.read(written) is not None and "://" in written) or written.startswith(_EU_REPO)


def _access_rights(rights: Sequence[str], copyright_: str | None) -> str:
    """What is said; else a licence that lets everybody copy says that everybody may read."""
    if found := next((found for value in rights if (found := access_rights.read(value))), None):
        return found
    return access_rights.OPEN if copyright_ and copyright_.startswith(("cc", "pdm")) else access_rights.CLOSED


def _published(dates_: Sequence[str], notes: list[str]) -> str | None:
    return dates.first((value for value in dates_ if not value.startswith(_EU_REPO_DATE)), "the date", notes)


def _type(types: Sequence[str]) -> str | None:
    """OpenAIRE's vocabulary where it is used, else the first one."""
    known = [value.removeprefix(_EU_REPO) for value in types if value.startswith(_EU_REPO)]
    return line(known[0]) if known else line(_first(types))


def _version(request: Request) -> str:
    return f"oai_dc/{VERSION}"


FORMAT = Format(prefix="oai_dc", root="dc", read=read, version=_version)
