"""LOM in the binding of IEEE: as its schema has it, and as a server writes it whose children lie in the namespace of
OAI-PMH. Other bindings are unreadable, never empty products."""

from collections.abc import Mapping
from typing import Any

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.sources.kind import Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS
from tests.sources.misbehaving import oai_list

OAI = KINDS["oai-pmh"]
LTSC = "http://ltsc.ieee.org/xsd/LOM"
INSIDE = """<general>
  <identifier><catalog>DOI</catalog><entry>https://doi.org/10.1234/knee.{n}</entry></identifier>
  <identifier><catalog>URI</catalog><entry>https://anatomy.example.org/node/{n}</entry></identifier>
  <title><string language="en"/><string language="en">Knee joint {n}</string></title><language>x-none</language>
  <description><string language="en">A model.</string></description>
  <keyword><string language="x-none"/></keyword><keyword><string language="la">Genus</string></keyword></general>
<{life}><contribute><role><source>LOMv1.0</source><value>Author</value></role>
  <entity>BEGIN:VCARD - VERSION:3.0 -
  FN: Ann Bakel, MSc
  END:VCARD</entity>
  <date><{when}>2021-03-04T10:00:00+01:00</{when}><description>
    <string language="en">Created</string></description></date>
</contribute><contribute><role><source>LOMv1.0</source><value>author</value></role>
  <entity>BEGIN:VCARD
VERSION:3.0
FN:Bo Okker
END:VCARD</entity></contribute></{life}>
<technical>{technical}</technical>
<educational><learningResourceType><source>LOMv1.0</source><value>figure</value></learningResourceType></educational>
<rights><copyrightAndOtherRestrictions><source>LOMv1.0</source><value>{value}</value></copyrightAndOtherRestrictions>
  <description><string language="x-none">{rights}</string></description></rights>
<relation><kind><source>LOMv1.0</source><value>ispartof</value></kind><resource><identifier><catalog>URI</catalog>
  <entry>https://anatomy.example.org/leg</entry></identifier></resource></relation>
<relation><kind><source>LOMv1.0</source><value>hasPart</value></kind><resource><identifier><catalog>URI</catalog>
  <entry>https://anatomy.example.org/menisk</entry></identifier></resource></relation>
<classification><purpose><source>LOMv1.0</source><value>discipline</value></purpose><taxonPath><source>
  <string>x</string></source><taxon><id>d1</id><entry><string>Anatomy</string></entry></taxon></taxonPath></classification>"""
CC_BY = "https://creativecommons.org/licenses/by/4.0/"
PLACED = "<format>image/png</format><location>https://anatomy.example.org/files/{n}.png</location>"


def record(n: int = 1, *, own: bool = True, technical: str = PLACED, value: str = "yes", rights: str = CC_BY) -> str:
    """`own`: children in the namespace of the root; else only the root is in it, and names are written in two ways."""
    names = {"life": "lifeCycle", "when": "dateTime"} if own else {"life": "lifecycle", "when": "datetime"}
    inside = INSIDE.format(n=n, technical=technical.format(n=n), value=value, rights=rights, **names)
    start = f'<lom xmlns="{LTSC}">' if own else f'<l:lom xmlns:l="{LTSC}">'
    return in_metadata(n, f"{start}{inside}</{'lom' if own else 'l:lom'}>")


def in_metadata(n: int, metadata: str) -> str:
    return f"<record><header><identifier>oai:{n}</identifier></header><metadata>{metadata}</metadata></record>"


def extracted(*records: str, **settings: Any) -> list[Record | Unreadable]:
    page = oai_list(*records).encode()
    asked = Request(
        SetSettings(kind="oai-pmh", url="http://example.org/oai", metadata_prefix="oai_lom", format="lom", **settings),
        "s",
        None,
    )
    return list(OAI.extract(page, range(len(OAI.cut(page))), asked))


def product(found: Record | Unreadable) -> Mapping[str, Any]:
    assert isinstance(found, Record)
    return found.documents[0].properties


@pytest.mark.parametrize("own", [True, False])
def test_a_page_of_ten_is_ten_products(own: bool) -> None:
    found = extracted(*(record(n, own=own) for n in range(10)), default_educational_level="HBO")
    for n, one in enumerate(found):
        properties = product(one)
        assert isinstance(one, Record) and one.documents[0].state == "active" and one.notes == ()
        assert properties["title"] == f"Knee joint {n}"
        assert [author["name"] for author in properties["authors"]] == ["Ann Bakel", "Bo Okker"]
        assert properties["files"] == [f"https://anatomy.example.org/files/{n}.png"]


@pytest.mark.parametrize("own", [True, False])
def test_each_field(own: bool) -> None:
    (found,) = extracted(record(own=own))
    properties = product(found)
    wanted = ("doi", "description", "language", "keywords", "copyright", "publisher_date", "is_part_of", "has_parts")
    assert {key: properties[key] for key in wanted} == {
        "doi": "10.1234/knee.1",
        "description": "A model.",
        "language": None,
        "keywords": ["Genus"],
        "copyright": "cc-by-40",
        "publisher_date": "2021-03-04",
        "is_part_of": ["https://anatomy.example.org/leg"],
        "has_parts": ["https://anatomy.example.org/menisk"],
    }
    assert properties["provider"]["name"] is None
    assert properties["learning_material"]["material_types"] == ["figure"]
    assert properties["learning_material"]["disciplines"] == ["d1"]
    assert isinstance(found, Record)
    assert {key: found.documents[1].properties[key] for key in ("mime_type", "title", "access_rights", "is_link")} == {
        "mime_type": "image/png",
        "title": "Knee joint 1",
        "access_rights": "OpenAccess",
        "is_link": False,
    }


@pytest.mark.parametrize(
    ("value", "rights", "expected"),
    [
        ("CC Attribution-NonCommercial 4.0 International license", "", ("cc-by-nc-40", "OpenAccess")),
        ("yes", "Ask the author", ("yes", "RestrictedAccess")),
        ("", "", (None, "ClosedAccess")),
        ("no", "", ("no", "ClosedAccess")),
    ],
)
def test_a_licence_in_words_is_a_code_and_never_a_sentence(value: str, rights: str, expected: tuple[str, str]) -> None:
    (found,) = extracted(record(value=value, rights=rights))
    assert isinstance(found, Record)
    assert (product(found)["copyright"], found.documents[1].properties["access_rights"]) == expected


def test_without_a_place_the_address_that_identifies_it_is_a_link() -> None:
    (found,) = extracted(record(technical=""))
    assert isinstance(found, Record)
    assert product(found)["files"] == ["https://anatomy.example.org/node/1"]
    assert found.documents[1].properties["is_link"] is True


def test_common_cartridge_is_read_too() -> None:
    inside = "<general><title><string>A course</string></title></general>"
    namespace = "http://ltsc.ieee.org/xsd/imsccv1p3/LOM/manifest"
    (found,) = extracted(in_metadata(1, f'<lom xmlns="{namespace}">{inside}</lom>'))
    assert product(found)["title"] == "A course"


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ('<l:lom xmlns:l="http://www.imsglobal.org/xsd/imsmd_rootv1p2p1"><l:general/></l:lom>', "imsmd_rootv1p2p1"),
        ("<lom><general/></lom>", "http://www.openarchives.org/OAI/2.0/"),
        ('<lom xmlns=""><general/></lom>', "namespace"),
        (f'<lom xmlns="{LTSC}"><resource>1</resource></lom>', "resource"),
    ],
)
def test_another_binding_is_unreadable_and_says_its_namespace(metadata: str, said: str) -> None:
    (found,) = extracted(in_metadata(1, metadata))
    assert isinstance(found, Unreadable) and found.external_id == "oai:1"
    assert said in found.reason
