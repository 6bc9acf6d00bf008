"""What the recorded answers of Edurep and Sharekit become for consumers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harvester_dagster.catalog import CATALOG
from harvester_dagster.config import Config, SetSettings
from harvester_dagster.documents.output import Enriched, product_output
from harvester_dagster.sources.kind import Record, Request
from harvester_dagster.sources.registry import KINDS

RECORDINGS = Path(__file__).parents[1] / "sources" / "recordings"


def _outputs(kind: str, key: str, *pages: str) -> Iterator[dict[str, Any]]:
    request = Request(SetSettings(kind=kind, url="https://example.org/"), key.partition(":")[2], None)
    for name in pages:
        page = (RECORDINGS / name).read_bytes()
        for record in KINDS[kind].extract(page, range(len(KINDS[kind].cut(page))), request):
            assert isinstance(record, Record)
            documents = [
                Enriched(
                    f"{key}:{document.external_id}", key, document.external_id, document.state, document.properties
                )
                for document in record.documents
            ]
            if documents:
                yield product_output(documents[0], documents[1:], CATALOG.making("products", Config()))


@pytest.fixture(scope="module")
def edurep() -> list[dict[str, Any]]:
    pages = ("edurep/list-records.1.xml", "edurep/list-records.2.xml")
    return list(_outputs("oai-pmh", "edurep:surfsharekit", *pages))


@pytest.fixture(scope="module")
def sharekit() -> list[dict[str, Any]]:
    pages = ("sharekit/repo-items.1.json", "sharekit/repo-items.2.json")
    return list(_outputs("sharekit", "sharekit:edusources", *pages))


def test_every_recorded_product_keeps_to_the_schema(
    edurep: list[dict[str, Any]], sharekit: list[dict[str, Any]]
) -> None:
    assert len(edurep) == 11
    assert len(sharekit) >= 10
    validate = CATALOG.validation("products")
    assert [reasons for output in (*edurep, *sharekit) if (reasons := validate(output))] == []


def _titled(outputs: list[dict[str, Any]], start: str) -> dict[str, Any]:
    return next(output for output in outputs if output["title"].startswith(start))


def test_files_of_edurep_have_no_titles_and_are_numbered(edurep: list[dict[str, Any]]) -> None:
    output = _titled(edurep, "Didactiek van macro-meso-micro")
    assert [file["title"] for file in output["files"]] == ["Attachment 1", "Attachment 2", "URL 1"]
    assert output["technical_type"] == "app"
    assert output["copyright"] == "cc-by-sa-40"


def test_files_of_sharekit_keep_their_names(sharekit: list[dict[str, Any]]) -> None:
    output = _titled(sharekit, "Exercises 5")
    (file,) = output["files"]
    assert (file["title"], file["type"], file["access_rights"]) == ("40. Exercises 5.docx", "document", "OpenAccess")
    assert output["url"] == "https://surfsharekit.nl/objectstore/182216be-31a2-43c3-b7de-e5dd355b09f7"
    assert output["disciplines"] == ["kunst_cultuur"]


def test_no_address_of_an_author_gets_out(edurep: list[dict[str, Any]], sharekit: list[dict[str, Any]]) -> None:
    authors = [author for output in (*edurep, *sharekit) for author in output["authors"]]
    assert authors
    assert {author["email"] for author in authors} == {None}
