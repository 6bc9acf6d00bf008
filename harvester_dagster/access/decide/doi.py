"""An open-access DOI resolver as a further source of knowledge: which DOIs have a free copy (Unpaywall's protocol).

Belongs here: finding a document's DOI, asking `GET {base}/v2/{doi}?email=...` within the resolver's limits, and keeping
its answers. Does not belong here: what an answer means for access (`rules.py`).
Whatever goes wrong here is "not known today", never an error of a run.
"""

import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from harvester_dagster.access.decide.solr_document import SolrDocument
from harvester_dagster.failures import OutsideError, PermanentError
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool

CALLS_A_DAY = 100_000
"""What Unpaywall asks of its users."""
SECONDS_A_RUN = 3600.0
"""What is not answered by then is asked another day."""
ANSWER_LASTS = timedelta(days=30)
_FAILURES_IN_A_ROW = 5
_CALLERS = 4
_DOI = re.compile(r"10\.\d{4,9}/\S+")
_URL = re.compile(r"https?://(?:dx\.)?doi\.org/(10\.\d{4,9}/[^\s\"?#]+)", re.IGNORECASE)


class Known(NamedTuple):
    """What is known about a document's free copy. `until`: the day on which it is asked again."""

    open_access: bool | None
    until: date | None


UNKNOWN_FOR_EVER = Known(None, None)
"""No DOI: nothing to ask."""


class _Answer(msgspec.Struct):
    is_oa: bool | None = None
    oa_status: str | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def doi_of(document: SolrDocument) -> str | None:
    """The document's DOI in lower case, as DOIs are compared: from `doi_ss`, else from a doi.org address among its
    full-text entries."""
    for text in document.doi_ss:
        if found := _DOI.search(text):
            return found[0].lower()
    for entry in document.fulltext_list_ssf:
        if found := _URL.search(entry):
            return unquote(found[1]).lower()
    return None


class Resolver:
    """The resolver during one run: asked for at most an hour, and not any more once it fails five times in a row."""

    def __init__(
        self,
        pool: Pool,
        outside: Outside,
        base: str,
        email: str,
        clock: Callable[[], datetime],
        stop: threading.Event,
    ) -> None:
        self._pool = pool
        self._outside = outside
        self._base = base.rstrip("/")
        self._email = email
        self._clock = clock
        self._stop = stop
        self._ends = time.monotonic() + SECONDS_A_RUN
        self._failures = 0
        self.asked = 0
        self.trouble = ""
        """Why it was not asked any more, if so."""

    def look_up(self, documents: Iterable[SolrDocument]) -> dict[str, Known]:
        """What is known of each document that has a DOI, by document id. Asks for what is not kept or older than 30
        days, and never raises for it: what could not be asked is `Known(None, tomorrow)`."""
        dois = {document.id: doi for document in documents if (doi := doi_of(document))}
        kept = self._kept(set(dois.values()))
        missing = [doi for doi in dict.fromkeys(dois.values()) if doi not in kept]
        if missing:
            kept |= self._ask_all(missing)
        tomorrow = Known(None, self._clock().date() + timedelta(days=1))
        return {id_: kept.get(doi, tomorrow) for id_, doi in dois.items()}

    def _kept(self, dois: set[str]) -> dict[str, Known]:
        if not dois:
            return {}
        oldest = self._clock() - ANSWER_LASTS
        with self._pool.connection() as connection:
            rows = connection.execute(
                "SELECT doi, open_access, asked_at FROM open_access_answer WHERE doi = ANY(%s) AND asked_at > %s",
                (list(dois), oldest),
            )
            return {doi: Known(answer, _until(at)) for doi, answer, at in rows}

    def _ask_all(self, dois: list[str]) -> dict[str, Known]:
        budget = CALLS_A_DAY - self._calls_today()
        with ThreadPoolExecutor(_CALLERS, thread_name_prefix="doi-resolver") as callers:
            answers = dict(zip(dois, callers.map(self._ask, dois[: max(budget, 0)]), strict=False))
        if budget < len(dois):
            self.trouble = self.trouble or f"{CALLS_A_DAY:,} calls were made in the last 24 hours"
        now = self._clock()
        rows = [(doi, answer.is_oa, answer.oa_status or "", now) for doi, answer in answers.items() if answer]
        with self._pool.connection() as connection, connection.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO open_access_answer (doi, open_access, status, asked_at) VALUES (%s, %s, %s, %s) "
                "ON CONFLICT (doi) DO UPDATE SET open_access = excluded.open_access, status = excluded.status, "
                "asked_at = excluded.asked_at",
                rows,
            )
        return {doi: Known(answer, _until(at)) for doi, answer, _status, at in rows}

    def _calls_today(self) -> int:
        with self._pool.connection() as connection:
            row = connection.execute(
                "SELECT count(*) FROM open_access_answer WHERE asked_at > %s", (self._clock() - timedelta(days=1),)
            ).fetchone()
            return int(row[0]) if row else 0

    def _ask(self, doi: str) -> _Answer | None:
        """None: not known today."""
        if self._stop.is_set() or self.trouble:
            return None
        if time.monotonic() > self._ends:
            self.trouble = f"it was asked for {SECONDS_A_RUN / 60:.0f} minutes in this run"
            return None
        self.asked += 1
        try:
            answer = self._outside.get(
                f"{self._base}/v2/{quote(doi, safe='/')}",
                params={"email": self._email},
                max_bytes=4 * 1024 * 1024,
                timeout=3,
                attempts=1,
                patience=0,
                accept=(404,),
            )
            found = _Answer(None, "unknown") if answer.status == 404 else _decode(answer.body)
        except PermanentError as error:
            if error.status == 422:  # a malformed DOI, or a bad e-mail address: the message tells which
                return self._unprocessable(error)
            return self._failed(error.sentence)
        except (OutsideError, ValueError) as error:
            return self._failed(str(error))
        self._failures = 0
        return found

    def _unprocessable(self, error: PermanentError) -> _Answer | None:
        return self._failed(f"{error.sentence} (is doi_resolver_email right?)")

    def _failed(self, why: str) -> _Answer | None:
        self._failures += 1
        if self._failures >= _FAILURES_IN_A_ROW:
            self.trouble = f"it failed {self._failures} times in a row: {why}"
        return None


def _until(asked_at: datetime) -> date:
    return (asked_at + ANSWER_LASTS).date()


def known_until(known: Mapping[str, Known], id_: str) -> Known:
    """What `look_up` found for a document; a document without a DOI will never be known."""
    return known.get(id_, UNKNOWN_FOR_EVER)
