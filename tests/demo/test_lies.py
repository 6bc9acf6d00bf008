"""Each lie is told by one source, as its sentence says, while the other source tells the truth."""

import json
import time
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
import requests

from harvester_dagster import config
from harvester_dagster.config import source_of
from harvester_dagster.demo import served_cases
from harvester_dagster.demo.case_table import CASES
from harvester_dagster.demo.configuration import demo_config
from harvester_dagster.demo.lies import EVERY_CASE, LIES, SLOW_SECONDS, Source, UnknownLieError, help_text, telling
from harvester_dagster.demo.server import SampleServer
from tests.demo.clients import (
    NOW,
    OAI,
    REPO_ITEMS,
    SLOWNESS,
    error_code,
    oai,
    oai_pages,
    oai_records,
    repo_items,
    repo_pages,
)

LIST = {"verb": "ListRecords", "metadataPrefix": "lom", "set": "surfsharekit"}


def _asked(sample: SampleServer, source: Source) -> requests.Response:
    if source == "edurep":
        return requests.get(f"{sample.url}/edurep/oai", params=LIST, timeout=10)
    return requests.get(sample.url + REPO_ITEMS, timeout=10)


def _as_seen(sample: SampleServer, source: Source) -> tuple[int, bytes]:
    answer = _asked(sample, source)
    return answer.status_code, answer.content


@pytest.mark.parametrize("name", LIES)
def test_the_other_source_tells_the_truth(sample: SampleServer, name: str) -> None:
    other: Source = "sharekit" if LIES[name].source == "edurep" else "edurep"
    truth = _as_seen(sample, other)
    sample.lie(name)
    assert _as_seen(sample, other) == truth


@pytest.mark.parametrize("name", [name for name, lie in LIES.items() if not lie.bound])
def test_a_free_lie_can_be_told_by_the_other_source(sample: SampleServer, name: str) -> None:
    source = LIES[name].source
    truth = _as_seen(sample, source)
    sample.lie(f"{'sharekit' if source == 'edurep' else 'edurep'}:{name}")
    assert _as_seen(sample, source) == truth


def test_half_is_half_of_the_items_as_if_that_were_all(sample: SampleServer) -> None:
    whole = list(repo_items(sample))
    sample.lie("half")
    assert list(repo_items(sample)) == whole[:13]
    assert list(repo_items(sample, since="2026-01-01T00:00:00Z")) == whole[:13]


def test_empty_is_a_well_formed_answer_without_records(sample: SampleServer) -> None:
    sample.lie("empty")
    assert repo_items(sample) == {}
    sample.lie("edurep:empty")
    assert error_code(oai(sample, **LIST)) == "noRecordsMatch"


def test_dead_closes_every_connection_without_an_answer(sample: SampleServer) -> None:
    sample.lie("dead")
    for _ in range(3):
        with pytest.raises(requests.ConnectionError):
            _asked(sample, "sharekit")


def test_html_is_an_error_page_with_status_200(sample: SampleServer) -> None:
    sample.lie("html")
    answer = _asked(sample, "sharekit")
    assert (answer.status_code, answer.content[:6]) == (200, b"<html>")


def test_mess_spoils_a_third_and_leaves_the_rest(sample: SampleServer) -> None:
    whole = repo_items(sample)
    sample.lie("mess")
    items = [item for page in repo_pages(sample) for item in page["data"]]
    assert sum(item in whole.values() for item in items) >= len(whole) * 0.6
    assert "repoItem" in items
    assert {"type": "repoItem", "attributes": []} in items


def test_mess_in_xml_is_still_xml_with_every_known_record(sample: SampleServer) -> None:
    whole = oai_records(sample, set="wikiwijs")
    sample.lie("edurep:mess")
    messy = oai_records(sample, set="wikiwijs")
    assert messy.keys() == whole.keys() | {""}
    spoilt = [name for name in whole if "".join(messy[name].itertext()) != "".join(whole[name].itertext())]
    assert len(spoilt) == 4


def test_slow_takes_so_many_seconds_longer(sample: SampleServer) -> None:
    sample.lie("slow")
    started = time.monotonic()
    assert _asked(sample, "sharekit").status_code == 200
    assert time.monotonic() - started >= SLOW_SECONDS * SLOWNESS


def test_503_comes_once_with_retry_after(sample: SampleServer) -> None:
    sample.lie("503")
    answers = [_asked(sample, "sharekit") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [503, 200, 200]
    assert answers[0].headers["Retry-After"] == "1"


def test_429_refuses_every_page_once(sample: SampleServer) -> None:
    sample.lie("429")
    answers = [_asked(sample, "edurep") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [429, 200]
    other_page = requests.get(f"{sample.url}/edurep/oai", params={**LIST, "set": "wikiwijs"}, timeout=10)
    assert (other_page.status_code, other_page.headers["Retry-After"]) == (429, "1")


def test_cut_closes_the_first_answer_in_the_middle(sample: SampleServer) -> None:
    sample.lie("cut")
    with pytest.raises(requests.RequestException):
        _asked(sample, "sharekit")
    assert len(repo_items(sample)) == 26


@pytest.mark.parametrize(("source", "parse"), [("edurep", ET.fromstring), ("sharekit", json.loads)])
def test_broken_breaks_in_the_middle(sample: SampleServer, source: Source, parse: Callable[[bytes], object]) -> None:
    sample.lie(f"{source}:broken")
    answer = _asked(sample, source)
    assert answer.status_code == 200
    with pytest.raises((ET.ParseError, json.JSONDecodeError)):
        parse(answer.content)


def test_blocked_is_an_empty_body(sample: SampleServer) -> None:
    sample.lie("blocked")
    assert _as_seen(sample, "edurep") == (200, b"")


def test_loop_repeats_its_token_for_ever_also_in_a_delta(sample: SampleServer) -> None:
    sample.lie("loop")
    page = oai(sample, **LIST, **{"from": "2026-01-01"})
    tokens = []
    for _ in range(4):
        tokens.append(page.findtext(f".//{OAI}resumptionToken"))
        page = oai(sample, verb="ListRecords", resumptionToken=str(tokens[-1]))
        assert list(page.iter(f"{OAI}record"))
    assert len(set(tokens)) == 1


def test_badtoken_refuses_the_first_token_of_each_set_once(sample: SampleServer) -> None:
    sample.lie("badtoken")
    for spec in ("surfsharekit", "wikiwijs"):
        token = oai(sample, **{**LIST, "set": spec}).findtext(f".//{OAI}resumptionToken", "")
        assert error_code(oai(sample, verb="ListRecords", resumptionToken=token)) == "badResumptionToken"
        assert sum(len(list(page.iter(f"{OAI}record"))) for page in oai_pages(sample, set=spec)) == 12


def test_granularity_knows_days_only(sample: SampleServer) -> None:
    sample.lie("granularity")
    assert oai(sample, verb="Identify").findtext(f".//{OAI}granularity") == "YYYY-MM-DD"
    assert error_code(oai(sample, **LIST, **{"from": "2020-01-01T00:00:00Z"})) == "badArgument"
    page = oai(sample, **LIST, **{"from": "2020-01-01"})
    assert {len(stamp.text or "") for stamp in page.iter(f"{OAI}datestamp")} == {10}


def test_mad_delete_reports_all_but_one_as_deleted_in_any_delta(sample: SampleServer) -> None:
    sample.lie("mad-delete")
    for spec in ("surfsharekit", "wikiwijs"):
        delta = oai_records(sample, set=spec, **{"from": f"{NOW:%Y-%m-%d}"})
        assert len(delta) == 11
        assert all(record.find(f"{OAI}metadata") is None for record in delta.values())
        alive = [r for r in oai_records(sample, set=spec).values() if r.find(f"{OAI}metadata") is not None]
        assert len(alive) == 1


def test_the_truth_comes_back(sample: SampleServer) -> None:
    truth = _as_seen(sample, "sharekit")
    for lie in ("html", "none"):
        assert requests.post(f"{sample.url}/lie/{lie}", timeout=10).status_code == 204
    assert _as_seen(sample, "sharekit") == truth


def test_every_case_can_be_played_and_is_told_of(sample: SampleServer) -> None:
    assert sorted(CASES) == served_cases.names() and not CASES.keys() & LIES.keys()
    assert all(f"{name:13} {case.does}: {case.seen}" in help_text() for name, case in CASES.items())
    for name in CASES:
        sample.lie(name)
        found = config.parse(tomllib.loads(demo_config(sample.url, [name])))
        (key,) = [key for key in found.sets if key.startswith(f"case-{name}:")]
        assert found.sets[key].url == f"{sample.url}/cases/{name}"


def test_all_cases_are_played_in_one_night(sample: SampleServer) -> None:
    every = telling(EVERY_CASE)
    assert every is not None and every.cases == tuple(CASES)
    found = config.parse(tomllib.loads(demo_config(sample.url, every.cases)))
    assert {source_of(key) for key in found.sets} >= {f"case-{name}" for name in CASES}


def test_a_case_is_played_from_its_beginning_each_time(sample: SampleServer) -> None:
    said = []
    for _ in range(2):
        sample.lie("busy")
        said.append(requests.get(f"{sample.url}/cases/busy?verb=ListRecords", timeout=10).status_code)
    assert said == [503, 503]


@pytest.mark.parametrize("name", ["white", "sharekit:loop", "solr:half", "half:", "edurep:amp", "case-amp"])
def test_an_unknown_lie_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(UnknownLieError, match="mad-delete"):
        telling(name)


def test_the_help_has_a_sentence_for_each(sample: SampleServer) -> None:
    text = help_text()
    assert all(f"{name:12} [{lie.source}] {lie.says}" in text for name, lie in LIES.items())
