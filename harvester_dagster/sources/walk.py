"""How far a walk along a source's list has come, and whether the list is all there: what all protocols share.

Belongs here: distinct records beside the size that was announced, the limits of a list, where it goes on, its cookies,
what was odd about it as a whole. Does not belong here: what a page is and what follows it (the protocol's business),
circles (`whole_pages.Loops`), what a harvest that is not whole means for a set (`sets/`).
"""

import time
from collections.abc import Callable, Iterable, Iterator

from harvester_dagster.config import SetSettings
from harvester_dagster.outside.http import Cookies, shown
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.whole_pages import MUST_MEND, Circle

MOST_NOTES = 20
"""So much that is odd is told of one list."""
BARREN_PAGES = 100
"""On end, with nothing but what came before: the same records, shuffled, under ever new tokens."""
_ENDLESS = "the source must mend its paging; a list that really is so long needs a higher"


class NotWhole(SourceError):
    """A list ended, and by what its source says itself it is not all there. `short`: for its announced size alone."""

    def __init__(self, sentence: str, mend: str, *, short: bool = False) -> None:
        super().__init__(sentence, mend)
        self.short = short


def tolerated(announced: int) -> int:
    """How many records of a list may be missing: 1 % or 5, whichever is more, and never more than 5 % of it. Records
    come and go while a list is read; in a small list none may be missing."""
    return min(max(announced // 100, 5), announced // 20)


class Walk:
    """One walk along a list. `stored` are pages of it that were read before (newest beginning only), `came_by` what led
    to the last of them, `follows` what leads on from it: the walk counts them, asks for the last one again, and goes on
    behind it if it is as it was. Else records have moved, and some may be where it will not look: it begins anew.

    Memory: 8 bytes, and what a set takes for them, a distinct record.
    """

    def __init__(
        self,
        settings: SetSettings,
        *,
        stored: Iterable[bytes] = (),
        came_by: str | None = None,
        follows: str | None = None,
        beginning: int = 0,
        goes_on: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.came_by = came_by
        """The token or the address that led to the newest page; None: nothing has come, or only the first one."""
        self.follows = follows
        """The token or the address of what follows the newest page; None: nothing has come, or nothing follows."""
        self.beginning = beginning
        """How often the list was begun anew: pages of earlier beginnings count no more."""
        self.goes_on = goes_on
        """Whether there are stored pages to go on with, and it was not seen yet that the list is as it was."""
        self.newest: list[int] = []
        """The digests of the records of the newest page."""
        self.notes: list[str] = []
        self.cookies = Cookies()
        self.announced: int | None = None
        self._least = 0
        self._seen: set[int] = set()
        self._stored = stored
        self._pages = self._bytes = self._barren = 0
        self._clock, self._began = clock, clock()

    def stored(self) -> Iterator[bytes]:
        """The pages that were read before, once."""
        stored, self._stored = self._stored, ()
        yield from stored

    @property
    def distinct(self) -> int:
        """How many different records have come since the list began."""
        return len(self._seen)

    @property
    def is_read(self) -> bool:
        """Whether the stored pages are a list to its end."""
        return self.goes_on and self.follows is None

    @property
    def is_full(self) -> bool:
        """Whether as many different records have come as were announced. Many more make the size one that is wrong, and
        no sign of an end."""
        return self.announced is not None and 0 <= self.distinct - self.announced <= tolerated(self.announced)

    @property
    def is_about_full(self) -> bool:
        """The same, but for those that may be missing."""
        return self.announced is not None and abs(self.distinct - self.announced) <= tolerated(self.announced)

    @property
    def is_reached(self) -> bool:
        """Whether no more are missing of what was announced than may be."""
        return self.announced is not None and self.distinct >= self.announced - tolerated(self.announced)

    def came(self, page: int, records: Iterable[int], announced: int | None = None, before: int | None = None) -> bool:
        """A page of so many bytes, the digests of its records, and what it says of the list: its size, and how many
        records came before it. Whether it brought anything new. Raises SourceError beyond a limit of the
        list."""
        known = self.distinct
        self.newest = list(records)
        self._seen.update(self.newest)
        self.announced = announced if announced and announced > 0 else self.announced
        self._least = max(self._least, before or 0)
        self._pages += 1
        self._bytes += page
        self._barren = 0 if self.distinct > known else self._barren + 1
        self._check_limits()
        return self.distinct > known

    def _check_limits(self) -> None:
        limits, hours = self.settings, (self._clock() - self._began) / 3600
        if self._barren > BARREN_PAGES:
            raise Circle(
                f"{shown(limits.url)}: {self._barren} pages on end brought none but records that were there before",
                MUST_MEND,
            )
        for key, most, reached, what in (
            ("max_list_pages", limits.max_list_pages, self._pages, f"{self._pages:,} pages"),
            ("max_list_bytes", limits.max_list_bytes, self._bytes, f"{self._bytes:,} bytes"),
            ("max_list_hours", limits.max_list_hours, hours, f"{hours:.1f} hours"),
        ):
            if reached > most:
                raise SourceError(
                    f"{shown(limits.url)}: its list does not end: after {what} "
                    f"({self.distinct:,} different records) more is said to follow",
                    f"{_ENDLESS} {key}",
                )

    def is_as_it_was(self, records: Iterable[int]) -> bool:
        """Whether the newest stored page, asked for again, has the same records: then the walk has gone on."""
        self.goes_on = False
        return bool(self.newest) and list(records) == self.newest

    def begin_anew(self, why: str) -> None:
        """Forget the list as it was read so far."""
        self.note(f"its list was begun anew: {why:.300}")
        self.came_by = self.follows = self.announced = None
        self.goes_on, self._least = False, 0
        self.beginning += 1
        self.newest = []
        self._seen.clear()

    def note(self, sentence: str) -> None:
        """Something odd about the list as a whole."""
        if sentence not in self.notes and len(self.notes) < MOST_NOTES:
            self.notes.append(sentence)

    def conclude(self) -> None:
        """The list ended. Raises NotWhole when clearly fewer different records came than were announced; where the
        source's sizes are estimates, that is a note."""
        said = f"{self.announced:,}" if self.announced is not None else f"at least {self._least:,}"
        wanted = self.announced if self.announced is not None else self._least
        if self.distinct >= wanted - tolerated(wanted):
            return
        short = f"{self.distinct:,} of {said} records that it announced came"
        if self.settings.list_size == "estimate":
            self.note(f"{short}; its sizes are estimates (list_size)")
            return
        raise NotWhole(
            f"{shown(self.settings.url)}: its list is not whole: {short}",
            'the next harvest asks the same again; if its sizes are mere estimates, write list_size = "estimate"',
            short=True,
        )
