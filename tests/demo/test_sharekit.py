"""Sharekit's side of the sample source server answers as the real one does."""

import json

import pytest
import requests

from harvester_dagster.demo.records import HERE
from harvester_dagster.demo.server import SampleServer, serve
from tests.demo.clients import REPO_ITEMS, repo_items, repo_pages

TODAYS = "0b1f3f0e-6c1d-4c0e-9a31-2f7f3b6f0001"


def test_the_listing_goes_on_along_relative_links(sample: SampleServer) -> None:
    pages = repo_pages(sample)
    assert [len(page["data"]) for page in pages] == [10, 10, 6]
    assert all(page["meta"] == {"totalCount": 26} for page in pages)
    assert all(page["links"]["self"].startswith(REPO_ITEMS) for page in pages)
    assert "next" not in pages[-1]["links"]


def test_recorded_items_are_as_recorded_but_for_their_urls(sample: SampleServer) -> None:
    served = repo_items(sample)
    recorded = json.loads((HERE / "recordings/sharekit/repo-items.1.json").read_text(encoding="utf-8"))["data"]
    for item in recorded[:-1]:
        own, original = served[item["id"]]["attributes"], item["attributes"]
        assert {**own, "files": 0, "links": 0} == {**original, "files": 0, "links": 0}
        assert len(own["files"] or []) == len(original["files"] or [])


def test_todays_items_have_todays_form(sample: SampleServer) -> None:
    attributes = repo_items(sample)[TODAYS]["attributes"]
    assert attributes["owner"]["name"] == "HAN University of Applied Sciences"
    assert [author["external"] for author in attributes["authors"]] == ["0", "1"]
    file = attributes["files"][0]
    assert file["eTag"].startswith('"')
    assert file["eTag"].endswith('"')
    assert (file["accessRight"], file["usageRight"], file["important"]) == ("OpenAccess", "cc-by-sa-40", "1")


def test_deleted_items_have_an_empty_list_of_attributes(sample: SampleServer) -> None:
    deleted = [item for item in repo_items(sample).values() if item.get("meta", {}).get("status") == "deleted"]
    assert len(deleted) == 2
    assert all(item["attributes"] == [] and item["meta"]["deletedAt"] for item in deleted)


@pytest.mark.parametrize(
    ("since", "found"), [("2024-11-11T11:11:11Z", 1), ("2024-10-10T10:10:10Z", 2), ("2026-01-01T00:00:00Z", 0)]
)
def test_a_delta_has_what_was_modified_since(sample: SampleServer, since: str, found: int) -> None:
    pages = repo_pages(sample, since)
    assert [len(page["data"]) for page in pages] == [found]


def test_a_delta_stays_one_on_its_further_pages(sample: SampleServer) -> None:
    items = repo_items(sample, "2024-01-01T00:00:00Z")
    assert len(items) == 15


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/sharekit/jsonapi/channel/v1/nowhere/repoItems", 404),
        (f"{REPO_ITEMS}?page[size]=0", 400),
        (f"{REPO_ITEMS}?page[number]=minus", 400),
        (f"{REPO_ITEMS}?filter[modified][GE]=yesterday", 400),
    ],
)
def test_a_wrong_request_is_an_error_of_json_api(sample: SampleServer, path: str, status: int) -> None:
    answer = requests.get(sample.url + path, timeout=10)
    assert answer.status_code == status
    assert answer.json()["errors"][0]["status"] == str(status)


def test_the_token_is_asked_for_where_one_is_configured() -> None:
    with serve(token="secret") as guarded:
        asked = [
            requests.get(guarded.url + REPO_ITEMS, headers=headers, timeout=10).status_code
            for headers in ({}, {"Authorization": "Bearer guess"}, {"Authorization": "Bearer secret"})
        ]
    assert asked == [401, 401, 200]
