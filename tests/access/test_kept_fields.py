"""An atomic update harms no field: each kind of field on real Solr, before and after a run that was refused, and one
that was allowed; and the rule against what Solr then does."""

from typing import Any

import pytest
import requests

from harvester_dagster.access.runs.run import enrich
from harvester_dagster.access.solr.before_writing import check_writable, losses
from harvester_dagster.failures import PermanentError
from tests.access.conftest import Collection, Make
from tests.access.test_failures import state

TYPES = """
<fieldType name="sortable" class="solr.SortableTextField"><analyzer><tokenizer name="standard"/></analyzer></fieldType>
<fieldType name="bare_double" class="solr.DoublePointField" docValues="false"/>
<fieldType name="bare_string" class="solr.StrField" docValues="false"/>
<fieldType name="point" class="solr.PointType" dimension="2" subFieldSuffix="_double"/>
"""

KEPT: dict[str, tuple[str, dict[str, Any]]] = {
    "stored": ('<field name="s" type="text_general" indexed="true" stored="true"/>', {"s": "one"}),
    "docValues of one value": ('<field name="s" type="string" indexed="true" stored="false"/>', {"s": "one"}),
    "target of a copyField": (
        '<field name="s" type="text_general" indexed="true" stored="false" multiValued="true"/>'
        '<copyField source="title_ts" dest="s"/>',
        {"title_ts": ["one"]},
    ),
    "stored target of a copyField": (
        '<field name="s" type="string" indexed="true" stored="true" multiValued="true"/>'
        '<copyField source="title_ts" dest="s"/>',
        {"title_ts": ["one"]},
    ),
    "target of all fields": (
        '<field name="s" type="text_general" indexed="true" stored="false" multiValued="true"/>'
        '<copyField source="*" dest="s"/>',
        {"title_ts": ["one"]},
    ),
    "target of a dynamic rule": (
        '<dynamicField name="*_sort" type="bare_string" indexed="true" stored="false" multiValued="true"/>'
        '<copyField source="*_ts" dest="*_sort"/>',
        {"title_ts": ["one"]},
    ),
    "part of a point": (
        '<field name="p" type="point" indexed="true" stored="true"/>'
        '<dynamicField name="*_double" type="bare_double" indexed="true" stored="false"/>',
        {"p": "3,4"},
    ),
    "ignored": ('<field name="s" type="ignored"/>', {"s": "one"}),
    "a rule that no document uses": (
        '<dynamicField name="*_idx" type="text_general" indexed="true" stored="false"/>',
        {"title_ts": ["one"]},
    ),
    "a title without a term": (
        '<field name="s" type="string" indexed="true" stored="false" multiValued="true" docValues="false"/>'
        '<copyField source="title_ts" dest="s"/>',
        {"title_ts": ["..."]},
    ),
}

LOST: dict[str, tuple[str, dict[str, Any], str]] = {
    "indexed only": ('<field name="s" type="text_general" indexed="true" stored="false"/>', {"s": "one two"}, "s"),
    "indexed only, by a dynamic rule": (
        '<dynamicField name="*_idx" type="text_general" indexed="true" stored="false"/>',
        {"odd-name_idx": "one two"},
        "odd-name_idx",
    ),
    "docValues of several values": (
        '<field name="s" type="string" indexed="true" stored="false" multiValued="true"/>',
        {"s": ["one", "a", "one"]},
        "s",
    ),
    "docValues only, not indexed": (
        '<field name="s" type="pint" indexed="false" stored="false" multiValued="true"/>',
        {"s": [2, 1]},
        "s",
    ),
    "docValues that are not used as stored values": (
        '<field name="s" type="string" indexed="true" stored="false" useDocValuesAsStored="false"/>',
        {"s": "one"},
        "s",
    ),
    "docValues of a text for sorting": (
        '<field name="s" type="sortable" indexed="true" stored="false"/>',
        {"s": "one two"},
        "s",
    ),
    "target of a source that is not kept": (
        '<field name="s" type="text_general" indexed="true" stored="false" multiValued="true"/>'
        '<field name="body" type="ignored"/><copyField source="body" dest="s"/>'
        '<copyField source="title_ts" dest="s"/>',
        {"body": "one two", "title_ts": ["three"]},
        "s",
    ),
    "target that is filled by hand": (
        '<field name="s" type="text_general" indexed="true" stored="true" multiValued="true"/>'
        '<copyField source="title_ts" dest="s"/>',
        {"s": ["one two"]},
        "s",
    ),
    "stored target of a dynamic rule": (
        '<dynamicField name="*_cp" type="string" indexed="true" stored="true" multiValued="true"/>'
        '<copyField source="*_ts" dest="*_cp"/>',
        {"title_ts": ["one"]},
        "title_cp",
    ),
}


def extended(collection: Collection, fields: str, *documents: dict[str, Any]) -> None:
    """The schema of `metastore` with further fields, and documents in it."""
    schema = collection.conf / "schema.xml"
    schema.write_text(schema.read_text().replace("</schema>", f"{TYPES}{fields}</schema>"))
    reload = {"action": "RELOAD", "core": collection.name}
    answer = requests.get(f"{collection.solr_url}/admin/cores", params=reload, timeout=60)
    assert answer.ok, answer.text
    collection.add(*({"id": f"d{place}", **document} for place, document in enumerate(documents)))


def content(collection: Collection) -> Any:
    """All that Solr has of each document, as terms, docValues and stored values tell it."""
    asked = {"numTerms": 50, "fl": "*"}
    found = collection.http.get(f"{collection.url}/admin/luke", params=asked, timeout=60).json()["fields"]
    terms = {name: about.get("topTerms") for name, about in found.items()}
    stored = {id_: {k: v for k, v in d.items() if k != "_version_"} for id_, d in collection.all().items()}
    written = ("fulltext_info_ss", "fulltext_availability_ss", "_version_")
    return {k: v for k, v in terms.items() if k not in written}, [
        {k: v for k, v in document.items() if k not in written} for document in stored.values()
    ]


@pytest.mark.parametrize("kind", KEPT)
def test_what_is_kept_is_no_loss(make: Make, collection: Collection, kind: str) -> None:
    fields, document = KEPT[kind]
    extended(collection, fields, document)
    before = content(collection)
    assert enrich(make(), "full").counts.applied == 1
    if kind != "target of all fields":  # which holds what the enricher writes too
        assert content(collection) == before


@pytest.mark.parametrize("kind", LOST)
def test_what_would_be_lost_refuses_the_run(make: Make, collection: Collection, kind: str) -> None:
    fields, document, name = LOST[kind]
    extended(collection, fields, document, {})
    before = collection.all()
    with pytest.raises(PermanentError) as refused:
        enrich(make(), "full")
    assert refused.value.code == "schema" and f"--allow-loss {name}" in str(refused.value)
    assert f"{name} (1 documents): " in str(refused.value)
    assert collection.all() == before, "something was written"
    assert state(make())[0] == "failed"
    dry = enrich(make(), "full", dry_run=True)
    assert dry.state == "complete" and f"--allow-loss {name}" in dry.reason


@pytest.mark.parametrize("kind", LOST)
def test_it_would_be_lost_indeed(make: Make, collection: Collection, kind: str) -> None:
    """The rule says what Solr does: with leave, the field is harmed."""
    fields, document, name = LOST[kind]
    extended(collection, fields, document)
    before = content(collection)
    assert enrich(make(), "full", allow_loss=[name]).counts.applied == 1
    collection.post({"optimize": {}})
    after = content(collection)
    if kind in ("docValues of several values", "docValues only, not indexed"):
        assert given_back(collection, name) != document[name]
    else:
        assert after != before


def given_back(collection: Collection, name: str) -> Any:
    asked = {"q": "*:*", "fl": name}
    return collection.http.get(f"{collection.url}/select", params=asked, timeout=60).json()["response"]["docs"][0][name]


def test_leave_by_the_configuration_and_by_the_name_of_the_rule(make: Make, collection: Collection) -> None:
    fields, document, name = LOST["indexed only, by a dynamic rule"]
    extended(collection, fields, document)
    allowed = check_writable(make().solr, ["*_idx"])
    assert [loss.field for loss in allowed] == [name]
    assert enrich(make(allow_loss=("*_idx",)), "full").state == "complete"


def test_other_documents_may_have_what_they_like(make: Make, collection: Collection) -> None:
    """Only what the enricher decides is updated."""
    fields, document, _name = LOST["indexed only"]
    extended(collection, fields, {**document, "superformat_s": "person"}, {})
    assert losses(make().solr) == []
    assert enrich(make(), "full").counts.applied == 1


def test_a_search_finds_after_the_run_what_it_found_before(make: Make, collection: Collection) -> None:
    extended(collection, LOST["indexed only"][0], *({"s": "one two"} for _ in range(6)))

    def hits() -> int:
        asked = {"q": "s:two", "rows": 0}
        found = collection.http.get(f"{collection.url}/select", params=asked, timeout=60).json()["response"]
        return int(found["numFound"])

    assert hits() == 6
    with pytest.raises(PermanentError):
        enrich(make(), "full")
    assert hits() == 6
    assert enrich(make(), "full", allow_loss=["s"]).state == "complete"
    assert hits() == 0
