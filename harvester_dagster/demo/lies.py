"""How the sample source server misbehaves when it is told to: one lie at a time, always of one source.

Belongs here: the table of lies, and those that twist a finished answer on its way out. Does not belong here: lies
about the content of a listing; each protocol tells its own (`served_edurep.py`, `served_sharekit.py`).
"""

import threading
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from harvester_dagster.demo.case_table import CASES
from harvester_dagster.failures import HarvesterError

Source = Literal["edurep", "sharekit"]
CASE: Final = "case"
"""Before the name of a case, the name of the source that plays it."""
EVERY_CASE: Final = "cases"
"""All of them in one night."""
SOURCES: Final[tuple[Source, ...]] = ("edurep", "sharekit")
SLOW_SECONDS: Final = 2.0


class SampleAnswer(NamedTuple):
    """What goes back over the wire, and how: at once and whole unless a lie says otherwise."""

    body: bytes = b""
    status: int = 200
    content_type: str = "text/html; charset=utf-8"
    headers: Mapping[str, str] = {}
    wait: float = 0
    """Seconds of silence before the first byte."""
    zeros: int = 0
    """So many zero bytes follow the body, streamed."""
    cut_at: int | None = None
    """The connection is closed after so many bytes of the body; 0: before anything at all, status line included."""


class Lie(NamedTuple):
    """A way to misbehave, and what people are told about it."""

    source: Source
    """Which source tells it, unless asked for as `source:lie`."""
    bound: bool
    """Only that source can tell it."""
    says: str


LIES: Final[Mapping[str, Lie]] = {
    "half": Lie("sharekit", False, "every set has only the first half of its records, as if that were all of it"),
    "empty": Lie("sharekit", False, "a well-formed answer without any record"),
    "dead": Lie("sharekit", False, "every connection is closed without an answer"),
    "html": Lie("sharekit", False, "an error page in HTML, with status 200"),
    "mess": Lie("sharekit", False, "a third of the records cannot be extracted, and some belong to nobody"),
    "slow": Lie("sharekit", False, f"every answer takes {SLOW_SECONDS:.0f} s longer"),
    "503": Lie("sharekit", False, "the first request gets 503 with Retry-After: 1, then all is well"),
    "429": Lie("edurep", False, "every page is refused once with 429 and Retry-After: 1"),
    "cut": Lie("sharekit", False, "the connection of the first answer is cut in the middle, then all is well"),
    "broken": Lie("edurep", False, "XML (or JSON) that breaks in the middle of a page"),
    "blocked": Lie("edurep", False, "status 200 and an empty body, as for a blocked address"),
    "loop": Lie("edurep", True, "the resumption token repeats for ever"),
    "badtoken": Lie("edurep", True, "the first resumption token of each set has expired when it is used"),
    "granularity": Lie("edurep", True, "days only: Identify says so, and a `from` with a time is a badArgument"),
    "mad-delete": Lie("edurep", True, "any harvest, also a delta, reports all records but one of a set as deleted"),
}
UNFILTERED: Final = frozenset({"half", "mess", "cut", "broken", "loop", "badtoken"})
"""These show in records, so the lying source ignores since when it was asked."""


class Telling(NamedTuple):
    """The lie that is told, and the source that tells it."""

    name: str
    source: str
    """One of `SOURCES`; empty for cases, which are sources of their own (`case-NAME`)."""
    cases: tuple[str, ...] = ()
    """Those that are played, each by a source of the field beside the sample sources."""

    @property
    def says(self) -> str:
        """What the lying source does."""
        return LIES[self.name].says


class UnknownLieError(HarvesterError):
    """No such lie; the message lists those that there are."""


def telling(text: str | None) -> Telling | None:
    """What a name says: `half`, or `edurep:half` for the other source; `none` or nothing is the truth. Raises
    UnknownLieError."""
    if text in (None, "", "none"):
        return None
    if text in CASES:
        return Telling(text, "", (text,))
    if text == EVERY_CASE:
        return Telling(text, "", tuple(CASES))
    prefix, _, name = text.rpartition(":")
    lie = LIES.get(name)
    if lie is None or (prefix and prefix not in SOURCES) or (lie.bound and prefix not in ("", lie.source)):
        raise UnknownLieError(
            f"{text!r} is none of the lies",
            f"there are: {', '.join(LIES)} ({explain()}), and the cases {', '.join(CASES)}; {EVERY_CASE}: all of these",
        )
    source = next((known for known in SOURCES if known == prefix), lie.source)
    return Telling(name, source)


def explain() -> str:
    """Which source tells a lie, for messages and help."""
    return "told by the source in brackets; source:lie for the other one, except " + ", ".join(
        name for name, lie in LIES.items() if lie.bound
    )


def help_text() -> str:
    """Every lie and every case in a line, for `--help`."""
    lines = [f"  {name:12} [{lie.source}] {lie.says}" for name, lie in LIES.items()]
    cases = [f"  {name:13} {case.does}: {case.seen}" for name, case in CASES.items()]
    head = f"cases, at /cases/NAME ({EVERY_CASE}: all of them):"
    return "\n".join([f"lies ({explain()}):", "  none         the truth", *lines, head, *cases])


def listed() -> str:
    """The same as Markdown."""
    lies = [f"* `{name}` ({lie.source}): {lie.says}" for name, lie in LIES.items()]
    cases = [f"* `{name}`: {case.does}. {case.seen[0].upper()}{case.seen[1:]}." for name, case in CASES.items()]
    return "\n".join(
        [
            "Lies of the sample sources (`edurep:half`, `sharekit:429`: by the other one):",
            "",
            *lies,
            "",
            f"Cases, each a source of its own beside them, and what is seen of it (`{EVERY_CASE}`: all in one night):",
            "",
            *cases,
        ]
    )


class Liar:
    """Which lie is told now, and which of its once-only parts were told already. One object serves all threads."""

    def __init__(self, lie: str | None = None) -> None:
        self._lock = threading.Lock()
        self.tell(lie)

    def tell(self, lie: str | None) -> None:
        """Tell this lie from now on, from its beginning; None: the truth. Raises UnknownLieError."""
        now = telling(lie)
        with self._lock:
            self._telling = now
            self._told: set[str] = set()

    def of(self, source: Source) -> str:
        """The lie that this source tells now, or an empty string."""
        now = self._telling
        return now.name if now and now.source == source else ""

    def once(self, what: str) -> bool:
        """True the first time that it is asked for `what`, for each lie told."""
        with self._lock:
            first = what not in self._told
            self._told.add(what)
            return first

    def twist(self, answer: SampleAnswer, source: Source, url: str) -> SampleAnswer:
        """The answer as it leaves the server: as it is, or as the lie has it."""
        match self.of(source):
            case "dead":
                return SampleAnswer(cut_at=0)
            case "html":
                return SampleAnswer(b"<html><body><h1>Service temporarily unavailable</h1></body></html>")
            case "blocked":
                return SampleAnswer(content_type=answer.content_type)
            case "slow":
                return answer._replace(wait=SLOW_SECONDS)
            case "broken":
                return answer._replace(body=answer.body[: len(answer.body) * 2 // 3])
            case "cut" if self.once("cut"):
                return answer._replace(cut_at=max(1, len(answer.body) // 2))
            case "503" if self.once("503"):
                return SampleAnswer(b"busy", 503, headers={"Retry-After": "1"})
            case "429" if self.once(url):
                return SampleAnswer(b"too many requests", 429, headers={"Retry-After": "1"})
            case _:
                return answer
