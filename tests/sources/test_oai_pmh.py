"""The loop over an OAI-PMH list against a server that behaves, and one that does not."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources.kind import Record, Request, Unreadable
from harvester_dagster.sources.oai_page import read_page
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from tests.sources.misbehaving import (
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
HTML = "<!DOCTYPE html><html><body><h1>Down for maintenance</h1></body></html>"


def request(url: str, *, spec: str = "a_set", since: datetime | None = None, prefix: str = "lom") -> Request:
    return Request(SetSettings(kind="oai-pmh", url=f"{url}/oai", metadata_prefix=prefix), spec, since)


def ids(pages: list[bytes]) -> list[str | None]:
    asked = request("http://example.org")
    return [item.external_id for page in pages for item in OAI.extract(page, range(len(OAI.cut(page))), asked)]


def walk(pages: Sequence[Reply | str | bytes], outside: Outside, **asked: object) -> tuple[list[bytes], list[Asked]]:
    with server(pages) as running:
        return list(OAI.pages(request(running.url, **asked), outside)), running.asked  # type: ignore[arg-type]


def failure(pages: Sequence[Reply | str | bytes], outside: Outside, **asked: object) -> str:
    with pytest.raises(SourceError) as caught:
        walk(pages, outside, **asked)
    return str(caught.value)


def test_pages_follow_the_token_and_nothing_else(outside: Outside) -> None:
    pages, asked = walk([oai_list(lom_record("1"), token="t 1|&amp;"), oai_list(lom_record("2"), token="")], outside)
    assert ids(pages) == ["1", "2"]
    assert [one.params for one in asked] == [
        {"verb": "ListRecords", "metadataPrefix": "lom", "set": "a_set"},
        {"verb": "ListRecords", "resumptionToken": "t 1|&"},
    ]


def test_the_server_is_asked_by_its_own_name_for_a_format(outside: Outside) -> None:
    with server([oai_list(lom_record("1"))]) as running:
        settings = SetSettings(kind="oai-pmh", url=f"{running.url}/oai", metadata_prefix="oai_nl_lom", format="lom")
        asked = Request(settings, "a_set", None)
        (page,) = OAI.pages(asked, outside)
        (record,) = OAI.extract(page, [0], asked)
    assert running.asked[0].params["metadataPrefix"] == "oai_nl_lom"
    assert isinstance(record, Record) and record.documents[0].properties["title"] == "A title"
    assert OAI.mapping_version(asked) == OAI.mapping_version(request("http://example.org"))


def test_pages_are_streamed(outside: Outside) -> None:
    with server([oai_list(lom_record("1"), token="t")]) as running:
        assert ids([next(OAI.pages(request(running.url), outside))]) == ["1"]
        assert len(running.asked) == 1


@pytest.mark.parametrize("end", [oai_list(lom_record("2")), oai_list(lom_record("2"), token="\n  ")])
def test_a_list_ends_without_a_token_or_with_an_empty_one(end: str, outside: Outside) -> None:
    pages, asked = walk([oai_list(lom_record("1"), token="t"), end], outside)
    assert (ids(pages), len(asked)) == (["1", "2"], 2)


def test_a_repository_without_sets_is_asked_without_one(outside: Outside) -> None:
    _, asked = walk([oai_list()], outside, spec="*")
    assert "set" not in asked[0].params


def test_everything_is_asked_without_from_and_without_identify(outside: Outside) -> None:
    _, asked = walk([oai_list()], outside)
    assert [one.params["verb"] for one in asked] == ["ListRecords"]
    assert "from" not in asked[0].params


@pytest.mark.parametrize(
    ("granularity", "sent"),
    [
        ("YYYY-MM-DDThh:mm:ssZ", "2026-03-01T22:30:15Z"),
        ("YYYY-MM-DD", "2026-03-01"),
        ("nonsense", "2026-03-01T22:30:15Z"),
    ],
)
def test_a_delta_is_asked_in_the_granularity_of_identify(granularity: str, sent: str, outside: Outside) -> None:
    pages = [identify(granularity), oai_list(lom_record("1"), token="t"), oai_list()]
    _, asked = walk(pages, outside, since=SINCE)
    assert [one.params["verb"] for one in asked] == ["Identify", "ListRecords", "ListRecords"]
    assert asked[1].params["from"] == sent
    assert "from" not in asked[2].params


def test_a_server_that_says_seconds_and_takes_days_is_asked_for_the_day(outside: Outside) -> None:
    refused = oai_errors(("badArgument", "granularity"))
    pages, asked = walk([identify("YYYY-MM-DDThh:mm:ssZ"), refused, oai_list(lom_record("1"))], outside, since=SINCE)
    assert ids(pages) == ["1"]
    assert [one.params.get("from") for one in asked] == [None, "2026-03-01T22:30:15Z", "2026-03-01"]


def test_identify_that_is_no_answer_leaves_days_which_every_server_knows(outside: Outside) -> None:
    _, asked = walk([HTML, HTML, HTML, oai_list()], outside, since=SINCE)
    assert asked[-1].params["from"] == "2026-03-01"


def test_nothing_new_is_no_error(outside: Outside) -> None:
    pages, _ = walk([identify("YYYY-MM-DD"), oai_errors(("noRecordsMatch", "nothing"))], outside, since=SINCE)
    assert ids(pages) == []


def test_the_errors_of_the_protocol_are_told_with_their_mend(outside: Outside) -> None:
    said = failure([oai_errors(("noRecordsMatch", ""), ("cannotDisseminateFormat", "no lom here"))], outside)
    assert "cannotDisseminateFormat: no lom here" in said
    assert "metadata_prefix" in said
    assert 'sets = ["*"]' in failure([oai_errors(("noSetHierarchy", ""))], outside)
    assert "sets" in failure([oai_errors(("badArgument", "set"))], outside)


def test_an_error_without_a_code_is_an_error(outside: Outside) -> None:
    page = oai_errors(("x", "broken")).replace(' code="x"', "")
    assert "broken" in failure([page], outside)


def test_a_token_that_comes_again_is_a_loop(outside: Outside) -> None:
    assert "circles" in failure([oai_list(lom_record(str(n)), token="same") for n in range(9)], outside)


def test_a_circle_of_several_tokens_is_a_loop(outside: Outside) -> None:
    pages = [oai_list(lom_record(str(n)), token=f"t{n % 3}") for n in range(30)]
    with server(pages) as running:
        with pytest.raises(SourceError, match="circles"):
            list(OAI.pages(request(running.url), outside))
        assert len(running.asked) == 4


def test_the_same_page_under_ever_new_tokens_is_a_loop(outside: Outside) -> None:
    pages = [oai_list(lom_record("1"), lom_record("2"), token=f"t{n}") for n in range(50)]
    with server(pages) as running:
        with pytest.raises(SourceError, match="circles"):
            list(OAI.pages(request(running.url), outside))
        assert len(running.asked) < 6


def test_the_same_record_twice_is_no_loop(outside: Outside) -> None:
    pages, _ = walk([oai_list(lom_record("1"), token="a"), oai_list(lom_record("1"), token="b"), oai_list()], outside)
    assert ids(pages) == ["1", "1"]


def test_an_expired_token_begins_the_list_anew(outside: Outside) -> None:
    expired = oai_errors(("badResumptionToken", "expired"))
    first, second = oai_list(lom_record("1"), token="t"), oai_list(lom_record("2"))
    pages, asked = walk([first, expired, first, second], outside)
    assert ids(pages) == ["1", "1", "2"]
    assert [one.params.get("resumptionToken") for one in asked] == [None, "t", None, "t"]


def test_a_token_that_is_never_taken_ends_after_some_beginnings(outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        if "resumptionToken" in asked.params:
            return oai_errors(("badResumptionToken", "expired"))
        return oai_list(lom_record("1"), token="t")

    with server(answer) as running:
        with pytest.raises(SourceError, match="expired"):
            list(OAI.pages(request(running.url), outside))
        assert len(running.asked) == 8


def test_a_bad_token_without_a_token_is_an_error(outside: Outside) -> None:
    assert "badResumptionToken" in failure([oai_errors(("badResumptionToken", "what token?"))], outside)


BROKEN = {
    "an error page": HTML,
    "an empty body": "",
    "white space": " \n ",
    "cut off in the middle": oai_list(lom_record("1"), lom_record("2"))[:-200],
    "an undefined entity outside of records": oai_list("&eacute;", lom_record("1")),
    "a DTD": '<!DOCTYPE OAI-PMH [<!ENTITY a "b">]>' + oai_list(lom_record("1", "&a;")).partition("\n")[2],
    "other XML": "<rss version='2.0'/>",
    "OAI-PMH of another version": oai_list(lom_record("1")).replace("/OAI/2.0/", "/OAI/1.1/"),
    "neither list nor error": oai_list().replace("ListRecords", "ListSets"),
    "JSON": '{"data": []}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_page_is_asked_for_again(broken: str, outside: Outside) -> None:
    pages, asked = walk([broken, broken, oai_list(lom_record("1"))], outside)
    assert ids(pages) == ["1"]
    assert len({tuple(one.params.items()) for one in asked}) == 1


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_page_that_stays_broken_ends_the_harvest_before_it_is_passed_on(broken: str, outside: Outside) -> None:
    with server([oai_list(lom_record("1"), token="t"), broken, broken, broken]) as running:
        pages = OAI.pages(request(running.url), outside)
        assert ids([next(pages)]) == ["1"]
        with pytest.raises(SourceError, match="3 times"):
            next(pages)


@pytest.mark.parametrize(
    "written", [b"A\x0b title", b"A&#11; title", b"A&#x1F; title", b"A&#xD800; title", b"A\x00 title"]
)
def test_a_character_that_xml_forbids_costs_itself_and_not_the_page(written: bytes, outside: Outside) -> None:
    page = oai_list(lom_record("1"), lom_record("2", "WRITTEN")).encode().replace(b"WRITTEN", written)
    pages, asked = walk([page], outside)
    assert (ids(pages), len(asked)) == (["1", "2"], 1)
    found = next(OAI.extract(pages[0], [1], request("http://example.org")))
    assert isinstance(found, Record)
    assert found.documents[0].properties["title"] == "A title"


def test_bytes_that_are_no_utf8_cost_themselves_and_not_the_page(outside: Outside) -> None:
    pages, _ = walk([oai_list(lom_record("1", "CAFE")).encode().replace(b"CAFE", b"Caf\xe9")], outside)
    found = next(OAI.extract(pages[0], [0], request("http://example.org")))
    assert isinstance(found, Record)
    assert found.documents[0].properties["title"] == "Café"


def test_what_arrived_instead_is_told(outside: Outside) -> None:
    assert "Down for maintenance" in failure([HTML] * 3, outside)
    assert "blocked" in failure([""] * 3, outside)


def test_a_cut_connection_and_a_503_are_tried_again(outside: Outside) -> None:
    whole = oai_list(lom_record("1")).encode()
    pages, asked = walk([Reply(whole, cut=True), Reply(b"busy", 503, {"Retry-After": "0"}), whole], outside)
    assert (ids(pages), len(asked)) == (["1"], 3)


@pytest.mark.parametrize(("status", "mend"), [(401, "token_env"), (403, "blocks"), (404, "look at url"), (503, "up")])
def test_a_status_that_stays_is_told_with_its_mend(status: int, mend: str, outside: Outside) -> None:
    assert mend in failure([Reply(b"no", status)] * 10, outside)


def test_a_server_that_is_not_there_is_a_source_error(outside: Outside) -> None:
    with server([]) as running:
        gone = running.url
    with pytest.raises(SourceError):
        list(OAI.pages(request(gone), outside))


def test_an_address_that_is_not_public_is_refused() -> None:
    with Outside() as outside, server([oai_list()]) as running:
        with pytest.raises(SourceError):
            list(OAI.pages(request(running.url), outside))
        assert running.asked == []


def test_a_prefix_without_a_mapping_is_told(outside: Outside) -> None:
    with pytest.raises(SourceError, match="lom, oai_dc"):
        list(OAI.pages(request("http://127.0.0.1:1", prefix="marcxml"), outside))


def test_records_that_cannot_be_read_are_kept_with_their_reason() -> None:
    page = oai_list(
        lom_record("good"),
        deleted_record("gone"),
        lom_record("").replace("<identifier></identifier>", ""),
        "<record><header><identifier>bare</identifier></header></record>",
        "<record><header><identifier>empty</identifier></header><metadata/></record>",
        "<record><header><identifier>other</identifier></header><metadata><dc/></metadata></record>",
    ).encode()
    good, gone, *rest = OAI.extract(page, range(6), request("http://example.org"))
    assert isinstance(good, Record)
    assert good.documents
    assert gone == Record("gone", "2026-01-01T00:00:00Z", ())
    assert all(isinstance(item, Unreadable) and item.reason for item in rest)
    assert [item.external_id for item in rest] == [None, "bare", "empty", "other"]


def test_a_record_that_is_deeper_than_the_parser_takes_costs_itself() -> None:
    deep = (
        lom_record("deep")
        .replace("<metadata>", f"<metadata>{'<a>' * 300}")
        .replace("</metadata>", f"{'</a>' * 300}</metadata>")
    )
    page = oai_list(lom_record("before"), deep, lom_record("after"), token="t").encode()
    assert read_page(page).token == "t"
    before, broken, after = OAI.extract(page, range(3), request("http://example.org"))
    assert isinstance(before, Record) and isinstance(after, Record)
    assert isinstance(broken, Unreadable) and broken.external_id == "deep" and "depth" in broken.reason


def test_an_id_that_no_index_takes_is_unreadable() -> None:
    page = oai_list(lom_record("é" * 501)).encode()
    found = next(OAI.extract(page, [0], request("http://example.org")))
    assert isinstance(found, Unreadable)
    assert found.external_id is None


def test_only_the_wanted_records_are_extracted_in_the_order_of_the_page() -> None:
    page = oai_list(*(lom_record(str(n)) for n in range(20))).encode()
    found = OAI.extract(page, [3, 7, 19], request("http://example.org"))
    assert [item.external_id for item in found] == ["3", "7", "19"]
