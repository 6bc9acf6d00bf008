"""NL-LOM, the metadata format of Edurep: its mapping to products and files.

Belongs here: where NL-LOM keeps what, row by row as docs/sources.md lists it. Does not belong here: the loop over
pages and the header (`oai_pmh.py`), the shape of properties (`products.py`), the cleaning of values (`values.py`).
"""

import re
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from harvester_dagster.sources import products, xml
from harvester_dagster.sources.oai_pmh import Format
from harvester_dagster.sources.source import Document, Request
from harvester_dagster.sources.values import day, licence, line, unique, url

if TYPE_CHECKING:
    from harvester_dagster.sources.xml import Element

VERSION = 1
"""Raised with every change that extracts something else from the same record."""
LOM = "{http://www.imsglobal.org/xsd/imsmd_v1p2}"
HIGHER = ("HBO", "WO")
NEITHER = ("BVE", "MBO", "Beroepsonderwijs en Volwasseneneducatie", "Volwasseneneducatie")
_ESCAPED = re.compile(r"\\(.)")


class Contribution(NamedTuple):
    role: str | None
    element: "Element"


class Classification(NamedTuple):
    purpose: str | None
    element: "Element"


def read(lom: "Element", external_id: str, request: Request, notes: list[str]) -> tuple[Document, ...]:
    general, rights = _part(lom, "general"), _part(lom, "rights")
    contributions = [Contribution(_value(item, "role"), item) for item in _all(_part(lom, "lifecycle"), "contribute")]
    classifications = [Classification(_value(item, "purpose"), item) for item in _all(lom, "classification")]
    levels = _levels(classifications) or _default_levels(request)
    keywords = [found for item in _all(general, "keyword") for text in _langstrings(item) if (found := line(text))]
    publishers = _names(contributions, "publisher", notes)
    provider = products.provider(publishers[0] if publishers else "Edurep")
    copyright_ = _copyright(rights)
    disciplines = list(_ids(classifications, "discipline"))
    return products.documents(
        external_id,
        _standing(levels, lom),
        _files(_part(lom, "technical"), _access_rights(classifications), copyright_),
        title=line(_langstring(_part(general, "title"))),
        description=_langstring(_part(general, "description")),
        language=xml.text(_part(general, "language")),
        keywords=keywords,
        copyright=copyright_,
        copyright_description=_langstring(_part(rights, "description")),
        authors=[products.person(name) for name in _names(contributions, "author", notes)],
        provider=provider,
        organizations=products.organizations(provider),
        publishers=publishers,
        publisher_date=_published(contributions, notes),
        learning_material=products.learning_material(
            material_types=_material_types(lom),
            aggregation_level=line(_value(general, "aggregationlevel")),
            lom_educational_levels=levels,
            studies=disciplines,
            study_vocabulary=_study_vocabulary(classifications),
            disciplines=disciplines,
            consortium="HBO Verpleegkunde" if any("hbovpk" in keyword.lower() for keyword in keywords) else None,
        ),
        research_product=products.research_product(),
    )


# --- for this platform or not -----------------------------------------------------------------------------------------


def _levels(classifications: Sequence[Classification]) -> list[str]:
    return unique(
        level
        for item in classifications
        if item.purpose == "educational level"
        for entry in item.element.iterfind(f"{LOM}taxonpath/{LOM}taxon/{LOM}entry")
        if (level := line(_langstring(entry)))
    )


def _default_levels(request: Request) -> list[str]:
    default = request.settings.default_educational_level
    return [default] if default else []


def _standing(levels: Sequence[str], lom: "Element") -> products.Standing:
    below = [level for level in levels if not level.startswith(HIGHER + NEITHER)]
    if below:
        return products.Standing("inactive", f"an educational level below HBO and WO: {', '.join(below):.200}")
    if any(level.startswith(HIGHER) for level in levels):
        return products.ACTIVE
    if levels:
        return products.Standing("inactive", f"no educational level of HBO or WO; only: {', '.join(levels):.200}")
    contexts = unique(
        text for item in lom.iterfind(f"{LOM}educational/{LOM}context/{LOM}value") if (text := _langstring(item))
    )
    only = f"; only context: {', '.join(contexts):.200}" if contexts else ""
    return products.Standing("inactive", f"no educational level{only}")


# --- who --------------------------------------------------------------------------------------------------------------


def _names(contributions: Sequence[Contribution], role: str, notes: list[str]) -> list[str]:
    """The names on the vCards of the first contribution in that role."""
    contribution = next((item for item in contributions if item.role == role), None)
    if contribution is None:
        return []
    names = []
    for card in contribution.element.iterfind(f"{LOM}centity/{LOM}vcard"):
        written = card.text or ""
        if name := full_name(written):
            names.append(name)
        else:
            notes.append(f"an unreadable vCard of the {role}: {' '.join(written.split())!r:.100}")
    return names


def full_name(vcard: str) -> str | None:
    """`FN` of a vCard whose lines were indented, which would read as folding; null when it is none."""
    lines = [text for part in vcard.splitlines() if (text := part.strip())]
    if len(lines) < 3 or lines[0].upper() != "BEGIN:VCARD" or lines[-1].upper() != "END:VCARD":
        return None
    for text in lines[1:-1]:
        name, colon, value = text.partition(":")
        if colon and name.partition(";")[0].rpartition(".")[2].upper() == "FN":
            return line(_ESCAPED.sub(lambda found: " " if found[1] in "nN" else found[1], value))
    return None


def _published(contributions: Sequence[Contribution], notes: list[str]) -> str | None:
    for role in ("publisher", "content provider"):
        for item in contributions:
            written = item.element.findtext(f"{LOM}date/{LOM}datetime") if item.role == role else None
            if not written or not written.strip():
                continue
            if found := day(written):
                return found
            notes.append(f"the date of the {role} is none: {written.strip()!r:.80}")
    return None


# --- what, and under which terms --------------------------------------------------------------------------------------


def _files(technical: "Element | None", access_rights: str, copyright_: str | None) -> Iterator[products.File]:
    """The nth format is the nth location's, also where a location is empty or repeated."""
    types = [xml.text(item) for item in _all(technical, "format")]
    locations = [item.text for item in _all(technical, "location")]
    for location, mime_type in zip_longest(locations, types[: len(locations)]):
        if address := url(location):
            yield products.File(
                url=address,
                is_link=mime_type == "text/html",
                mime_type=mime_type,
                access_rights=access_rights,
                copyright=copyright_,
            )


def _access_rights(classifications: Sequence[Classification]) -> str:
    return next(_ids(classifications, "access rights"), "ClosedAccess")


def _copyright(rights: "Element | None") -> str | None:
    value = _value(rights, "copyrightandotherrestrictions")
    if value != "yes":
        return value
    return licence(_langstring(_part(rights, "description"))) or "yes"


def _material_types(lom: "Element") -> list[str]:
    return [
        found
        for item in lom.iterfind(f"{LOM}educational/{LOM}learningresourcetype/{LOM}value")
        if (found := line(_langstring(item)))
    ]


def _ids(classifications: Sequence[Classification], purpose: str) -> Iterator[str]:
    for item in classifications:
        if item.purpose == purpose:
            for identifier in item.element.iterfind(f"{LOM}taxonpath/{LOM}taxon/{LOM}id"):
                if found := xml.text(identifier):
                    yield found


def _study_vocabulary(classifications: Sequence[Classification]) -> list[str]:
    """Concepts by their URL, which is written whole or as its vocabulary and its id."""
    concepts = []
    for item in classifications:
        if item.purpose not in ("discipline", "idea"):
            continue
        for path in _all(item.element, "taxonpath"):
            source = _langstring(_part(path, "source")) or ""
            for identifier in path.iterfind(f"{LOM}taxon/{LOM}id"):
                if found := xml.text(identifier):
                    concepts.append(found if "://" in found else f"{source.rstrip('/')}/{found}")
    return unique(concept for concept in concepts if "/concept/" in concept)


# --- elements ---------------------------------------------------------------------------------------------------------


def _part(element: "Element | None", name: str) -> "Element | None":
    return next(element.iterchildren(LOM + name), None) if element is not None else None


def _all(element: "Element | None", name: str) -> "Iterator[Element]":
    return element.iterchildren(LOM + name) if element is not None else iter(())


def _langstrings(element: "Element") -> Iterator[str | None]:
    return (item.text for item in element.iterchildren(LOM + "langstring"))


def _langstring(element: "Element | None") -> str | None:
    """The first one counts, trimmed."""
    return xml.text(_part(element, "langstring"))


def _value(element: "Element | None", name: str) -> str | None:
    """What `<name><value><langstring>` says."""
    return _langstring(_part(_part(element, name), "value"))


def _version(request: Request) -> str:
    default = request.settings.default_educational_level
    return f"lom/{VERSION}" + (f" default_educational_level={default}" if default else "")


FORMAT = Format(prefix="lom", root="lom", read=read, version=_version)
