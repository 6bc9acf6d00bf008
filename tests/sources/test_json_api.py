"""The loop over a JSON:API collection against a server that behaves, and one that does not."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from harvester_dagster.config import SetSettings
from harvester_dagster.outside.http import Outside
from harvester_dagster.sources.kind import Request
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.sources.source_error import SourceError
from harvester_dagster.sources.walk import NotWhole, Walk
from harvester_dagster.sources.whole_pages import MAX_PAGE_BYTES
from tests.sources.misbehaving import Asked, Reply, Server, server

SHAREKIT = KINDS["sharekit"]
PATH = "/api/jsonapi/channel/v1/edusources/repoItems"
HTML = "<html><body>Please log in</body></html>"


def request(url: str, since: datetime | None = None, **settings: Any) -> Request:
    return Request(SetSettings(kind="sharekit", url=f"{url}/api", **settings), "edusources", since)


def page(*ids: str, following: Any = None) -> str:
    return json.dumps(
        {
            "links": {"self": PATH, "next": following},
            "data": [{"id": name, "attributes": {"title": name}} for name in ids],
        }
    )


def ids(pages: list[bytes]) -> list[str | None]:
    asked = request("http://example.org")
    return [
        item.external_id for body in pages for item in SHAREKIT.extract(body, range(len(SHAREKIT.cut(body))), asked)
    ]


def failure(pages: list[Reply | str | bytes], outside: Outside, **asked: Any) -> str:
    with server(pages) as running, pytest.raises(SourceError) as caught:
        list(SHAREKIT.pages(request(running.url, **asked), outside))
    return str(caught.value)


def test_everything_is_asked_since_the_beginning_of_time(outside: Outside) -> None:
    with server([page("1")]) as running:
        assert ids(list(SHAREKIT.pages(request(running.url), outside))) == ["1"]
        asked = running.asked[0]
        assert asked.path == PATH
        assert asked.params == {"filter[modified][GE]": "1970-01-01T00:00:00Z", "page[size]": "25"}
        assert "authorization" not in asked.headers


def test_a_delta_is_asked_in_utc_with_the_key(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    with server([page(following=PATH + "?page[number]=2"), page()]) as running:
        since = datetime.fromisoformat("2026-03-01T23:30:00+01:00")
        assert ids(list(SHAREKIT.pages(request(running.url, since, token_env="A_KEY"), outside))) == []
        assert running.asked[0].params["filter[modified][GE]"] == "2026-03-01T22:30:00Z"
        assert [asked.headers["authorization"] for asked in running.asked] == ["Bearer secret"] * 2


def test_a_key_that_is_not_set_is_named(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("A_KEY", raising=False)
    assert "A_KEY" in failure([page()], outside, token_env="A_KEY")


@pytest.mark.parametrize("kind", ["absolute path", "whole", "object"])
def test_the_next_link_may_be_written_in_any_way(kind: str, outside: Outside) -> None:
    running: list[Server] = []

    def answer(asked: Asked) -> str:
        if asked.params.get("page[number]") == "2":
            return page("2")
        link = f"{PATH}?page[number]=2"
        return page(
            "1",
            following={
                "absolute path": link,
                "whole": running[0].url + link,
                "object": {"href": link},
            }[kind],
        )

    with server(answer) as one:
        running.append(one)
        assert ids(list(SHAREKIT.pages(request(one.url), outside))) == ["1", "2"]


@pytest.mark.parametrize(
    "link",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:1/",
        "//example.org/x",
        "file:///etc/passwd",
        "http://127.0.0.1/other-port",
        "http://[broken",
        "?page=\0",
    ],
)
def test_a_next_link_to_another_host_is_refused_and_the_key_stays_here(link: str, outside: Outside) -> None:
    with server([page("1", following=link)]) as running:
        with pytest.raises(SourceError, match="refused"):
            list(SHAREKIT.pages(request(running.url), outside))
        assert len(running.asked) == 1


@pytest.mark.parametrize("end", [None, "", "  ", 5, {}, {"href": None}])
def test_no_next_link_is_the_end(end: Any, outside: Outside) -> None:
    with server([page("1", following=end)]) as running:
        assert ids(list(SHAREKIT.pages(request(running.url), outside))) == ["1"]


@pytest.mark.parametrize("links", ["", '"links": [],', '"links": null,'])
def test_links_may_be_absent_or_empty(links: str, outside: Outside) -> None:
    with server([f'{{{links} "data": []}}']) as running:
        assert ids(list(SHAREKIT.pages(request(running.url), outside))) == []


def test_a_circle_of_next_links_is_a_loop(outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        number = int(asked.params.get("page[number]", 0))
        return page(str(number), following=f"{PATH}?page[number]={(number + 1) % 4}")

    with server(answer) as running:
        with pytest.raises(SourceError, match="circles"):
            list(SHAREKIT.pages(request(running.url), outside))
        assert len(running.asked) == 5


def test_the_same_page_under_ever_new_links_is_a_loop(outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        return page("1", "2", following=f"{PATH}?page[number]={int(asked.params.get('page[number]', 0)) + 1}")

    with server(answer) as running:
        with pytest.raises(SourceError, match="circles"):
            list(SHAREKIT.pages(request(running.url), outside))
        assert len(running.asked) < 6


def test_empty_pages_without_end_are_a_loop(outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        number = int(asked.params.get("page[number]", 0))
        return page(*(["1"] if number == 50 else []), following=f"{PATH}?page[number]={number + 1}")

    with server(answer) as running:
        with pytest.raises(SourceError, match="empty pages"):
            list(SHAREKIT.pages(request(running.url), outside))
        assert len(running.asked) == 152


BROKEN = {
    "HTML": HTML,
    "an empty body": "",
    "cut off": page("1", "2")[:-20],
    "data is no list": '{"data": {"id": "1"}}',
    "data is null": '{"data": null}',
    "no data": '{"links": {}}',
    "a list": "[]",
    "null": "null",
    "errors": '{"errors": [{"status": "500", "detail": "Out of order"}]}',
    "very deep": "[" * 100_000,
    "data is very deep": '{"data": [' + "[" * 100_000,
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_page_is_asked_for_again(broken: str, outside: Outside) -> None:
    with server([broken, broken, page("1")]) as running:
        assert ids(list(SHAREKIT.pages(request(running.url), outside))) == ["1"]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_a_page_that_stays_broken_ends_the_harvest(broken: str, outside: Outside) -> None:
    assert "3 times" in failure([broken] * 3, outside)


def test_what_arrived_instead_is_told(outside: Outside) -> None:
    assert "Please log in" in failure([HTML] * 3, outside)
    assert "Out of order" in failure([BROKEN["errors"]] * 3, outside)


def test_a_refused_key_is_told(outside: Outside) -> None:
    assert "token_env" in failure([Reply(b"", 401)], outside)


def test_the_key_never_shows(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "s3cr3t")
    assert "s3cr3t" not in failure([HTML] * 3, outside, token_env="A_KEY")


def test_a_page_beyond_the_limit_is_refused(outside: Outside) -> None:
    assert "larger" in failure([Reply(b" " * MAX_PAGE_BYTES + page("1").encode())], outside)


def test_a_source_in_the_time_zone_of_nobody(outside: Outside) -> None:
    with server([page()]) as running:
        list(SHAREKIT.pages(request(running.url, datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)), outside))
        assert running.asked[0].params["filter[modified][GE]"] == "2026-01-02T03:04:05Z"


def full(body: str, **more: Any) -> str:
    return json.dumps(json.loads(body) | more)


NOWHERE = {
    "itself": lambda number: min(number, 1) + 1,
    "the beginning": lambda number: number + 1 if number < 1 else 0,
    "ever new pages": lambda number: number + 1,
}


@pytest.mark.parametrize("leads_to", NOWHERE.values(), ids=NOWHERE)
@pytest.mark.parametrize("rest", [(), ("1",), ("2",)], ids=["empty", "the first", "the last"])
def test_a_next_link_behind_the_last_record_is_the_end(leads_to: Any, rest: tuple[str, ...], outside: Outside) -> None:
    def answer(asked: Asked) -> str:
        number = int(asked.params.get("page[number]", 0))
        names = {0: ("1",), 1: ("2",)}.get(number, rest)
        return full(page(*names, following=f"{PATH}?page[number]={leads_to(number)}"), meta={"totalCount": 2})

    with server(answer) as running:
        walk = Walk(request(running.url).settings)
        assert set(ids(list(SHAREKIT.pages(request(running.url), outside, walk)))) == {"1", "2"}
        assert len(running.asked) <= 4 and walk.notes


def test_a_total_proves_nothing(outside: Outside) -> None:
    with server([full(page("1"), meta={"totalCount": 500})]) as running:
        assert ids(list(SHAREKIT.pages(request(running.url), outside))) == ["1"]


def test_errors_beside_data_are_not_a_whole_answer(outside: Outside) -> None:
    with server([full(page("1"), errors=[{"title": "half of it"}])]) as running:
        came = SHAREKIT.pages(request(running.url), outside)
        assert ids([next(came)]) == ["1"]
        with pytest.raises(NotWhole, match="half of it"):
            next(came)


@pytest.mark.parametrize("errors", [[], None, {}])
def test_no_errors_beside_data_are_none(errors: Any, outside: Outside) -> None:
    with server([full(page("1"), errors=errors)]) as running:
        assert ids(list(SHAREKIT.pages(request(running.url), outside))) == ["1"]


@pytest.mark.parametrize("became", ["as it was", "another", "gone"])
def test_a_walk_goes_on_where_its_list_is_as_it_was(became: str, outside: Outside) -> None:
    def answer(asked: Asked) -> Reply | str:
        number = int(asked.params.get("page[number]", 0))
        if len(running.asked) == 1 and became != "as it was":
            return Reply(b"gone", 410) if became == "gone" else page("9")
        return page(str(number), following=f"{PATH}?page[number]={number + 1}" if number < 2 else None)

    with server(answer) as running:
        stored = [page("0", following="x").encode(), page("1", following="x").encode()]
        came_by, follows = (f"{running.url}{PATH}?page[number]={number}" for number in (1, 2))
        walk = Walk(request(running.url).settings, stored=stored, came_by=came_by, follows=follows, goes_on=True)
        came = ids(list(SHAREKIT.pages(request(running.url), outside, walk)))
        assert came == (["2"] if became == "as it was" else ["0", "1", "2"])
        assert walk.beginning == (0 if became == "as it was" else 1)


def test_a_walk_whose_pages_are_all_there_asks_nothing(outside: Outside) -> None:
    with server([]) as running:
        walk = Walk(request(running.url).settings, stored=[page("0").encode()], goes_on=True)
        assert list(SHAREKIT.pages(request(running.url), outside, walk)) == [] and not running.asked
