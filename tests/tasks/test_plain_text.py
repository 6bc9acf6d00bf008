"""Texts in code pages of DOS become UTF-8; everything else stays as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.tasks.plain_text import in_utf8
from harvester_dagster.tasks.task import Context
from harvester_dagster.tasks.tika import TASK
from tests.tasks.content_site import Site, item, outcomes, with_tasks

RUSSIAN = (
    "Река течёт через город, и каждую весну вода поднимается выше берегов. Жители строят дамбы, а инженеры измеряют "
    "уровень воды. "
)
DUTCH = "De ingenieurs meten elke dag het water. Eén brug, vele ideeën over coördinatie: de crèche en de enquête. "
GERMAN = "Die Flüsse führen über weite Strecken. Häuser und Brücken müssen geschützt sein, größere Dämme wären nötig. "
POLISH = "Rzeki płyną przez miasto, a każdą wiosną woda podnosi się wyżej. Mieszkańcy budują nowe wały. "
QUOTED = "It\u2019s \u201cquoted\u201d \u2013 the caf\u00e9\u2019s menu\u2026 and more text that goes on for a while. "


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (RUSSIAN, "cp866"),
        (RUSSIAN[:100], "cp866"),
        (DUTCH, "cp850"),
        (DUTCH, "cp437"),
        (GERMAN, "cp850"),
        (GERMAN, "cp437"),
        (POLISH, "cp852"),
        ("\u250c\u2500\u2500\u2500\u2500\u2510\n\u2502 Menu \u2502\nAn old text from a disk.\n", "cp437"),
    ],
)
def test_a_text_of_dos_is_read(text: str, encoding: str) -> None:
    written = (text * 4).encode(encoding, "replace")
    assert in_utf8(written)[0].decode() == written.decode(encoding)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"plain",
        RUSSIAN.encode(),
        (RUSSIAN * 4).encode("cp1251"),
        (DUTCH * 4).encode("cp1252"),
        (QUOTED * 4).encode("cp1252"),
        b"<html>" + DUTCH.encode("cp850"),
        b"%PDF-1.4 " + DUTCH.encode("cp850"),
        RUSSIAN.encode("utf-16"),
        b"\x00\x01\x82",
    ],
)
def test_anything_else_stays_as_it_is(body: bytes) -> None:
    assert in_utf8(body) == (body, None)


@given(st.binary())
def test_any_bytes_are_text_in_utf8_or_stay(body: bytes) -> None:
    found, encoding = in_utf8(body)
    assert found.decode() if encoding else found == body


def test_tika_reads_it(site: Site, world: Context, tika_url: str) -> None:
    url = site.add("old.txt", (RUSSIAN * 4)[:600].encode("cp866"), "text/plain")
    found = outcomes(TASK, [item(url)], with_tasks(world, tika_url=tika_url))["old.txt"]
    assert found.kind == "success" and found.data
    assert found.data["texts"][0]["text"].startswith("Река течёт через город")
