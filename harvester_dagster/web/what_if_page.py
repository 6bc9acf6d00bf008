"""What would be decided if: the page that asks `access_why.what_if`, which reads all of an index.

Belongs here: what a person assumes, and the one answer that is being made, or was made last, in this process: it takes
minutes, changes nothing, and is asked again at will, so nobody stores it. Does not belong here: deciding.
"""

import logging
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any, Literal, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from harvester_dagster.access.decide import rules
from harvester_dagster.access.runs import access_why, endpoints
from harvester_dagster.access.runs.access_why import BadJournals, WhatIf
from harvester_dagster.access.runs.endpoints import UnknownEndpoint
from harvester_dagster.config import Config
from harvester_dagster.failures import mendable
from harvester_dagster.publication import audit
from harvester_dagster.store.database import Pool
from harvester_dagster.web.page_frame import PageFrame, form_pairs

PATH = "/access/what-if/"
_LONGEST = 500_000
"""Characters of typed journals."""
_SHOWN_SECONDS = 0.5
_LOG = logging.getLogger(__name__)


class Assumption(NamedTuple):
    """What is assumed: rules that are left out, a day, journals as they were typed."""

    endpoint: str
    left_out: tuple[str, ...] = ()
    day: date | None = None
    journals: str = ""

    @property
    def command(self) -> str:
        """The command line that asks the same."""
        words = [*(f"--without {name}" for name in self.left_out)]
        words += [f"--date {self.day}"] if self.day else []
        words += ["--journals FILE"] if self.journals else []
        return " ".join(["harvester access what-if", *words, f"--endpoint {shlex.quote(self.endpoint)}"])


@dataclass
class WhatIfAnswer:
    """How far it is, or came. `reason`: why it failed."""

    assumed: Assumption
    begun_at: datetime
    state: Literal["running", "complete", "stopped", "failed"] = "running"
    found: WhatIf = field(default_factory=WhatIf)
    reason: str = ""
    stop: threading.Event = field(default_factory=threading.Event)


class WhatIfPage:
    """The page of one installation. `clock` answers in UTC; `dagster` is the address of its UI."""

    def __init__(self, config: Config, pool: Pool, clock: Callable[[], datetime], dagster: str = "") -> None:
        self._config, self._pool, self._clock = config, pool, clock
        self._frame = PageFrame(config.zone, dagster)
        self._lock = threading.Lock()
        self._answer: WhatIfAnswer | None = None

    def routes(self) -> list[Route]:
        """The routes, for the application."""
        return [
            Route(PATH, self.page),
            Route(PATH, self.ask, methods=["POST"]),
            Route(f"{PATH}stop", self.stop, methods=["POST"]),
        ]

    def page(self, request: Request) -> Response:
        """The form, and the answer that is being made, or was made last."""
        return self._page(request, self._answer.assumed if self._answer else None)

    async def ask(self, request: Request) -> Response:
        """Begin to decide all documents of an endpoint under an assumption; one at a time."""
        pairs = await form_pairs(request, max_fields=50, max_part_size=_LONGEST)
        texts = [(name, text.strip()) for name, text in pairs]
        return await run_in_threadpool(self._ask, request, texts)

    def _ask(self, request: Request, texts: Sequence[tuple[str, str]]) -> Response:
        given = dict(texts)
        assumed = Assumption(
            _named(self._config, given.get("endpoint", "")),
            tuple(name for name in rules.NAMES if ("without", name) in texts),
            _day(given.get("date", "")),
            given.get("journals", ""),
        )
        try:
            journals = access_why.read_journals(assumed.journals.encode(), "journals") if assumed.journals else None
        except BadJournals as error:
            return self._page(request, assumed, 422, refused=str(error))
        said: dict[str, Any] = {
            "without": assumed.left_out,
            "date": str(assumed.day or ""),
            "journals": len(journals or ()),
        }
        answer = WhatIfAnswer(assumed, self._clock())
        deciding = threading.Thread(target=self._decide, args=(answer, journals), name="what-if", daemon=True)
        with self._lock:
            if self._answer and self._answer.state == "running":
                raise HTTPException(409, "One is being decided already: wait for it, or stop it")
            audit.told(self._pool, "what-if", assumed.endpoint, self._clock(), "asked for", **said)
            deciding.start()
            self._answer = answer  # last: what has not begun would be waited for without end
        return RedirectResponse(PATH, 303)

    def stop(self, request: Request) -> Response:
        """Have the one that is under way end."""
        if self._answer:
            self._answer.stop.set()
        return RedirectResponse(PATH, 303)

    def _decide(self, answer: WhatIfAnswer, journals: Any) -> None:
        shown_at = 0.0

        def show(found: WhatIf) -> None:
            nonlocal shown_at
            if time.monotonic() - shown_at >= _SHOWN_SECONDS:
                shown_at, answer.found = time.monotonic(), _copied(found)

        assumed = answer.assumed
        try:
            with endpoints.opened(self._config, assumed.endpoint, self._pool, self._clock) as job:
                answer.found = access_why.what_if(
                    job, left_out=assumed.left_out, journals=journals, day=assumed.day, show=show, stop=answer.stop
                )
            answer.state = "stopped" if answer.stop.is_set() else "complete"
        except Exception as error:
            known = mendable(error)
            if known is None:
                _LOG.exception("what-if of %s", assumed.endpoint)
            answer.reason, answer.state = str(known or "something went wrong here: the log says what"), "failed"

    def _page(self, request: Request, assumed: Assumption | None, status: int = 200, **values: Any) -> Response:
        names = list(self._config.metastore)
        assumed = assumed or Assumption(names[0] if names else "")
        shown = {"endpoints": names, "rules": rules.RULES, "assumed": assumed, "answer": self._answer}
        return self._frame.page(request, "what_if.html", status, **shown, **values)


def _copied(found: WhatIf) -> WhatIf:
    """As it is now: it is written to while pages read."""
    return replace(found, changes=Counter(found.changes), samples=list(found.samples))


def _named(config: Config, endpoint: str) -> str:
    try:
        return endpoints.named(config, endpoint)
    except UnknownEndpoint as error:
        raise HTTPException(400, str(error)) from None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise HTTPException(400, "date: a day such as 2028-01-31 is needed") from None
