"""Vocabularies over the API: trees and values, with how often each occurs in what is current at that very moment."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from harvester_dagster.consumers import vocabulary_counts
from harvester_dagster.installation import Installation
from harvester_dagster.releases.value_counts import count
from harvester_dagster.sets import versions
from harvester_dagster.vocabularies import shipped
from harvester_dagster.vocabularies.trees import Part, Term, Vocabularies
from tests.consumers.copies import client_of
from tests.releases.test_value_counts import OUTPUTS, output, publish, terms
from tests.vocabularies.installations import Open, installed, server

__all__ = ["installed", "server"]
ROOT = shipped.vocabularies().tree("disciplines_normalized")[0].term


@pytest.fixture
def installation(installed: Open) -> Installation:
    return installed()


@pytest.fixture
def client(installation: Installation) -> TestClient:
    return client_of(installation)


def _product() -> bytes:
    return output(2025, ["a"], normalize_disciplines={"disciplines_normalized": terms(ROOT.value)})


def _tree(client: TestClient, field: str) -> list[dict[str, Any]]:
    answer = client.get("/metadata/tree/", params={"field": field})
    assert answer.status_code == 200, answer.text
    (tree,) = answer.json()["results"]
    assert tree["field"] == field
    children: list[dict[str, Any]] = tree["children"]
    return children


def _count(client: TestClient) -> int:
    return next(int(node["count"]) for node in _tree(client, "disciplines_normalized"))


def test_trees_have_all_terms_with_both_names(installation: Installation, client: TestClient) -> None:
    publish(installation, _product())
    trees = client.get("/metadata/tree/").json()["results"]
    known = shipped.vocabularies()
    assert {tree["field"] for tree in trees} == set(known.fields)
    for tree in trees:
        if tree["field"] == "publisher_year":
            continue
        waiting = [(None, node) for node in tree["children"]]
        found = []
        for parent, node in waiting:
            found.append((node["value"], parent, node["nl"], node["en"]))
            waiting += [(node["value"], child) for child in node["children"]]
        assert sorted(found, key=str) == sorted((tuple(term) for term in known.terms(tree["field"]).values()), key=str)


def test_counts_are_those_of_what_is_current_before_they_are_counted(
    installation: Installation, client: TestClient
) -> None:
    first = publish(installation, _product(), _product(), *OUTPUTS)
    assert _count(client) == 2
    count(installation)
    assert _count(client) == 2
    publish(installation, _product())
    assert _count(client) == 1
    count(installation)
    versions.promote(installation, first, rollback=True)
    assert _count(client) == 2


def test_years_are_a_tree_of_recent_and_older_ones(installation: Installation, client: TestClient) -> None:
    publish(installation, *OUTPUTS)
    *recent, older = _tree(client, "publisher_year")
    assert len(recent) == 4 and not any(node["children"] for node in recent)
    assert older["value"] == "older-than" and older["count"] == 1
    assert {node["value"]: node["count"] for node in older["children"]}["1990"] == 1


@pytest.mark.parametrize("prefix", [ROOT.value, ROOT.nl[:6].upper(), ROOT.en[:6].lower(), ROOT.value + "/"])
def test_values_are_found_by_how_they_or_their_names_begin(
    installation: Installation, client: TestClient, prefix: str
) -> None:
    publish(installation, _product())
    answer = client.get(f"/metadata/field-values/disciplines_normalized/{prefix}").json()
    assert answer["results"][0] == {"value": ROOT.value, "nl": ROOT.nl, "en": ROOT.en, "count": 1}
    assert answer["version"] and answer["seq"]


def test_values_that_occur_and_are_no_terms_are_found(installation: Installation, client: TestClient) -> None:
    publish(installation, *OUTPUTS)
    answer = client.get("/metadata/field-values/disciplines/b", params={"page_size": 1}).json()
    assert answer["results"] == [{"value": "b", "nl": None, "en": None, "count": 2}]


def test_the_whole_field_has_an_empty_beginning(installation: Installation, client: TestClient) -> None:
    publish(installation, *OUTPUTS)
    found = client.get("/metadata/field-values/consortium/").json()["results"]
    assert {one["value"] for one in found} == {*shipped.vocabularies().terms("consortium"), "C"}


def test_an_answer_that_is_known_is_not_sent_again(installation: Installation, client: TestClient) -> None:
    publish(installation, _product())
    tag = client.get("/metadata/tree/").headers["etag"]
    assert client.get("/metadata/tree/", headers={"If-None-Match": tag}).status_code == 304
    publish(installation, _product(), _product())
    assert client.get("/metadata/tree/", headers={"If-None-Match": tag}).status_code == 200


def test_what_cannot_be_answered_is_a_problem(installation: Installation, client: TestClient) -> None:
    assert client.get("/metadata/tree/").status_code == 417
    publish(installation, _product())
    for path, status in (
        ("/metadata/tree/?field=nothing", 404),
        ("/metadata/tree/?what=1", 400),
        ("/metadata/field-values/nothing/a", 404),
        ("/metadata/field-values/disciplines/a?page_size=1001", 400),
        ("/metadata/field-values/disciplines/%00%E2%80%AE../..//", 200),
    ):
        answer = client.get(path)
        assert answer.status_code == status, (path, answer.text)
        if status != 200:
            assert answer.headers["content-type"] == "application/problem+json"


def test_a_tree_may_be_deeper_than_pythons_stack() -> None:
    deep = Vocabularies([Part("x", "x", tuple(Term(str(n), str(n - 1) if n else None, "a", "b") for n in range(3000)))])
    assert vocabulary_counts.tree(deep, "x").count('"value"') == 3000
