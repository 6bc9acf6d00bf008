"""A repository that speaks OAI-PMH, page by page, as a test tells it: what it holds, where it breaks.

Belongs here: what is served, and how to break it in one line. Its tokens are numbers of pages, which hold for a season.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from tests.sets.world import NIGHT
from tests.sources.misbehaving import (
    OAI_HEAD,
    Asked,
    Reply,
    deleted_record,
    identify,
    oai_errors,
    oai_identifiers,
    oai_list,
    server,
)


class PagedSource:
    """`titles` by identifier, None for a deleted record; changed ones are those of `changed` where that is set."""

    def __init__(self, *names: str, page_size: int = 2) -> None:
        self.url = ""
        self.now: datetime = NIGHT
        self.titles: dict[str, str | None] = {name: f"Title of {name}" for name in names}
        self.changed: list[str] | None = None
        """What a list with `from` holds; None: everything."""
        self.page_size = page_size
        self.announced: int | None = None
        self.order: list[int] | None = None
        """Which pages come, in which order, as if each were the next; None: all, in theirs."""
        self.broken: dict[int, Reply] = {}
        """Replies in place of the pages with these numbers, from 0."""
        self.kill_at: tuple[int, int] | None = None
        """The number of the page that kills whoever asks for it, and the process."""
        self.kill_for: tuple[str, int] | None = None
        """The same for the record that is asked for by itself."""
        self.listed: list[str] | None = None
        """What a list of identifiers holds; None: all."""
        self.datestamps: dict[str, str] = {}
        self.sets: tuple[str, ...] = ("one",)
        """Those that each record says it is of."""
        self.broken_singles: dict[str, Reply | str] = {}
        self.season = 0
        """Tokens of another one are refused."""
        self.spends = False
        """Whether a token is refused once it was followed to a page."""
        self._spent: set[str] = set()
        self.asked: list[str] = []
        """Of each list's page its number, and `since` where it was asked for with `from`."""

    def answer(self, asked: Asked) -> Reply | str:
        verb = asked.params["verb"]
        if verb == "Identify":
            return identify("YYYY-MM-DDThh:mm:ssZ")
        if verb == "GetRecord":
            return self.single(asked.params["identifier"])
        season, number, since = self.season, 0, "from" in asked.params
        token = asked.params.get("resumptionToken")
        if token:
            season, number = map(int, token.split("/")[:2])
            since = token.endswith("/1")
        listing = verb == "ListIdentifiers"
        self.asked.append(f"{'ids ' * listing}{number}{' since' if since else ''}")
        if season != self.season or token in self._spent:
            return oai_errors(("badResumptionToken", "no longer"))
        if self.kill_at and self.kill_at[0] == number:
            os.kill(self.kill_at[1], signal.SIGKILL)
        if number in self.broken:
            return self.broken[number]
        if self.spends and token:
            self._spent.add(token)
        names = self.changed if since and self.changed is not None else list(self.titles)
        if listing and self.listed is not None:
            names = self.listed
        order = range(-(-len(names) // self.page_size)) if self.order is None else self.order
        if number >= len(order):
            return oai_errors(("noRecordsMatch", ""))
        shown = names[order[number] * self.page_size :][: self.page_size]
        more = number + 1 < len(order)
        write = oai_identifiers if listing else oai_list
        lines = map(self.header if listing else self.record, shown)
        page = write(*lines, token=f"{season}/{number + 1}/{int(since)}" if more else "")
        if self.announced is None:
            return page
        return page.replace("<resumptionToken>", f'<resumptionToken completeListSize="{self.announced}">')

    def record(self, name: str) -> str:
        title = self.titles[name]
        if title is None:
            return deleted_record(name)
        return (
            f"<record>{self.header(name)}"
            '<metadata><oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/"'
            f' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>{title}</dc:title></oai_dc:dc></metadata></record>'
        )

    def header(self, name: str) -> str:
        status = ' status="deleted"' if self.titles.get(name) is None else ""
        datestamp = self.datestamps.get(name, "2026-01-01T00:00:00Z")
        sets = "".join(f"<setSpec>{spec}</setSpec>" for spec in self.sets)
        return f"<header{status}><identifier>{name}</identifier><datestamp>{datestamp}</datestamp>{sets}</header>"

    def single(self, name: str) -> Reply | str:
        self.asked.append(f"one {name}")
        if self.kill_for and self.kill_for[0] == name:
            os.kill(self.kill_for[1], signal.SIGKILL)
        if name in self.broken_singles:
            return self.broken_singles[name]
        if name not in self.titles:
            return oai_errors(("idDoesNotExist", "unknown here"))
        return f"{OAI_HEAD}<GetRecord>{self.record(name)}</GetRecord></OAI-PMH>"

    def took(self) -> list[str]:
        """What was asked since this was asked last."""
        asked, self.asked = self.asked, []
        return asked


@contextmanager
def paged_source(*names: str, page_size: int = 2) -> Iterator[PagedSource]:
    source = PagedSource(*names, page_size=page_size)
    with server(source.answer) as running:
        source.url = f"{running.url}/oai"
        yield source
