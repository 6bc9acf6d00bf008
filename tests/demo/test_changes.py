"""What the sources say can be changed while they run, and put back."""

import pytest
import requests

from harvester_dagster.demo.records import stamp
from harvester_dagster.demo.server import SampleServer
from tests.demo.clients import NOW, OAI, oai_records, repo_items

RECORD = "wikiwijs:oai:wikiwijs.example.org:100001"
ITEM = "0b1f3f0e-6c1d-4c0e-9a31-2f7f3b6f0001"
BEFORE = "2026-02-01T00:00:00Z"


def _post(sample: SampleServer, path: str) -> int:
    return requests.post(sample.url + path, timeout=10).status_code


def test_a_touched_record_has_another_title_and_is_in_the_next_delta(sample: SampleServer) -> None:
    assert _post(sample, f"/touch/{RECORD}") == 204
    delta = oai_records(sample, set="wikiwijs", **{"from": BEFORE})
    assert list(delta) == [RECORD]
    assert "Medicatieveiligheid op de afdeling (changed 1)" in "".join(delta[RECORD].itertext())
    assert delta[RECORD].findtext(f"{OAI}header/{OAI}datestamp") == stamp(NOW)


def test_a_touched_item_has_another_title_and_is_in_the_next_delta(sample: SampleServer) -> None:
    assert _post(sample, f"/touch/{ITEM}") == 204
    delta = repo_items(sample, BEFORE)
    assert list(delta) == [ITEM]
    assert delta[ITEM]["attributes"]["title"].endswith("(changed 1)")
    assert delta[ITEM]["attributes"]["modifiedAt"] == stamp(NOW)


def test_touching_again_is_a_change_again(sample: SampleServer) -> None:
    titles = set()
    for _ in range(2):
        sample.touch(ITEM)
        titles.add(repo_items(sample)[ITEM]["attributes"]["title"])
    assert len(titles) == 2


def test_deleted_records_and_items_are_reported_as_such(sample: SampleServer) -> None:
    assert [_post(sample, f"/delete/{id_}") for id_ in (RECORD, ITEM)] == [204, 204]
    header = oai_records(sample, **{"from": BEFORE})[RECORD].find(f"{OAI}header")
    assert header is not None
    assert header.get("status") == "deleted"
    assert repo_items(sample, BEFORE)[ITEM]["meta"] == {"status": "deleted", "deletedAt": stamp(NOW)}


def test_a_reset_brings_back_the_beginning(sample: SampleServer) -> None:
    before = repo_items(sample), list(oai_records(sample))
    sample.touch(ITEM)
    sample.delete(RECORD)
    sample.lie("half")
    assert _post(sample, "/reset") == 204
    assert (repo_items(sample), list(oai_records(sample))) == before
    assert oai_records(sample, set="wikiwijs")[RECORD].find(f"{OAI}metadata") is not None


@pytest.mark.parametrize(
    ("path", "status"),
    [("/touch/nobody", 404), ("/delete/nobody", 404), ("/lie/small-one", 400), ("/lie/none", 204), ("/burn/down", 404)],
)
def test_knobs_refuse_what_they_do_not_know(sample: SampleServer, path: str, status: int) -> None:
    assert _post(sample, path) == status


def test_it_counts_what_it_was_asked_for(sample: SampleServer) -> None:
    for _ in range(3):
        requests.head(f"{sample.url}/files/handout.pdf", timeout=10)
    counted = requests.get(f"{sample.url}/requests", timeout=10).json()
    assert counted["HEAD /files/handout.pdf"] == 3
