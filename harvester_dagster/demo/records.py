"""The records that the sample source server offers: the recordings as they are, invented ones in today's form.

Belongs here: reading both, pointing their file URLs at this server, and changing records on demand. State is in
memory only. Does not belong here: protocols (`oai_pmh.py`, `json_api.py`) and lies.
"""

import copy
import hashlib
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, unescape

HERE = files(__package__)
LOM = "http://www.imsglobal.org/xsd/imsmd_v1p2"
_RECORD = re.compile(r"<record>\s*<header.*?</header>(.*?)</record>", re.DOTALL)
_LOCATION = re.compile(r"(<czp:location>\s*)(\S+)(\s*</czp:location>)")
_TITLE = re.compile(r"(<czp:title>\s*<czp:langstring[^>]*>)(.*?)(</czp:langstring>)", re.DOTALL)

UrlOf = Callable[[str], str]
"""A path of this server as a URL."""


class OaiRecord(NamedTuple):
    """A record of Edurep, as OAI-PMH lists it."""

    identifier: str
    spec: str
    datestamp: datetime
    content: str | None
    """What follows the header, as XML text; None: the record is deleted."""


class RepoItem(NamedTuple):
    """An item of Sharekit, as JSON:API lists it."""

    id: str
    spec: str
    modified: datetime
    attributes: Mapping[str, Any] | None
    """None: the item is deleted."""
    recorded: bool = False


class Catalogue:
    """All records by id, in the order in which the sources list them. `url_of` gives their files addresses."""

    def __init__(self, url_of: UrlOf) -> None:
        self._url_of = url_of
        self.reset()

    def reset(self) -> None:
        """Forget all changes: records and items are as they were in the beginning."""
        self._changes = 0
        self._records = {record.identifier: record for record in _oai_records(self._url_of)}
        self._items = {item.id: item for item in _repo_items(self._url_of)}

    def records(self, spec: str = "") -> list[OaiRecord]:
        """The records of an Edurep set, or of all sets, deleted ones included."""
        return [record for record in list(self._records.values()) if spec in ("", record.spec)]

    def items(self, spec: str) -> list[RepoItem]:
        """The items of a Sharekit channel, deleted ones included."""
        return [item for item in list(self._items.values()) if item.spec == spec]

    def record(self, identifier: str) -> OaiRecord | None:
        """The Edurep record of that identifier; None when there is none."""
        return self._records.get(identifier)

    def touch(self, id_: str, now: datetime) -> None:
        """Give a record another title and this date. Raises KeyError for one that is unknown or deleted."""
        self._changes += 1
        suffix = f" (changed {self._changes})"
        if (record := self._records.get(id_)) and record.content is not None:
            content = _TITLE.sub(lambda found: f"{found[1]}{found[2].rstrip()}{suffix}{found[3]}", record.content, 1)
            self._records[id_] = record._replace(datestamp=now, content=content)
        elif (item := self._items.get(id_)) and item.attributes is not None:
            changed = {"title": f"{item.attributes['title']}{suffix}", "modifiedAt": stamp(now)}
            self._items[id_] = item._replace(modified=now, attributes={**item.attributes, **changed})
        else:
            raise KeyError(id_)

    def delete(self, id_: str, now: datetime) -> None:
        """Mark a record as deleted. Raises KeyError for an unknown one."""
        if id_ in self._records:
            self._records[id_] = self._records[id_]._replace(datestamp=now, content=None)
        else:
            self._items[id_] = self._items[id_]._replace(modified=now, attributes=None)


def stamp(moment: datetime) -> str:
    """A moment as both sources write it: UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _invented() -> dict[str, Any]:
    return tomllib.loads((HERE / "catalogue.toml").read_text(encoding="utf-8"))


def _recording(name: str) -> str:
    return (HERE / "recordings" / name).read_text(encoding="utf-8")


# ------------------------------------------------------------------------------------------------ Edurep


def _oai_records(url_of: UrlOf) -> Iterator[OaiRecord]:
    invented = _invented()
    urls = invented["urls"]
    for page in ("edurep/list-records.1.xml", "edurep/list-records.2.xml"):
        for found in _RECORD.finditer(_recording(page)):
            yield OaiRecord(
                identifier=_within(found[0], "identifier"),
                spec=_within(found[0], "setSpec"),
                datestamp=datetime.fromisoformat(_within(found[0], "datestamp")),
                content=_pointed_here(found[1], urls, url_of) if found[1].strip() else None,
            )
    for entry in invented["wikiwijs"]:
        content = None if entry.get("deleted") else _lom(entry, url_of)
        yield OaiRecord(entry["id"], "wikiwijs", entry["modified"], content)


def _within(xml: str, element: str) -> str:
    found = re.search(f"<{element}>(.*?)</{element}>", xml, re.DOTALL)
    assert found, element
    return found[1].strip()


def _pointed_here(xml: str, urls: Mapping[str, str], url_of: UrlOf) -> str:
    def local(found: re.Match[str]) -> str:
        return found[1] + escape(url_of(urls[unescape(found[2])])) + found[3]

    return _LOCATION.sub(local, xml)


def _lom(entry: Mapping[str, Any], url_of: UrlOf) -> str:
    """An entry as NL-LOM, in the shape of the recordings."""
    general = [
        _named("title", _text(entry["title"], entry["language"])),
        _named("catalogentry", f"<czp:catalog>URI</czp:catalog>{_named('entry', _text(entry['id']))}"),
        _named("language", escape(entry["language"])),
        _named("description", _text(entry["description"], entry["language"])),
        *(_named("keyword", _text(keyword, entry["language"])) for keyword in entry["keywords"]),
        _named("aggregationlevel", _value("3")),
    ]
    contributions = [_contribution("author", name, entry["date"]) for name in entry["authors"][:1]]
    if len(entry["authors"]) > 1:
        contributions = [_contribution("author", "\n".join(entry["authors"]), entry["date"])]
    contributions.append(_contribution("publisher", entry["publisher"], entry["date"]))
    technical = [_named("format", mime) for _, mime in entry["files"]]
    technical += [_named("location", escape(url_of(path))) for path, _ in entry["files"]]
    educational = [
        *(_named("learningresourcetype", _value(material)) for material in entry["material"]),
        *(_named("context", _value(level)) for level in entry["levels"] if " - " not in level),
    ]
    rights = [
        _named("cost", _value("no")),
        _named("copyrightandotherrestrictions", _value(entry["copyright"])),
        _named("description", _text(_licence_url(entry["copyright"]))),
    ]
    classifications = [
        _classification("educational level", [(f"level:{level}", level) for level in entry["levels"]]),
        _classification("access rights", [(entry.get("access", "OpenAccess"), "toegang")]),
        _classification("discipline", [(value, "discipline") for value in entry["disciplines"]]),
        _classification("idea", [(value, "vakgebied") for value in entry["concepts"]]),
    ]
    body = "\n".join(
        [
            _named("general", "".join(general)),
            _named("lifecycle", "".join(contributions)),
            _named("metametadata", "<czp:metadatascheme>nl_lom_v1p0</czp:metadatascheme>"),
            _named("technical", "".join(technical)),
            _named("educational", "".join(educational)),
            _named("rights", "".join(rights)),
            "".join(classifications),
        ]
    )
    return f'\n<metadata>\n<czp:lom xmlns:czp="{LOM}">\n{body}\n</czp:lom>\n</metadata>\n'


def _named(element: str, content: str) -> str:
    return f"<czp:{element}>{content}</czp:{element}>"


def _text(text: str, language: str = "x-none") -> str:
    return f'<czp:langstring xml:lang="{language}">{escape(text)}</czp:langstring>'


def _value(value: str) -> str:
    return _named("source", _text("LOMv1.0")) + _named("value", _text(value))


def _contribution(role: str, names: str, date: str) -> str:
    cards = "".join(_named("centity", _named("vcard", _vcard(name))) for name in names.split("\n"))
    return _named("contribute", f"{_named('role', _value(role))}{cards}{_named('date', _named('datetime', date))}")


def _vcard(name: str) -> str:
    """Indented, as real servers send them."""
    escaped = escape(name.replace(";", r"\;").replace(",", r"\,"))
    lines = ["BEGIN:VCARD", "VERSION:3.0", f"FN:{escaped}", f"N:{escaped};;;;", "END:VCARD"]
    return "\n                                    ".join(lines)


def _licence_url(copyright_: str) -> str:
    found = re.fullmatch(r"cc-([a-z-]+)-(\d)(\d)", copyright_)
    if not found:
        return "Copyrighted"
    return f"https://creativecommons.org/licenses/{found[1]}/{found[2]}.{found[3]}/"


def _classification(purpose: str, taxons: list[tuple[str, str]]) -> str:
    if not taxons:
        return ""
    path = "".join(
        _named("taxon", _named("id", escape(id_)) + _named("entry", _text(entry, "nl"))) for id_, entry in taxons
    )
    source = _named("source", _text("http://purl.edustandaard.nl/begrippenkader"))
    return _named("classification", _named("purpose", _value(purpose)) + _named("taxonpath", source + path))


# ---------------------------------------------------------------------------------------------- Sharekit


def _repo_items(url_of: UrlOf) -> Iterator[RepoItem]:
    invented = _invented()
    for page in ("sharekit/repo-items.1.json", "sharekit/repo-items.2.json"):
        for recorded in json.loads(_recording(page))["data"]:
            if recorded.get("meta", {}).get("status") == "deleted":
                deleted_at = datetime.fromisoformat(recorded["meta"]["deletedAt"])
                yield RepoItem(recorded["id"], "edusources", deleted_at, None, recorded=True)
                continue
            attributes = copy.deepcopy(recorded["attributes"])
            for part in [*(attributes["files"] or []), *(attributes["links"] or [])]:
                if part["url"]:
                    part["url"] = url_of(invented["urls"][part["url"]])
            modified = datetime.fromisoformat(attributes["modifiedAt"])
            yield RepoItem(recorded["id"], "edusources", modified, attributes, recorded=True)
    for entry in invented["edusources"]:
        attributes = None if entry.get("deleted") else _attributes(entry, url_of)
        yield RepoItem(entry["id"], "edusources", entry["modified"], attributes)


def _attributes(entry: Mapping[str, Any], url_of: UrlOf) -> dict[str, Any]:
    """An entry as Sharekit sends it today."""
    terms = [{"source": source, "value": "sample"} for source in entry.get("vocabulary", [])]
    return {
        "modifiedAt": stamp(entry["modified"]),
        "title": entry["title"],
        "subtitle": entry.get("subtitle"),
        "publishers": entry["publishers"],
        "publishedAt": entry["published"],
        "place": None,
        "abstract": entry["abstract"],
        "keywords": entry["keywords"],
        "authors": [_author(number, name) for number, name in enumerate(entry["authors"])] or None,
        "owner": {"id": _uuid(entry["owner"]), "name": entry["owner"], "type": "organisation"},
        "institutes": None,
        "files": [_file(part, entry, url_of) for part in entry.get("files", [])] or None,
        "links": [_link(part, url_of) for part in entry.get("links", [])] or None,
        "language": entry["language"],
        "termsOfUse": entry["terms"],
        "educationalLevels": [
            {"source": "http://purl.edustandaard.nl/vdex_context_czp_20060628.xml", "value": level}
            for level in entry["levels"]
        ],
        "typeResearchObject": None,
        "themesResearchObject": None,
        "typesLearningMaterial": entry["material"],
        "themesLearningMaterial": entry["themes"],
        "hasParts": [],
        "partOf": [],
        "technicalFormat": entry.get("technical"),
        "aggregationlevel": "3",
        "vocabularies": {"vocabularyZiezo": [], "vocabularySample": terms},
        "doi": None,
        "consortium": entry.get("consortium"),
    }


def _author(number: int, name: str) -> dict[str, Any]:
    address = re.sub(r"\W+", ".", name.lower()) + "@example.org"
    person = {"id": _uuid(name), "name": name, "email": address, "dai": None, "orcid": None, "isni": None}
    return {"person": person, "role": "Docent", "external": str(number % 2)}


def _file(part: Mapping[str, str], entry: Mapping[str, Any], url_of: UrlOf) -> dict[str, Any]:
    return {
        "fileName": part["name"],
        "url": url_of(part["path"]),
        "eTag": f'"{hashlib.md5(part["path"].encode(), usedforsecurity=False).hexdigest()}"',
        "accessRight": part.get("access", "OpenAccess"),
        "usageRight": part.get("usage", entry["terms"]),
        "important": part.get("important", "0"),
        "resourceMimeType": part["mime"],
    }


def _link(part: Mapping[str, str], url_of: UrlOf) -> dict[str, Any]:
    return {
        "urlName": part["name"],
        "url": url_of(part["path"]),
        "important": part.get("important", "0"),
        "accessRight": "OpenAccess",
    }


def _uuid(name: str) -> str:
    digest = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return "-".join([digest[:8], digest[8:12], digest[12:16], digest[16:20], digest[20:]])
