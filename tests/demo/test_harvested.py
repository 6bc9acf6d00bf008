"""The sample shows what it is for: enough published documents, and work for every task on files."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from harvester_dagster import config
from harvester_dagster.demo.configuration import demo_config
from harvester_dagster.demo.server import SampleServer
from harvester_dagster.outside.http import Outside
from harvester_dagster.releases.nights import next_deadline
from harvester_dagster.sources.kind import Document, Record, Request, Unreadable
from harvester_dagster.sources.registry import KINDS


def _harvested(sample: SampleServer, key: str) -> Iterator[Record | Unreadable]:
    demo = config.parse(tomllib.loads(demo_config(sample.url)))
    settings = demo.sets[key]
    kind, request = KINDS[settings.kind], Request(settings, config.set_spec(key, demo), None, demo.production)
    with Outside(allow_hosts=demo.network.allow_hosts, per_host_per_second=1000, back_off=0.01) as outside:
        for page in kind.pages(request, outside):
            yield from kind.extract(page, range(len(kind.cut(page))), request)


def _documents(sample: SampleServer, key: str) -> Iterator[Document]:
    for record in _harvested(sample, key):
        assert isinstance(record, Record), record
        assert record.notes == ()
        yield from record.documents


@pytest.mark.parametrize(
    ("key", "states"),
    [
        ("edurep:surfsharekit", {"active": 6, "inactive": 5}),
        ("edurep:wikiwijs", {"active": 10, "inactive": 1}),
        ("sharekit:edusources", {"active": 23, "skipped": 1}),
    ],
)
def test_the_demo_configuration_harvests_every_record(
    sample: SampleServer, key: str, states: Mapping[str, int]
) -> None:
    found = Counter(document.state for document in _documents(sample, key) if document.entity == "products")
    assert found == states


def test_no_night_of_the_demonstration_ends_by_the_clock() -> None:
    demo, now = config.parse(tomllib.loads(demo_config("http://127.0.0.1:1"))), datetime.now(UTC)
    assert next_deadline(demo, now) - now > timedelta(hours=10)


@pytest.mark.parametrize(
    ("lie", "key"),
    [("half", "sharekit:edusources"), ("empty", "sharekit:edusources"), ("mad-delete", "edurep:wikiwijs")],
)
def test_what_shrinks_shrinks_beyond_any_doubt(sample: SampleServer, lie: str, key: str) -> None:
    def active() -> int:
        return sum(document.state == "active" for document in _documents(sample, key))

    honest = active()
    sample.lie(lie)
    assert active() <= honest * 0.6


def test_every_task_on_files_has_work(sample: SampleServer) -> None:
    keys = ("edurep:surfsharekit", "edurep:wikiwijs", "sharekit:edusources")
    files = [
        document.properties
        for key in keys
        for document in _documents(sample, key)
        if document.entity == "files" and document.state == "active"
    ]
    open_ = [file for file in files if file["access_rights"] == "OpenAccess"]
    assert _of_type(open_, "application/pdf") >= 15
    assert _of_type(open_, "image/") >= 6
    assert _of_type(open_, "application/vnd.openxmlformats") >= 4
    assert len({file["url"] for file in files if "/video/" in file["url"]}) == 3
    assert {file["access_rights"] for file in files} == {"OpenAccess", "RestrictedAccess", "ClosedAccess"}


def _of_type(files: list[Mapping[str, Any]], start: str) -> int:
    return sum((file["mime_type"] or "").startswith(start) for file in files)


def test_most_of_a_mess_is_harvested(sample: SampleServer) -> None:
    for lie, key in (("mess", "sharekit:edusources"), ("edurep:mess", "edurep:wikiwijs")):
        sample.lie(lie)
        kinds = Counter(type(record) for record in _harvested(sample, key))
        assert kinds[Unreadable] >= 4
        assert kinds[Record] >= 7
