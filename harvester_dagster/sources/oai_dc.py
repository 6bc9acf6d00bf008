"""Dublin Core as every OAI-PMH repository offers it (`oai_dc`): its mapping to products and files.

Belongs here: what can be read from fifteen loose elements, as docs/sources.md says. Does not belong here: the loop
over pages and the header (`oai_pmh.py`), the shape of properties (`products.py`), the cleaning of values (`values.py`).
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harvester_dagster.sources import products, xml
from harvester_dagster.sources.oai_pmh import Format
from harvester_dagster.sources.source import Document, Request
from harvester_dagster.sources.values import day, licence, line, text, unique, url

if TYPE_CHECKING:
    from harvester_dagster.sources.xml import Element

VERSION = 1
"""Raised with every change that extracts something else from the same record."""
# ISO 639-2, both the bibliographic and the terminological code, for the languages that European repositories hold.
# Source: https://www.loc.gov/standards/iso639-2/php/code_list.php
LANGUAGES = {
    "ara": "ar", "bul": "bg", "cat": "ca", "ces": "cs", "cze": "cs", "chi": "zh", "zho": "zh", "dan": "da",
    "deu": "de", "ger": "de", "dut": "nl", "nld": "nl", "ell": "el", "gre": "el", "eng": "en", "est": "et",
    "eus": "eu", "baq": "eu", "fin": "fi", "fra": "fr", "fre": "fr", "fry": "fy", "gle": "ga", "glg": "gl",
    "heb": "he", "hrv": "hr", "hun": "hu", "ice": "is", "isl": "is", "ind": "id", "ita": "it", "jpn": "ja",
    "kor": "ko", "lat": "la", "lav": "lv", "lit": "lt", "ltz": "lb", "mlt": "mt", "nno": "nn", "nob": "nb",
    "nor": "no", "pap": "pap", "pol": "pl", "por": "pt", "ron": "ro", "rum": "ro", "rus": "ru", "slk": "sk",
    "slo": "sk", "slv": "sl", "spa": "es", "srp": "sr", "swe": "sv", "tur": "tr", "ukr": "uk",
}  # fmt: skip
ACCESS_RIGHTS = {
    "openaccess": "OpenAccess",
    "restrictedaccess": "RestrictedAccess",
    "closedaccess": "ClosedAccess",
    "embargoedaccess": "ClosedAccess",
}
_DOI = re.compile(r"(?:(?:https?://)?(?:dx\.)?doi\.org/|doi:\s*|info:doi/)?(10\.\d{4,9}/\S+)", re.IGNORECASE)
_WEB = re.compile(r"https?://\S", re.IGNORECASE)
_MIME = re.compile(r"[a-z]+/[\w.+-]+", re.IGNORECASE)
_EU_REPO = "info:eu-repo/semantics/"


def read(dc: "Element", external_id: str, request: Request, notes: list[str]) -> tuple[Document, ...]:
    fields = _fields(dc)
    rights = fields["rights"]
    copyright_, said = _copyright(rights)
    publishers = _lines(fields["publisher"])
    provider = products.provider(publishers[0] if publishers else None)
    return products.documents(
        external_id,
        products.ACTIVE,
        _files(fields, _access_rights(rights, copyright_), copyright_),
        title=line(_first(fields["title"])),
        description=_first(fields["description"]),
        language=_language(_first(fields["language"])),
        keywords=_lines(fields["subject"]),
        copyright=copyright_,
        copyright_description=said,
        authors=[products.person(name) for name in _lines(fields["creator"])],
        provider=provider,
        organizations=products.organizations(provider),
        publishers=publishers,
        publisher_date=_published(fields["date"], notes),
        doi=next((found for value in fields["identifier"] if (found := doi(value))), None),
        learning_material=products.learning_material(),
        research_product=products.research_product(_type(fields["type"])),
    )


def _fields(dc: "Element") -> Mapping[str, list[str]]:
    """The texts by name of element: `dc:` is declared under more than one namespace, so that the name alone counts."""
    fields: dict[str, list[str]] = defaultdict(list)
    for element in dc.iterchildren():
        if found := xml.text(element):
            fields[xml.name(element)].append(found)
    return fields


def _first(values: Sequence[str]) -> str | None:
    return text(values[0]) if values else None


def _lines(values: Sequence[str]) -> list[str]:
    return unique(found for value in values if (found := line(value)))


def _language(written: str | None) -> str | None:
    """`nld`, `dut`, `nl-NL` and `nl` are `nl`; what is unknown stays as it was written."""
    if written is None:
        return None
    code = re.split(r"[-_]", written.lower())[0]
    return code if len(code) == 2 else LANGUAGES.get(code, written)


def doi(written: str) -> str | None:
    found = _DOI.fullmatch(written.strip())
    return found[1] if found else None


def _files(fields: Mapping[str, list[str]], access_rights: str, copyright_: str | None) -> Iterator[products.File]:
    """Every identifier that is a web address. One of doi.org leads to one of the others, or to a page about the work:
    it is a file only where there is no other. Formats belong to files only where there are as many."""
    addresses = [value for value in fields["identifier"] if _WEB.match(value)]
    addresses = [value for value in addresses if not doi(value)] or addresses
    formats = [value.lower() for value in fields["format"] if _MIME.fullmatch(value)]
    types = formats if len(formats) == len(addresses) else [None] * len(addresses)
    for value, mime_type in zip(addresses, types, strict=True):
        if address := url(value):
            yield products.File(
                url=address,
                is_link=mime_type in (None, "text/html"),
                mime_type=mime_type,
                access_rights=access_rights,
                copyright=copyright_,
            )


def _copyright(rights: Sequence[str]) -> tuple[str | None, str | None]:
    """The first licence that can be read, and the text that says it; else the first text that says anything."""
    for value in rights:
        if found := licence(value):
            return found, value
    return None, next((value for value in rights if not value.startswith(_EU_REPO)), None)


def _access_rights(rights: Sequence[str], copyright_: str | None) -> str:
    """As OpenAIRE writes it; else a licence that lets everybody copy says that everybody may read."""
    for value in rights:
        key = re.sub(r"[\s_-]", "", value.removeprefix(_EU_REPO)).lower()
        if found := ACCESS_RIGHTS.get(key):
            return found
    return "OpenAccess" if copyright_ and copyright_.startswith(("cc", "pdm")) else "ClosedAccess"


def _published(dates: Sequence[str], notes: list[str]) -> str | None:
    for value in dates:
        if found := day(value):
            return found
    notes.extend(f"the date is none: {value!r:.80}" for value in dates[:1])
    return None


def _type(types: Sequence[str]) -> str | None:
    """OpenAIRE's vocabulary where it is used, else the first one."""
    known = [value.removeprefix(_EU_REPO) for value in types if value.startswith(_EU_REPO)]
    return line(known[0]) if known else line(_first(types))


def _version(request: Request) -> str:
    return f"oai_dc/{VERSION}"


FORMAT = Format(prefix="oai_dc", root="dc", read=read, version=_version)
