"""The form that a product has in the index: whatever an output says, the models of a search client take it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from harvester_dagster import canonical
from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, Output, Store, Web
from harvester_dagster.documents.index_form import Stored, index_form, restored, stored
from harvester_dagster.documents.making import Parts
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.search.bulk_lines import line
from harvester_dagster.tasks import index_values
from harvester_dagster.tasks.published import PublishedField
from harvester_dagster.tasks.task import Result
from tests.documents.families import NOW, families
from tests.documents.schema_values import TRAPS, values
from tests.search.client import MODELS, refused

FORM = CATALOG.index_form("products")
VALIDATE = CATALOG.validation("products")
SCHEMA = CATALOG.schema("products")
PROBES = json.loads((Path(__file__).parents[1] / "search" / "probes.json").read_text("utf-8"))
CONFIG = Config(web=Web(public_url="https://harvester.example.org"), output=Output(author_emails=True))
assert FORM is not None and SCHEMA is not None

URL = "https://x.nl/a"
FILE = {
    **{"srn": "a:b:c:f", "url": URL, "hash": "h", "state": "active", "title": "F", "type": "document"},
    **{"is_link": False, "copyright": None, "mime_type": None, "access_rights": "OpenAccess", "priority": 0},
    **{"language": None, "provider": None},
    **CATALOG.making("files", CONFIG).fields("a:b:c:f", {}),
}
AUTHOR = {"name": "Jan", "email": None}


def output(**changes: Any) -> dict[str, Any]:
    product = Enriched("a:b:c", "a:b", "c", "active", {"title": "T", "language": "nl"}, {}, None, NOW)
    return {**product_output(product, [], CATALOG.making("products", CONFIG)), **changes}


def indexed(of: Mapping[str, Any]) -> dict[str, Any]:
    """As it reaches the server: through the store, and through a line of the bulk format."""
    sent: dict[str, Any] = json.loads(line(1, of["srn"], bytes(9), FORM.stored(of)).data.splitlines()[1])
    assert sent.pop("output_hash") == {"a": 0, "b": 0, "c": 0}
    return sent


def taken(document: Mapping[str, Any]) -> None:
    for model in MODELS.values():
        assert not refused(model, document)


def changed(document: dict[str, Any], probe: Mapping[str, Any]) -> dict[str, Any]:
    """The document with the probe's value at the probe's place."""
    top, _, below = probe["field"].replace("[]", "").partition(".")
    document = {name: value for name, value in document.items() if name != probe.get("without")}
    if probe.get("missing"):
        return {name: value for name, value in document.items() if name != top}
    if not below and "[]" in probe["field"]:
        return {**document, top: [probe["value"]]}
    if below:
        return {**document, top: [{**(FILE if top == "files" else AUTHOR), below: probe["value"]}]}
    return {**document, top: probe["value"]}


LEAST = {"srn": "a:b:c", "set": "a:b", "external_id": "c", "harvest_source": "b", "title": "T"}


@pytest.mark.parametrize("probe", PROBES["probes"], ids=lambda probe: f"{probe['field']}={probe.get('value')!s:.40}")
def test_our_models_answer_as_the_clients_do(probe: Mapping[str, Any]) -> None:
    assert bool(refused(MODELS[probe["model"]], changed(LEAST, probe))) is not probe["accepted"]


@pytest.mark.parametrize(("length", "accepted"), [(2083, True), (2084, False)])
def test_an_address_has_a_greatest_length(length: int, accepted: bool) -> None:
    long = "https://x.nl/".ljust(length, "a")
    assert bool(refused(MODELS["learning_material"], {**LEAST, "url": long})) is not accepted
    assert bool(index_values.web_address(long)) is accepted


@pytest.mark.parametrize("probe", PROBES["probes"], ids=lambda probe: f"{probe['field']}={probe.get('value')!s:.40}")
def test_no_value_that_the_client_refuses_reaches_the_index(probe: Mapping[str, Any]) -> None:
    made = changed(output(), probe)
    if VALIDATE(made):
        return  # such an output is not published
    document = indexed(made)
    taken(document)
    if probe["accepted"] and probe["field"] in ("url", "files[].url", "authors[].email", "video"):
        kept = changed(document, probe)
        assert document == kept or probe["field"] == "video", "what is right stays as it is"


@pytest.mark.parametrize("shown", PROBES["shown"], ids=str)
def test_what_the_client_would_show_wrongly_is_repaired(shown: Mapping[str, Any]) -> None:
    if date := shown.get("publisher_date"):
        document = indexed(output(publisher_date=date))
        assert document["publisher_date"] == document["published_at"] == (None if len(date) > 4 else f"{date}-01-01")
        return
    product = Enriched("a:b:c", "a:b", "c", "active", {"title": "Own", "language": shown["language"]}, {}, None, NOW)
    document = indexed(product_output(product, [], CATALOG.making("products", CONFIG)))
    for model in MODELS.values():
        assert model.model_validate(document).title == "Own"


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large])
@given(values({**SCHEMA, "$defs": {}}, SCHEMA))
def test_any_output_that_may_be_published_is_taken(made: dict[str, Any]) -> None:
    assume(not VALIDATE(made))
    taken(document := indexed(made))
    assert document == json.loads(canonical.encode(FORM.of(made)))
    assert json.loads(FORM.stored(made).body) == made
    assert FORM.stored(made) == restored(canonical.encode(made), FORM)


@given(st.data())
def test_any_value_of_one_field_is_taken(data: st.DataObject) -> None:
    """As above, a field at a time, so that few are lost to others."""
    name = data.draw(st.sampled_from(sorted(SCHEMA["properties"])))
    made = output(**{name: data.draw(values(SCHEMA["properties"][name], SCHEMA))})
    assume(not VALIDATE(made))
    taken(indexed(made))


def test_the_recorded_products_are_taken_and_say_the_same() -> None:
    making = CATALOG.making("products", CONFIG)
    seen = 0
    for product, files in families():
        made = product_output(product, files, making)
        document = indexed(made)
        taken(document)
        assert {name for name in made if name not in document} <= {
            *("entity", "source_modified_at", "overwrite", "copyright_description", "organizations", "parties"),
        }
        assert document["previews"] == made["previews"] and document["title"] == made["title"]
        assert document["provider"] == made["provider"]["name"]
        seen += bool(made["previews"])
    assert seen


@pytest.mark.parametrize(
    ("changes", "shown", "note"),
    [
        ({"publisher_date": "2020-05"}, {"publisher_date": "2020-05-01", "published_at": "2020-05-01"}, ""),
        (
            {"publisher_date": "2019-02-29"},
            {"publisher_date": None},
            "publisher_date is left out: '2019-02-29' is no day",
        ),
        ({"publisher_date": "0000"}, {"published_at": None}, "publisher_date is left out: '0000' is no day"),
        ({"language": "nl-NL"}, {"language": "nl"}, ""),
        ({"language": "de"}, {"language": "de"}, ""),
        ({"doi": "https://doi.org/10.1/x"}, {"doi": "10.1/x"}, ""),
        ({"doi": "DOI: 10.1/x "}, {"doi": "10.1/x"}, ""),
        ({"doi": "urn:nbn:x"}, {"doi": None}, "doi is left out: 'urn:nbn:x' is no DOI"),
        ({"provider": {"name": None, "slug": "hanze", "ror": "r"}}, {"provider": "hanze"}, ""),
        ({"provider": {}}, {"provider": None}, ""),
        ({"url": "x.nl"}, {"url": None}, "url is left out: 'x.nl' is no web address"),
        ({"authors": [{"name": None, "email": None}]}, {"authors": []}, "an author is left out: without a name"),
        (
            {"authors": [{"name": "Jan", "email": "a@x.test", "more": 1}]},
            {"authors": [{"name": "Jan", "email": None}]},
            "the e-mail address of Jan is left out: no mail could reach it",
        ),
        (
            {"files": [{**FILE, "url": "x.nl"}]},
            {"files": []},
            "the file a:b:c:f is left out: 'x.nl' is no web address",
        ),
        (
            {"files": [{**FILE, "access_rights": None, "provider": {"name": "Hanze"}}]},
            {"files": [{**FILE, "access_rights": "ClosedAccess", "provider": "Hanze"}]},
            "the file a:b:c:f counts as ClosedAccess: nobody says who may see it",
        ),
        (
            {"files": [{**FILE, "video": {"duration": None, "embed_url": URL}}]},
            {"files": [{**FILE, "video": None}]},
            "video of a:b:c:f is left out: search clients could not read it",
        ),
        (
            {"video": {"duration": 63, "embed_url": URL, "license": "youtube"}},
            {"video": {"duration": "PT63S", "embed_url": URL}},
            "",
        ),
        ({"video": None, "previews": None}, {"video": None, "previews": None}, ""),
    ],
    ids=str,
)
def test_what_differs_and_what_is_said_of_it(changes: dict[str, Any], shown: dict[str, Any], note: str) -> None:
    made = output(**changes)
    assert VALIDATE(made) == []
    document = indexed(made)
    assert {name: document[name] for name in shown} == shown
    assert FORM.notes(made) == ([note] if note else [])
    taken(document)


def test_what_no_client_reads_is_not_in_the_index() -> None:
    document = indexed(output(something="2020-01-01", organizations={"root": None}, parties=[{}, 1], entity="products"))
    left_out = {"entity", "something", "organizations", "parties", "overwrite", "source_modified_at"}
    assert not left_out & document.keys()


def test_a_subtitle_never_stands_without_a_title() -> None:
    made = output(subtitle="S")
    made["texts"]["nl"] = {**made["texts"]["nl"], "titles": [], "subtitles": [{"text": "S"}]}
    taken(indexed(made))


SIZES = ("full_size", "preview", "preview_small")
KEY = f"derived/ab/{'ab' * 32}/pdf_preview-1/"
MADE = {size: f"{KEY}{size}.jpg" for size in SIZES}


def pictured(config: Config, data: Mapping[str, Any]) -> dict[str, Any]:
    """A product with a file of which this was made."""
    found = Result("success", data, "", None, 1, NOW)
    file = Enriched("a:b:c/é:f", "a:b", "c/é:f", "active", {"url": URL, "hash": "h"}, {"pdf_preview": found}, None, NOW)
    product = Enriched("a:b:c/é", "a:b", "c/é", "active", {"title": "T", "language": None}, {}, None, NOW)
    made = product_output(product, [file], CATALOG.making("products", config))
    assert VALIDATE(made) == []
    taken(document := indexed(made))
    assert document["previews"] == made["previews"]
    assert document["files"][0].get("previews") == made["files"][0].get("previews") == made["previews"]
    return made


def test_pictures_have_addresses_of_the_pages_or_of_the_store() -> None:
    of_pages = Config(web=Web(public_url="https://h.example.org/x/"))
    of_store = Config(web=Web(public_url="https://h"), store=Store(objects_public_url="https://cdn.example.org/b/"))
    assert pictured(of_pages, MADE)["previews"] == {
        size: f"https://h.example.org/x/pictures/{KEY}{size}.jpg?of=a:b:c%2F%C3%A9:f" for size in SIZES
    }
    assert pictured(of_store, MADE)["previews"] == {
        size: f"https://cdn.example.org/b/{KEY}{size}.jpg" for size in SIZES
    }
    assert pictured(Config(), MADE)["previews"] is None


def test_what_was_fetched_is_never_named() -> None:
    body = f"bodies/ab/{'ab' * 32}"
    previews = pictured(Config(web=Web(public_url="https://h")), {**MADE, "full_size": body})["previews"]
    assert previews["full_size"] == previews["preview"] != previews["preview_small"]


@pytest.mark.parametrize("missing", SIZES)
def test_pictures_are_all_there_or_none(missing: str) -> None:
    assert pictured(Config(web=Web(public_url="https://h")), {**MADE, missing: None})["previews"] is None


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(TRAPS), max_size=4),
    st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(TRAPS), max_size=4),
    st.none() | st.frozensets(st.sampled_from("abcdef")),
)
def test_both_forms_come_back_from_the_store(made: Any, differing: Any, fields: frozenset[str] | None) -> None:
    form = index_form(lambda _output, _note: dict(differing), 1, fields, (), Parts())
    assert form is not None
    kept = stored(made, form)
    assert json.loads(kept.body) == made
    sent = json.loads(line(1, "s", bytes(9), kept).data.splitlines()[1])
    passed = {name: value for name, value in made.items() if fields is None or name in fields}
    assert sent == {"output_hash": {"a": 0, "b": 0, "c": 0}, **passed, **differing}


def test_the_hash_is_of_both_forms() -> None:
    assert stored({"a": 1}, None).hash == Stored(b'{"a":1}').hash
    assert len({Stored(b'{"a":1}').hash, Stored(b'{"a":1}', b"", 2).hash, Stored(b'{"a":1}', b'"b":2', 2).hash}) == 3


def test_an_entity_without_a_form_goes_as_it_is() -> None:
    assert index_form(None, 1, None, [PublishedField("a")], Parts()) is None
    assert stored({"b": 1, "a": 2}, None) == Stored(b'{"a":2,"b":1}')
