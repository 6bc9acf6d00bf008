"""Text from outside is text: whatever is in it, a terminal, Markdown and JSON show it and obey nothing."""

import errno
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.markup import render

from harvester_dagster import shown_text
from harvester_dagster.cli import printing
from harvester_dagster.failures import mendable

HOSTILE = st.text(
    st.one_of(
        st.characters(),
        st.sampled_from("\x1b\x07\x9b\x7f\r\n\u2028\u202e\u2066[]()<>!*_`&\\:/"),
    )
)
CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@given(HOSTILE)
@example("\x1b]0;owned\x07")
@example("[red]x[/red]\n[/]")
def test_a_terminal_obeys_nothing(text: str) -> None:
    assert not CONTROLS.search(shown_text.one_line(text)) and "\n" not in shown_text.one_line(text)
    assert shown_text.lines(text).count("\n") == text.count("\n")
    console = Console(width=10_000, color_system=None)
    with console.capture() as shown:
        console.print(printing.text(text), soft_wrap=True, highlight=False, emoji=False)
    assert shown.get().removesuffix("\n") == shown_text.one_line(text)


@given(st.one_of(HOSTILE, st.text("\\[]/aé=#@ ")))
@example("ends in three \\\\\\")
@example("[bold\\")
def test_markup_of_ours_around_it_is_markup_and_nothing_in_it_is(text: str) -> None:
    for around in ("[red]{}[/red]", "[red]{}[/]", "{} [dim]after[/dim]", "{}{}"):
        shown = render(around.format(printing.text(text), printing.text(text)), emoji=False).plain
        line = shown_text.one_line(text)
        assert shown == render(around).plain.format(line, line)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_what_harms_nobody_is_left_alone_and_json_says_the_same(text: str) -> None:
    written = shown_text.json_text(json.dumps(text, ensure_ascii=False))
    assert json.loads(written) == text and not CONTROLS.search(written)
    if text.isprintable():
        assert shown_text.one_line(text) == text


@given(HOSTILE)
def test_markdown_has_no_link_no_html_no_emphasis(text: str) -> None:
    shown = re.sub(r"\\[\\`*_{}\[\]()#+\-.!|~>:/@]", "", shown_text.markdown(text))
    assert not re.search(r"[<>\[\]()`*_!\n]", shown)


@pytest.mark.service
def test_the_console_obeys_nothing_either() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from harvester_dagster.cli import printing as p; p.console.print('a\\x1b[31mb')"],
        capture_output=True,
        text=True,
    )
    assert said.stdout == "a\\x1b[31mb\n", said


def test_a_full_disk_is_a_sentence() -> None:
    try:
        with Path("/dev/full").open("w") as full:
            full.write("x" * 100_000)
    except OSError as error:
        assert error.errno == errno.ENOSPC
        found = mendable(error)
    assert found and "a disk is full" in str(found) and "make room" in found.mend
