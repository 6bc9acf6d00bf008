"""OAI-PMH 2.0 as Edurep speaks it, over the catalogue's records: verbs, windows, resumption tokens, error codes.

Belongs here: the protocol, and the lies about what a listing holds. Does not belong here: the wire (`server.py`).
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from harvester_dagster.demo.lies import UNFILTERED, Liar, SampleAnswer
from harvester_dagster.demo.records import LOM, Catalogue, OaiRecord, stamp

PAGE_SIZE: Final = 9  # as in the recordings
SETS: Final = {"surfsharekit": "SURFsharekit", "wikiwijs": "Wikiwijs"}
FORMATS: Final = {
    "lom": ("http://www.imsglobal.org/xsd/imsmd_v1p2p4.xsd", LOM),
    "oai_dc": ("http://www.openarchives.org/OAI/2.0/oai_dc.xsd", "http://www.openarchives.org/OAI/2.0/oai_dc/"),
}
_ARGUMENTS: Final[Mapping[str, tuple[set[str], set[str]]]] = {  # verb: required, allowed
    "Identify": (set(), set()),
    "ListMetadataFormats": (set(), {"identifier"}),
    "ListSets": (set(), {"resumptionToken"}),
    "ListRecords": ({"metadataPrefix"}, {"metadataPrefix", "set", "from", "until"}),
    "ListIdentifiers": ({"metadataPrefix"}, {"metadataPrefix", "set", "from", "until"}),
    "GetRecord": ({"metadataPrefix", "identifier"}, {"metadataPrefix", "identifier"}),
}
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
_SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_TOKEN = re.compile(r"c(?P<offset>\d+)\|u(?P<until>[^|]*)\|f(?P<from>[^|]*)\|m(?P<prefix>[^|]*)\|s(?P<spec>[^|]*)")


class OaiError(Exception):
    """An error of the protocol; `code` is its own name for it, such as `badArgument`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Listing(NamedTuple):
    """What a list request asks for, and where in it we are."""

    prefix: str
    spec: str
    from_: str
    until: str
    offset: int = 0

    @property
    def token(self) -> str:
        """The resumption token that leads here, made as Edurep makes them."""
        return f"c{self.offset}|u{self.until}|f{self.from_}|m{self.prefix}|s{self.spec}"


def answer(
    catalogue: Catalogue, arguments: Mapping[str, Sequence[str]], liar: Liar, base: str, now: datetime
) -> SampleAnswer:
    """The answer to a request of OAI-PMH with these arguments, at a repository whose address is `base`."""
    verb = arguments.get("verb", [""])[0]
    try:
        single = _checked(verb, arguments)
        body = _verb(verb, single, catalogue, liar, base, now)
        attributes = "".join(f" {name}={quoteattr(value)}" for name, value in single.items())
    except OaiError as error:
        body, attributes = f'<error code="{error.code}">{escape(str(error))}</error>', ""
    text = f"""<?xml version="1.0" encoding="UTF-8"?>
<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
         xsi:schemaLocation="http://www.openarchives.org/OAI/2.0/ http://www.openarchives.org/OAI/2.0/OAI-PMH.xsd">
    <responseDate>{stamp(now)}</responseDate>
    <request{attributes}>{escape(base)}</request>
    {body}
</OAI-PMH>
"""
    return SampleAnswer(text.encode(), content_type="text/xml; charset=utf-8")


def _checked(verb: str, arguments: Mapping[str, Sequence[str]]) -> dict[str, str]:
    if verb not in _ARGUMENTS or len(arguments["verb"]) > 1:
        raise OaiError("badVerb", f"{verb!r} is not one of {', '.join(_ARGUMENTS)}")
    if repeated := [name for name, values in arguments.items() if len(values) > 1]:
        raise OaiError("badArgument", f"given more than once: {', '.join(repeated)}")
    single = {name: values[0] for name, values in arguments.items()}
    given = single.keys() - {"verb"}
    required, allowed = _ARGUMENTS[verb]
    if "resumptionToken" in given and verb.startswith("List") and verb != "ListMetadataFormats":
        required, allowed = set(), {"resumptionToken"}
    if wrong := given - allowed:
        raise OaiError("badArgument", f"not allowed here: {', '.join(sorted(wrong))}")
    if missing := required - given:
        raise OaiError("badArgument", f"missing: {', '.join(sorted(missing))}")
    if "metadataPrefix" in single and single["metadataPrefix"] not in FORMATS:
        raise OaiError("cannotDisseminateFormat", f"one of {', '.join(FORMATS)}")
    return single


def _verb(verb: str, single: Mapping[str, str], catalogue: Catalogue, liar: Liar, base: str, now: datetime) -> str:
    match verb:
        case "Identify":
            return _identify(liar, base)
        case "ListMetadataFormats":
            if "identifier" in single:
                _known(catalogue, single["identifier"])
            return _formats()
        case "ListSets":
            if "resumptionToken" in single:
                raise OaiError("badResumptionToken", "the list of sets is complete on one page")
            return _sets()
        case "GetRecord":
            record = _known(catalogue, single["identifier"])
            return f"<GetRecord>{_record(record, single['metadataPrefix'], False)}</GetRecord>"
        case _:
            return _list(verb, _listing(single, liar), catalogue, liar, now, "resumptionToken" in single)


def _identify(liar: Liar, base: str) -> str:
    granularity = "YYYY-MM-DD" if liar.of("edurep") == "granularity" else "YYYY-MM-DDThh:mm:ssZ"
    return f"""<Identify>
        <repositoryName>Sample of Edurep</repositoryName>
        <baseURL>{escape(base)}</baseURL>
        <protocolVersion>2.0</protocolVersion>
        <adminEmail>sample@example.org</adminEmail>
        <earliestDatestamp>{"2000-01-01T00:00:00Z"[: len(granularity)]}</earliestDatestamp>
        <deletedRecord>persistent</deletedRecord>
        <granularity>{granularity}</granularity>
    </Identify>"""


def _formats() -> str:
    formats = "".join(
        f"<metadataFormat><metadataPrefix>{prefix}</metadataPrefix><schema>{schema}</schema>"
        f"<metadataNamespace>{namespace}</metadataNamespace></metadataFormat>"
        for prefix, (schema, namespace) in FORMATS.items()
    )
    return f"<ListMetadataFormats>{formats}</ListMetadataFormats>"


def _sets() -> str:
    sets = "".join(f"<set><setSpec>{spec}</setSpec><setName>{name}</setName></set>" for spec, name in SETS.items())
    return f"<ListSets>{sets}</ListSets>"


def _known(catalogue: Catalogue, identifier: str) -> OaiRecord:
    record = catalogue.record(identifier)
    if record is None:
        raise OaiError("idDoesNotExist", f"{identifier} is not known here")
    return record


def _listing(single: Mapping[str, str], liar: Liar) -> Listing:
    lie = liar.of("edurep")
    if "resumptionToken" in single:
        found = _TOKEN.fullmatch(single["resumptionToken"])
        if not found or found["prefix"] not in FORMATS:
            raise OaiError("badResumptionToken", "not a token of this server")
        if lie == "badtoken" and liar.once(found["spec"]):
            raise OaiError("badResumptionToken", "the token has expired")
        offset = int(found["offset"])
        return Listing(found["prefix"], found["spec"], found["from"], found["until"], offset)
    from_, until = single.get("from", ""), single.get("until", "")
    forms = (_DAY,) if lie == "granularity" else (_DAY, _SECOND)
    if not any(all(form.fullmatch(date) for date in (from_, until) if date) for form in forms):
        raise OaiError("badArgument", "from and until: dates of one of the granularities of this server")
    if from_ and until and _moment(from_) > _moment(until):
        raise OaiError("badArgument", "from is later than until")
    if lie in UNFILTERED:
        from_ = until = ""
    return Listing(single["metadataPrefix"], single.get("set", ""), from_, until)


def _moment(date: str, end_of_day: bool = False) -> datetime:
    try:
        moment = datetime.fromisoformat(date).replace(tzinfo=UTC)
    except ValueError as error:
        raise OaiError("badArgument", f"{date}: no such date") from error
    return moment + timedelta(days=1, seconds=-1) if end_of_day and len(date) == 10 else moment


def _list(verb: str, listing: Listing, catalogue: Catalogue, liar: Liar, now: datetime, resumed: bool) -> str:
    lie = liar.of("edurep")
    records = [record for record in _told(catalogue.records(listing.spec), lie, now) if _inside(record, listing)]
    page = records[listing.offset : listing.offset + PAGE_SIZE]
    if not page:
        if resumed:
            raise OaiError("badResumptionToken", "nothing comes after that")
        raise OaiError("noRecordsMatch", "no record in this set and window")
    days = lie == "granularity"
    if verb == "ListIdentifiers":
        written = [_header(record, days) for record in page]
    elif lie == "mess":
        written = [_messy(record, number) for number, record in enumerate(page, listing.offset)] + [_NOBODY]
    else:
        written = [_record(record, listing.prefix, days) for record in page]
    after = listing.offset + PAGE_SIZE
    if lie == "loop":
        token = f"<resumptionToken>{escape(listing._replace(offset=PAGE_SIZE).token)}</resumptionToken>"
    elif after < len(records):
        token = f"<resumptionToken>{escape(listing._replace(offset=after).token)}</resumptionToken>"
    else:
        token = "<resumptionToken/>" if resumed else ""
    return f"<{verb}>{''.join(written)}\n{token}</{verb}>"


def _told(records: list[OaiRecord], lie: str, now: datetime) -> list[OaiRecord]:
    if lie == "empty":
        return []
    if lie == "half":
        return records[: len(records) // 2]
    if lie == "mad-delete":
        spared: dict[str, str] = {}
        for record in records:
            if record.content is not None:
                spared.setdefault(record.spec, record.identifier)
        return [
            record if spared.get(record.spec) == record.identifier else record._replace(datestamp=now, content=None)
            for record in records
        ]
    return records


def _inside(record: OaiRecord, listing: Listing) -> bool:
    if listing.from_ and record.datestamp < _moment(listing.from_):
        return False
    return not (listing.until and record.datestamp > _moment(listing.until, end_of_day=True))


def _header(record: OaiRecord, days: bool) -> str:
    status = ' status="deleted"' if record.content is None else ""
    return f"""
            <header{status}>
                <identifier>{escape(record.identifier)}</identifier>
                <datestamp>{stamp(record.datestamp)[: 10 if days else None]}</datestamp>
                <setSpec>{record.spec}</setSpec>
            </header>"""


def _record(record: OaiRecord, prefix: str, days: bool) -> str:
    content = record.content or ""
    if content and prefix == "oai_dc":
        content = _dublin_core(content)
    return f"\n        <record>{_header(record, days)}{content}\n        </record>"


_NOBODY: Final = "<record><header><datestamp>yesterday</datestamp></header><metadata/></record>"


def _messy(record: OaiRecord, number: int) -> str:
    """Well-formed XML, and yet no record: every third one, each in another way."""
    if number % 3:
        return _record(record, "lom", False)
    header = _header(record, False)
    match number // 3 % 3:
        case 0:
            return f"<record>{header}</record>"
        case 1:
            return f"<record>{header}<metadata><notes>moved to the new system</notes></metadata></record>"
        case _:
            return f"<record>{header}<metadata/></record>"


def _dublin_core(content: str) -> str:
    """Unqualified Dublin Core of a LOM record: what any repository offers."""
    lom = ET.fromstring(f"<r>{content}</r>").find(f"metadata/{{{LOM}}}lom")
    assert lom is not None
    ns = {"l": LOM}
    texts = {
        "title": lom.findall("l:general/l:title/l:langstring", ns)[:1],
        "subject": lom.findall("l:general/l:keyword/l:langstring", ns),
        "description": lom.findall("l:general/l:description/l:langstring", ns)[:1],
        "language": lom.findall("l:general/l:language", ns)[:1],
        "identifier": lom.findall("l:technical/l:location", ns),
        "format": lom.findall("l:technical/l:format", ns),
        "rights": lom.findall("l:rights/l:copyrightandotherrestrictions/l:value/l:langstring", ns)[:1],
    }
    values = [(name, element.text or "") for name, elements in texts.items() for element in elements]
    for contribution in lom.findall("l:lifecycle/l:contribute", ns):
        role = (contribution.findtext("l:role/l:value/l:langstring", "", ns)).strip()
        kind = {"author": "creator", "publisher": "publisher"}.get(role, "contributor")
        cards = contribution.findall("l:centity/l:vcard", ns)
        values += [(kind, name) for card in cards for name in re.findall(r"FN:(.*)", card.text or "")]
        if role == "publisher" and (date := contribution.findtext("l:date/l:datetime", "", ns)):
            values.append(("date", date))
    elements = "".join(f"<dc:{name}>{escape(' '.join(value.split()))}</dc:{name}>" for name, value in values)
    return (
        '\n<metadata><oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/">{elements}</oai_dc:dc></metadata>'
    )
