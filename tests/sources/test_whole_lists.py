"""Whether a list is all there: what servers announce, how their lists end, and what is asked until then."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.config import SetSettings
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources.kind import Record, Request
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole, Walk, tolerated
from tests.sources.misbehaving import (
    Answering,
    Asked,
    Reply,
    deleted_record,
    identify,
    lom_record,
    oai_errors,
    oai_list,
    server,
)

OAI = KINDS["oai-pmh"]
SINCE = datetime(2026, 3, 1, 22, 30, 15, tzinfo=UTC)
NOTHING = oai_errors(("noRecordsMatch", "nothing left"))
EXPIRED = oai_errors(("badResumptionToken", "expired"))


class Came:
    """What came of one walk."""

    def __init__(self, outside: Outside, answers: Answering | Sequence[Reply | str], **settings: Any) -> None:
        since = settings.pop("since", None)
        self.error: SourceError | None = None
        self.pages: list[bytes] = []
        with server(answers) as running:
            row = SetSettings(kind="oai-pmh", url=f"{running.url}/oai", **settings)
            self.walk = Walk(row)
            try:
                for page in OAI.pages(Request(row, "s", since), outside, self.walk):
                    self.pages.append(page)
            except SourceError as error:
                self.error = error
            self.asked = running.asked

    @property
    def records(self) -> int:
        return len(set(re.findall(rb"<identifier>([^<]+)", b"".join(self.pages))))


def sized(*names: str, token: str = "", size: Any = None, cursor: Any = None, outside: str = "") -> str:
    said = "".join(f' {key}="{value}"' for key, value in (("completeListSize", size), ("cursor", cursor)) if value)
    page = oai_list(*map(lom_record, names))
    element = f"<resumptionToken{said}>{token}</resumptionToken>"
    return page.replace("</ListRecords>", f"{element}</ListRecords>{outside}")


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_nothing_new_is_understood_whatever_its_status(status: int, outside: Outside) -> None:
    came = Came(outside, lambda _: Reply(NOTHING.encode(), status))
    assert came.error is None and came.records == 0


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_a_refused_token_begins_anew_whatever_its_status(status: int, outside: Outside) -> None:
    refused = iter([Reply(EXPIRED.encode(), status)] * (4 if status == 500 else 1))

    def answer(asked: Asked) -> Reply | str:
        if "resumptionToken" not in asked.params:
            return oai_list(lom_record("1"), token="t")
        return next(refused, oai_list(lom_record("2")))

    came = Came(outside, answer)
    assert came.error is None and came.records == 2 and came.walk.beginning == 1
    assert came.walk.notes == ["its list was begun anew: badResumptionToken: expired"]


def test_other_errors_are_the_servers_words_and_the_mend(outside: Outside) -> None:
    said = oai_errors(("cannotDisseminateFormat", "no lom here")).encode()
    came = Came(outside, [Reply(said, 422)])
    assert "no lom here" in str(came.error) and "metadata_prefix" in str(came.error)


def test_an_error_status_without_the_protocol_stays_an_error(outside: Outside) -> None:
    for body in (b"", b"<html>no</html>", oai_list(lom_record("1")).encode()):
        came = Came(outside, [Reply(body, 404)])
        assert "look at url and sets" in str(came.error) and not came.pages


LED_TO = {
    "nothing": NOTHING,
    "a refusal": EXPIRED,
    "an empty page": oai_list(token="more"),
    "itself": sized("3", "4", token="last", size=4),
    "the beginning": sized("1", "2", token="again", size=4),
}


@pytest.mark.parametrize("last", LED_TO.values(), ids=LED_TO)
def test_a_token_behind_the_last_record_is_the_end(last: str, outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        token = asked.params.get("resumptionToken")
        pages = {None: sized("1", "2", token="t", size=4), "t": sized("3", "4", token="last", size=4)}
        return pages.get(token, last)

    came = Came(outside, answer)
    assert came.error is None and came.records == 4 and len(came.asked) <= 4
    assert "after 4 different records" in came.walk.notes[0]


def test_without_a_size_no_records_after_a_page_is_the_end_and_a_note(outside: Outside) -> None:
    came = Came(outside, [oai_list(lom_record("1"), token="t"), NOTHING])
    assert came.error is None and came.records == 1
    assert "noRecordsMatch" in came.walk.notes[0]


def test_no_records_before_the_size_is_reached_is_half_a_list(outside: Outside) -> None:
    first, second = sized("1", "2", token="t", size=4), sized("3", "4", size=4)
    came = Came(outside, [first, NOTHING, first, second])
    assert came.error is None and came.records == 4
    came = Came(outside, [first, NOTHING] * 4)
    assert isinstance(came.error, NotWhole) and came.error.short and "2 of 4" in str(came.error)


@pytest.mark.parametrize(
    ("announced", "missing", "whole"),
    [(6, 0, True), (6, 1, False), (40, 2, True), (40, 3, False), (100, 5, True), (100, 6, False), (500, 497, False)],
)
def test_a_list_is_whole_when_what_was_announced_came(
    announced: int, missing: int, whole: bool, outside: Outside
) -> None:
    came = Came(outside, [sized(*map(str, range(announced - missing)), size=announced)])
    assert came.records == announced - missing and (came.error is None) == whole
    if not whole:
        assert f"{announced - missing} of {announced}" in str(came.error)
        assert "list_size" in str(came.error)


@given(st.integers(0, 10**9))
def test_never_more_than_a_twentieth_of_a_list_may_be_missing(announced: int) -> None:
    assert tolerated(announced) <= announced / 20
    assert tolerated(announced) <= max(5, announced / 100)


def test_records_that_come_twice_count_once(outside: Outside) -> None:
    came = Came(outside, [sized("1", "2", token="t", size=4), sized("1", "2", size=4)])
    assert "2 of 4" in str(came.error) and len(came.pages) == 2


def test_deleted_records_count_and_more_than_announced_is_fine(outside: Outside) -> None:
    page = sized("1", "2", size=3).replace("<record>", deleted_record("9") + "<record>", 1)
    assert Came(outside, [page]).error is None
    assert Came(outside, [sized("1", "2", "3", size=2)]).error is None


def test_the_last_announced_size_counts(outside: Outside) -> None:
    assert Came(outside, [sized("1", token="t", size=500), sized("2", size=2)]).error is None
    assert "2 of 500" in str(Came(outside, [sized("1", token="t", size=2), sized("2", size=500)]).error)


def test_a_cursor_tells_of_records_that_never_came(outside: Outside) -> None:
    came = Came(outside, [sized("1", token="t", cursor=0), sized("2", cursor=100)])
    assert "2 of at least 100" in str(came.error)
    assert Came(outside, [sized("1", token="t", cursor=1), sized("2", cursor=2)]).error is None


@pytest.mark.parametrize("size", ["-1", "0", "many", "", "1e3", "٣"])
def test_a_size_that_is_none_is_no_size(size: str, outside: Outside) -> None:
    assert Came(outside, [sized("1", size=size)]).error is None


def test_estimates_are_a_note_and_no_verdict(outside: Outside) -> None:
    came = Came(outside, [sized("1", size=500)], list_size="estimate")
    assert came.error is None and "1 of 500" in came.walk.notes[0]
    came = Came(outside, [sized("1", size=500, token="t"), NOTHING], list_size="estimate")
    assert came.error is None and came.walk.notes


ODD = {
    "outside": sized("1", outside="<resumptionToken>t</resumptionToken>").replace(
        "<resumptionToken></resumptionToken>", ""
    ),
    "two": sized("1", token="a").replace("</ListRecords>", "<resumptionToken>b</resumptionToken></ListRecords>"),
    "in and out": sized("1", token="a", outside="<resumptionToken>b</resumptionToken>"),
    "of no namespace": oai_list(lom_record("1")).replace(
        "</ListRecords>", '<resumptionToken xmlns="">t</resumptionToken></ListRecords>'
    ),
    "in a record": oai_list(lom_record("1").replace("</record>", "<resumptionToken>t</resumptionToken></record>")),
}


@pytest.mark.parametrize("page", ODD.values(), ids=ODD)
def test_a_token_where_none_belongs_is_not_whole(page: str, outside: Outside) -> None:
    came = Came(outside, [page])
    assert isinstance(came.error, NotWhole) and not came.error.short
    assert "token" in str(came.error) and len(came.pages) == 1


def test_an_error_beside_records_is_not_an_empty_list(outside: Outside) -> None:
    page = sized("1").replace("</ListRecords>", '</ListRecords><error code="noRecordsMatch">none</error>')
    came = Came(outside, [page])
    assert came.error is not None and "beside" in str(came.error)


def test_a_list_with_ever_new_records_ends(outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        number = int(asked.params.get("resumptionToken", 0))
        return oai_list(lom_record(f"r{number}"), token=str(number + 1))

    came = Came(outside, answer, max_list_pages=20)
    assert len(came.asked) == 21 and "max_list_pages" in str(came.error)
    came = Came(outside, answer, max_list_bytes="2kB")
    assert len(came.asked) < 10 and "max_list_bytes" in str(came.error)
    assert "max_list_hours" in str(Came(outside, answer, max_list_hours=0.00001).error)


def test_the_same_records_shuffled_under_ever_new_tokens_end(outside: Outside) -> None:
    names = [str(number) for number in range(40)]

    def answer(asked: Asked) -> str:
        number = int(asked.params.get("resumptionToken", 0))
        shuffled = Random(number).sample(names, 9)
        return oai_list(*map(lom_record, shuffled), token=str(number + 1))

    came = Came(outside, answer)
    assert "on end" in str(came.error) and len(came.asked) < 150


def test_identify_that_fails_leaves_days_and_a_note(outside: Outside) -> None:
    def answer(asked: Asked) -> Reply | str:
        if asked.params["verb"] == "Identify":
            return Reply(b"<html>no</html>", 404)
        return NOTHING

    came = Came(outside, answer, since=SINCE)
    assert came.error is None and came.asked[-1].params["from"] == "2026-03-01"
    assert "by the day" in came.walk.notes[0]


def test_a_server_that_says_days_and_takes_seconds_gets_them(outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        if asked.params["verb"] == "Identify":
            return identify("YYYY-MM-DD")
        return oai_list(lom_record("1")) if "T" in asked.params["from"] else oai_errors(("badArgument", "seconds!"))

    came = Came(outside, answer, since=SINCE)
    assert came.records == 1 and came.asked[-1].params["from"] == "2026-03-01T22:30:15Z"


def test_a_server_that_takes_no_from_at_all_is_told_so(outside: Outside) -> None:
    refused = oai_errors(("badArgument", "from"))
    came = Came(outside, [identify("YYYY-MM-DD"), refused, refused], since=SINCE)
    assert "badArgument" in str(came.error) and len(came.asked) == 3


def answers_by_post(asked: Asked) -> Reply | str:
    token = asked.params.get("resumptionToken")
    if token is None:
        return oai_list(lom_record("1"), token="B" * 1_900)
    if asked.method == "GET":
        return Reply(b"too long", 414)
    return oai_list(lom_record("2"), token="C" * 9_000) if token[0] == "B" else oai_list(lom_record("3"))


def test_long_tokens_go_by_post_and_after_414(outside: Outside) -> None:
    came = Came(outside, answers_by_post)
    assert came.error is None and came.records == 3
    assert [asked.method for asked in came.asked] == ["GET", "GET", "POST", "POST"]


@pytest.mark.parametrize("answer", [Reply(b"no POST", 405), oai_errors(("badVerb", "none"))], ids=["405", "badVerb"])
def test_a_server_without_post_gets_what_a_url_can_hold(answer: Reply | str, outside: Outside) -> None:
    def answers(asked: Asked) -> Reply | str:
        if asked.method == "POST":
            return answer
        return (
            oai_list(lom_record("2"))
            if "resumptionToken" in asked.params
            else oai_list(lom_record("1"), token="B" * 3_000)
        )

    came = Came(outside, answers)
    assert came.error is None and came.records == 2


def test_a_token_that_neither_way_takes_names_its_length(outside: Outside) -> None:
    def answers(asked: Asked) -> Reply | str:
        if "resumptionToken" in asked.params:
            return Reply(b"", 414 if asked.method == "GET" else 405)
        return oai_list(lom_record("1"), token="B" * 1_500)

    assert "1,500 characters" in str(Came(outside, answers).error)


def test_cookies_live_for_one_harvest_of_one_host(outside: Outside) -> None:
    def answer(asked: Asked) -> Reply | str:
        if "resumptionToken" not in asked.params:
            return Reply(oai_list(lom_record("1"), token="t").encode(), headers={"Set-Cookie": "sid=7; Path=/"})
        return oai_list(lom_record("2")) if asked.headers.get("cookie") == "sid=7" else EXPIRED

    for _ in range(2):
        came = Came(outside, answer)
        assert came.error is None and came.records == 2
        assert "cookie" not in came.asked[0].headers


def test_endless_cookies_are_not_all_kept(outside: Outside) -> None:
    def answer(asked: Asked) -> Reply | str:
        number = int(asked.params.get("resumptionToken", 0))
        page = oai_list(lom_record(str(number)), token=str(number + 1) if number < 80 else None)
        return Reply(page.encode(), headers={"Set-Cookie": f"c{number}=1"})

    came = Came(outside, answer)
    assert came.error is None and len(came.asked[-1].headers["cookie"].split(";")) == 50


def test_empty_metadata_is_a_deletion_where_the_source_says_so() -> None:
    page = oai_list(lom_record("1").replace("<czp:lom", "<!--<czp:lom").replace("</czp:lom>", "</czp:lom>-->")).encode()
    row = SetSettings(kind="oai-pmh", url="http://example.org", empty_metadata="deleted")
    usual = SetSettings(kind="oai-pmh", url="http://example.org")
    (record,) = OAI.extract(page, [0], Request(row, "s", None))
    assert record == Record("1", "2026-01-01T00:00:00Z", ())
    assert OAI.mapping_version(Request(row, "s", None)) != OAI.mapping_version(Request(usual, "s", None))
