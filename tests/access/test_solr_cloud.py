"""Aliases, shards and read-only collections, on a real SolrCloud: a clear end, and a later run goes on."""

from collections.abc import Iterator

import pytest

from harvester_dagster.access.runs.run import enrich
from harvester_dagster.failures import PermanentError
from tests.access import solr_cloud
from tests.access.conftest import Collection, Make
from tests.access.solr_cloud import Cloud
from tests.access.test_failures import state
from tests.access.test_run import small_batches

INDEXED_ONLY = '<dynamicField name="*_idx" type="text_general" indexed="true" stored="false"/>'


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    with solr_cloud.running(tmp_path_factory.mktemp("cloud")) as found:
        yield found


def filled(cloud: Cloud, name: str, **more: str) -> Collection:
    collection = Collection(cloud.url, name)
    collection.add(*({"id": f"d{number}", "format": "book", "source_ss": ["dtu_sfx"]} for number in range(300)))
    if more:
        collection.add({"id": "more", **more})
    return collection


def test_an_alias_of_several_collections_is_refused(cloud: Cloud, make: Make) -> None:
    for name in ("first", "second"):
        cloud.create(name)
    before = filled(cloud, "second").access()
    cloud.do("CREATEALIAS", name="both", collections="first,second")
    with pytest.raises(PermanentError, match="several collections") as refused:
        enrich(make(url=cloud.url, collection="both"), "full")
    assert "first,second" in str(refused.value)
    assert Collection(cloud.url, "second").access() == before


def test_an_alias_that_moves_begins_anew_in_the_other_collection(cloud: Cloud, make: Make) -> None:
    for name in ("old", "new"):
        cloud.create(name)
        filled(cloud, name)
    cloud.do("CREATEALIAS", name="inner", collections="old")
    cloud.do("CREATEALIAS", name="outer", collections="inner")
    job = make(url=cloud.url, collection="outer")
    assert enrich(job, "full").counts.applied == 300
    assert enrich(job, "changed").counts.processed == 0
    cloud.do("CREATEALIAS", name="inner", collections="new")
    assert enrich(make(url=cloud.url, collection="outer"), "changed").counts.applied == 300
    assert set(Collection(cloud.url, "new").access().values()) == {(("dtu",), ("sfx",))}


def test_a_field_that_one_shard_has_alone_is_seen(cloud: Cloud, make: Make) -> None:
    cloud.create("sharded", shards=2, fields=INDEXED_ONLY)
    collection = filled(cloud, "sharded", odd_idx="one two")
    before = collection.access()
    with pytest.raises(PermanentError, match=r"odd_idx \(1 documents\)"):
        enrich(make(url=cloud.url, collection="sharded"), "full")
    assert collection.access() == before


def test_a_collection_that_becomes_read_only_ends_the_run_which_goes_on_later(cloud: Cloud, make: Make) -> None:
    cloud.create("kept")
    collection = filled(cloud, "kept")
    cloud.do("MODIFYCOLLECTION", collection="kept", readOnly="true")
    before = collection.access()
    with pytest.raises(PermanentError, match="not to be written to"):
        enrich(make(url=cloud.url, collection="kept"), "full")
    assert collection.access() == before and state(make())[0] == "failed"
    cloud.do("MODIFYCOLLECTION", collection="kept", readOnly="false")
    small_batches(make())
    assert enrich(make(url=cloud.url, collection="kept"), "full").counts.applied == 300
