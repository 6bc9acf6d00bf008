"""LOM: NL-LOM, the metadata format of Edurep, in the binding of IMS; and the binding of IEEE (LTSC). One mapping.

Belongs here: where LOM keeps what, row by row as docs/sources.md lists it. Does not belong here: the loop over pages
(`oai_pmh.py`), records and their header (`oai_page.py`), the shape of properties (`product_shape.py`), the cleaning of
values (`values.py`), the grammar of vCards (`vcards.py`).
"""

import re
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import zip_longest
from typing import TYPE_CHECKING, NamedTuple

from harvester_dagster.sources import (
    access_rights,
    dates,
    identifiers,
    languages,
    licences,
    product_shape,
    vcards,
    xml,
)
from harvester_dagster.sources.kind import Document, Request
from harvester_dagster.sources.oai_page import Format
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.values import line, unique

if TYPE_CHECKING:
    from harvester_dagster.sources.xml import Element

VERSION = 2
"""Raised with every change that extracts something else from the same record."""
LOM = "{http://www.imsglobal.org/xsd/imsmd_v1p2}"
LTSC = "{http://ltsc.ieee.org/xsd/"
"""Where the namespaces of IEEE's binding begin: `LOM`, and those of Common Cartridge."""
CATEGORIES = frozenset(
    LOM + name
    for name in (
        "general", "lifecycle", "metametadata", "technical", "educational", "rights", "relation", "annotation",
        "classification",
    )
)  # fmt: skip
HIGHER = ("HBO", "WO")
DEGREES = re.compile(r"(?:,\s*(?:[bm]sc|m[ad]|ba|mba|ph\.?\s?d|drs|ir|ing|mr|rn|m\.?ed|pharmd|llm|edd)\.?)+$", re.I)
NEITHER = ("BVE", "MBO", "Beroepsonderwijs en Volwasseneneducatie", "Volwasseneneducatie")


class Contribution(NamedTuple):
    """Somebody's part in the material (`lifecycle/contribute`), and its role."""

    role: str | None
    element: "Element"


class Classification(NamedTuple):
    """A `classification` of the material, and its purpose: discipline, educational level, access rights, …"""

    purpose: str | None
    element: "Element"


def read(lom: "Element", external_id: str, request: Request, notes: list[str]) -> tuple[Document, ...]:
    """The product that a LOM record describes, then its files. What is odd is added to `notes`. Raises SourceError
    for a binding that is not known."""
    ieee = str(lom.tag).startswith(LTSC)
    lom = _in_names_of_ims(lom)
    general, rights = _part(lom, "general"), _part(lom, "rights")
    contributions = [Contribution(_term(item, "role"), item) for item in _all(_part(lom, "lifecycle"), "contribute")]
    classifications = [Classification(_term(item, "purpose"), item) for item in _all(lom, "classification")]
    levels = _levels(classifications) or _default_levels(request)
    keywords = [found for item in _all(general, "keyword") for text in _langstrings(item) if (found := line(text))]
    publishers = _names(contributions, "publisher", notes)
    provider = product_shape.provider(publishers[0] if publishers else None if ieee else "Edurep")
    copyright_ = _copyright(rights)
    disciplines = list(_ids(classifications, "discipline"))
    product = product_shape.Product(
        external_id=external_id,
        standing=_standing(levels, lom),
        files=_files(_part(lom, "technical"), _access_rights(classifications), copyright_, notes),
        title=line(_said(general, "title")),
        description=_said(general, "description"),
        language=_said(general, "language"),
        keywords=keywords,
        copyright=copyright_,
        copyright_description=_said(rights, "description"),
        authors=[product_shape.person(name) for name in _names(contributions, "author", notes)],
        provider=provider,
        organizations=product_shape.organizations(provider),
        publishers=publishers,
        publisher_date=_published(contributions, notes),
        learning_material=product_shape.learning_material(
            material_types=_material_types(lom),
            aggregation_level=line(_value(general, "aggregationlevel")),
            lom_educational_levels=levels,
            studies=disciplines,
            study_vocabulary=_study_vocabulary(classifications),
            disciplines=disciplines,
            consortium="HBO Verpleegkunde" if any("hbovpk" in keyword.lower() for keyword in keywords) else None,
        ),
        research_product=product_shape.research_product(),
    )
    if ieee:
        _as_ieee_has_it(product, lom, contributions, classifications, notes)
    return product.documents()


# --- bindings ---------------------------------------------------------------------------------------------------------


def _in_names_of_ims(lom: "Element") -> "Element":
    """The record in the element names of IMS. That of IEEE has capitals (`lifeCycle`), `string` and `entity`, and
    children in any namespace: some servers write them in that of OAI-PMH. Raises SourceError for other bindings, and
    for a record that says nothing in names of LOM."""
    tag = str(lom.tag)
    if not tag.startswith((LOM, LTSC)):
        raise SourceError(f"its LOM is of a namespace that has no mapping: {tag.rpartition('}')[0][1:]!r:.200}")
    if not len(lom) or (tag.startswith(LOM) and all(part.tag in CATEGORIES for part in lom)):
        return lom
    found = deepcopy(lom)
    for element in found.iter("*"):
        name = xml.name(element).lower()
        element.tag = LOM + {"string": "langstring", "entity": "vcard"}.get(name, name)
    if not any(part.tag in CATEGORIES for part in found):
        raise SourceError(f"no element of LOM in it: {str(lom[0].tag)!r:.200}")
    return found


# --- for this platform or not -----------------------------------------------------------------------------------------


def _levels(classifications: Sequence[Classification]) -> list[str]:
    return unique(_entries(classifications, "educational level"))


def _default_levels(request: Request) -> list[str]:
    default = request.settings.default_educational_level
    return [default] if default else []


def _standing(levels: Sequence[str], lom: "Element") -> product_shape.RecordStanding:
    below = [level for level in levels if not level.startswith(HIGHER + NEITHER)]
    if below:
        return product_shape.RecordStanding(
            "inactive", f"an educational level below HBO and WO: {', '.join(below):.200}"
        )
    if any(level.startswith(HIGHER) for level in levels):
        return product_shape.ACTIVE
    if levels:
        return product_shape.RecordStanding(
            "inactive", f"no educational level of HBO or WO; only: {', '.join(levels):.200}"
        )
    contexts = unique(
        text for item in lom.iterfind(f"{LOM}educational/{LOM}context/{LOM}value") if (text := _langstring(item))
    )
    only = f"; only context: {', '.join(contexts):.200}" if contexts else ""
    return product_shape.RecordStanding("inactive", f"no educational level{only}")


# --- who --------------------------------------------------------------------------------------------------------------


def _names(contributions: Sequence[Contribution], role: str, notes: list[str]) -> list[str]:
    """The names on the vCards of the first contribution in that role that has any."""
    in_role = (_on_cards(item, notes) for item in contributions if item.role == role)
    return next((names for names in in_role if names), [])


def _on_cards(contribution: Contribution, notes: list[str]) -> list[str]:
    names = []
    for card in contribution.element.iter(f"{LOM}vcard"):
        written = xml.text(card) or ""
        for name in vcards.names(written) or [None]:
            if name:
                names.append(name)
            else:
                notes.append(f"an unreadable vCard of the {contribution.role}: {' '.join(written.split())!r:.100}")
    return names


def _published(contributions: Sequence[Contribution], notes: list[str]) -> str | None:
    for role in ("publisher", "content provider"):
        if found := dates.first(_dates(contributions, role), f"the date of the {role}", notes):
            return found
    return None


def _dates(contributions: Sequence[Contribution], role: str) -> Iterator[str | None]:
    return (xml.text(item.element.find(f"{LOM}date/{LOM}datetime")) for item in contributions if item.role == role)


# --- what, and under which terms --------------------------------------------------------------------------------------


def _files(
    technical: "Element | None", access: str, copyright_: str | None, notes: list[str], title: str | None = None
) -> Iterator[product_shape.File]:
    """The nth format is the nth location's, also where a location is empty or repeated."""
    types = [xml.text(item) for item in _all(technical, "format")]
    locations = [xml.text(item) for item in _all(technical, "location")]
    for location, mime_type in zip_longest(locations, types[: len(locations)]):
        addresses = identifiers.addresses(location, notes)
        if location and not addresses:
            notes.append(f"a location that is no web address: {location!r:.200}")
        for address in addresses:
            yield product_shape.File(
                url=address,
                is_link=mime_type == "text/html",
                mime_type=mime_type,
                access_rights=access,
                copyright=copyright_,
                title=title,
            )


def _access_rights(classifications: Sequence[Classification]) -> str:
    said = next(_ids(classifications, "access rights"), None)
    return access_rights.read(said) or said or access_rights.CLOSED


def _copyright(rights: "Element | None") -> str | None:
    value = _value(rights, "copyrightandotherrestrictions")
    if value != "yes":
        return value
    return licences.code(_said(rights, "description")) or "yes"


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


def _entries(classifications: Sequence[Classification], purpose: str) -> Iterator[str]:
    for item in classifications:
        if item.purpose == purpose:
            for entry in item.element.iterfind(f"{LOM}taxonpath/{LOM}taxon/{LOM}entry"):
                if found := line(_langstring(entry)):
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


# --- what only the binding of IEEE has --------------------------------------------------------------------------------


def _as_ieee_has_it(
    product: product_shape.Product,
    lom: "Element",
    contributions: Sequence[Contribution],
    classifications: Sequence[Classification],
    notes: list[str],
) -> None:
    """What differs from NL-LOM: values are words instead of codes, a contribution names one author and there are many,
    works have identifiers and relations."""
    product.language = languages.code(product.language)
    product.copyright = _licence_in_words(_part(lom, "rights"))
    product.authors = [product_shape.person(name) for name in _authors(contributions, notes)]
    product.publisher_date = product.publisher_date or dates.first(_created(contributions), "the date", notes)
    identified = [_catalogued(item) for item in _all(_part(lom, "general"), "identifier")]
    product.doi = next((found for catalog, entry in identified if (found := _doi(catalog, entry))), None)
    product.is_part_of, product.has_parts = _related(lom, "ispartof"), _related(lom, "haspart")
    access = _access_in_words(classifications, product.copyright)
    files = list(_files(_part(lom, "technical"), access, product.copyright, notes, product.title))
    addresses = [] if files else [entry for catalog, entry in identified if catalog in ("uri", "url")]
    product.files = files or [
        product_shape.File(address, True, "text/html", access, product.copyright, product.title)
        for entry in addresses
        for address in identifiers.addresses(entry, notes)
    ]


def _licence_in_words(rights: "Element | None") -> str | None:
    value, description = _value(rights, "copyrightandotherrestrictions"), _said(rights, "description")
    if found := licences.code(description) or licences.code(value):
        return found
    return "no" if (value or "").lower() == "no" else "yes" if value or description else None


def _access_in_words(classifications: Sequence[Classification], copyright_: str | None) -> str:
    said = [*_ids(classifications, "access rights"), *_entries(classifications, "access rights")]
    if found := next((found for value in said if (found := access_rights.read(value))), None):
        return found
    if copyright_ and copyright_.startswith(("cc", "pdm")):
        return access_rights.OPEN
    return access_rights.RESTRICTED if copyright_ == "yes" else access_rights.CLOSED


def _authors(contributions: Sequence[Contribution], notes: list[str]) -> list[str]:
    """Those of every contribution in that role; where nobody has it, all but publishers. Degrees are left out."""
    authors = [item for item in contributions if item.role == "author"] or [
        item for item in contributions if item.role not in ("publisher", "content provider")
    ]
    return unique(DEGREES.sub("", name) for item in authors for name in _on_cards(item, notes))


def _created(contributions: Sequence[Contribution]) -> Iterator[str | None]:
    """The dates that are described as that of the making or of the publication, then those of the authors."""
    for item in contributions:
        described = (_langstring(item.element.find(f"{LOM}date/{LOM}description")) or "").lower()
        if described in ("created", "published", "publicatie datum", "publicatiedatum"):
            yield xml.text(item.element.find(f"{LOM}date/{LOM}datetime"))
    yield from _dates(contributions, "author")


def _catalogued(identifier: "Element | None") -> tuple[str, str | None]:
    """The catalogue, in lower case, and what it calls the work."""
    return (_langstring(_part(identifier, "catalog")) or "").lower(), _langstring(_part(identifier, "entry"))


def _doi(catalog: str, entry: str | None) -> str | None:
    return identifiers.doi(entry) if catalog in ("doi", "uri", "url", "") else None


def _related(lom: "Element", kind: str) -> list[str]:
    """What the works in a relation of that kind are called: `ispartof` of LTSC is `IsPartOf` of Dublin Core."""
    return unique(
        entry
        for relation in _all(lom, "relation")
        if (_term(relation, "kind") or "").replace(" ", "") == kind
        for resource in _all(relation, "resource")
        for identifier in _all(resource, "identifier")
        if (entry := _catalogued(identifier)[1])
    )


# --- elements ---------------------------------------------------------------------------------------------------------


def _part(element: "Element | None", name: str) -> "Element | None":
    return next(element.iterchildren(LOM + name), None) if element is not None else None


def _all(element: "Element | None", name: str) -> "Iterator[Element]":
    return element.iterchildren(LOM + name) if element is not None else iter(())


def _langstrings(element: "Element") -> Iterator[str | None]:
    return (xml.text(item) for item in element.iterchildren(LOM + "langstring"))


def _langstring(element: "Element | None") -> str | None:
    """The first filled one counts, trimmed; what stands there without one is a text too."""
    if element is None:
        return None
    for item in element.iterchildren(LOM + "langstring"):
        if found := xml.text(item):
            return found
    return None if len(element) else xml.text(element)


def _said(element: "Element | None", name: str) -> str | None:
    """The text of the first of these children that has any."""
    if element is not None:  # loops, not generators: half of the time of a record is spent here
        for item in element.iterchildren(LOM + name):
            if found := _langstring(item):
                return found
    return None


def _value(element: "Element | None", name: str) -> str | None:
    """What `<name><value><langstring>` says."""
    return _said(_part(element, name), "value")


def _term(element: "Element | None", name: str) -> str | None:
    """A value of a vocabulary, in lower case."""
    found = _value(element, name)
    return found.lower() if found else None


def _version(request: Request) -> str:
    default = request.settings.default_educational_level
    return f"lom/{VERSION}" + (f" default_educational_level={default}" if default else "")


FORMAT = Format(prefix="lom", root="lom", read=read, version=_version)
