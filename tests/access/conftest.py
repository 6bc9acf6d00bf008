"""A collection and an endpoint of the test's own, on the session's real Solr and PostgreSQL."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests

from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.solr.collection import PATIENCE, Solr
from harvester_dagster.config import Metastore
from harvester_dagster.outside.http import Outside
from harvester_dagster.store.database import Pool, open_pool
from tests.access.meddling import Proxy, meddling

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
UNDETERMINED = ["UNDETERMINED"]


class Collection:
    """A collection, as somebody else than the enricher uses it."""

    def __init__(self, solr_url: str, name: str, conf: Path = Path()) -> None:
        self.solr_url, self.name, self.url, self.conf = solr_url, name, f"{solr_url}/{name}", conf
        self.http = requests.Session()

    def post(self, body: Any, commit: bool = True) -> None:
        answer = self.http.post(f"{self.url}/update?commit={str(commit).lower()}", json=body, timeout=60)
        assert answer.ok, answer.text

    def add(self, *documents: dict[str, Any], commit: bool = True) -> None:
        self.post([{"superformat_s": "bib", "fulltext_availability_ss": UNDETERMINED, **d} for d in documents], commit)

    def delete(self, *ids: str, commit: bool = True) -> None:
        self.post({"delete": list(ids)}, commit)

    def all(self) -> dict[str, dict[str, Any]]:
        asked = {"q": "*:*", "rows": "100000", "fl": "*,_version_"}
        docs = self.http.get(f"{self.url}/select", params=asked, timeout=60).json()["response"]["docs"]
        return {document["id"]: document for document in docs}

    def access(self) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
        return {
            id_: (tuple(d.get("fulltext_availability_ss", ())), tuple(d.get("fulltext_info_ss", ())))
            for id_, d in self.all().items()
        }


@pytest.fixture
def collection(solr_url: str) -> Iterator[Collection]:
    """An empty one with the schema of `metastore` (0.2 s)."""
    http = requests.Session()
    system = http.get(f"{solr_url}/admin/info/system", params={"wt": "json"}, timeout=30).json()
    home, name = Path(system["solr_home"]), f"test_{uuid.uuid4().hex}"
    shutil.copytree(home / "metastore" / "conf", home / name / "conf")
    cores = f"{solr_url}/admin/cores"
    made = http.get(cores, params={"action": "CREATE", "name": name, "instanceDir": name}, timeout=60)
    assert made.ok, made.text
    yield Collection(solr_url, name, home / name / "conf")
    http.get(cores, params={"action": "UNLOAD", "core": name, "deleteInstanceDir": "true"}, timeout=60)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    opened = open_pool(database)
    yield opened
    opened.close()


Make = Callable[..., Enricher]


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside(allow_hosts=("127.0.0.1", "localhost"), per_host_per_second=1e9, back_off=0.01) as way:
        yield way


@pytest.fixture
def make(collection: Collection, pool: Pool, outside: Outside) -> Make:
    """An enricher of the collection; settings, the day and how patient it is may be given."""

    def made(
        now: datetime = NOW, timeout: float = 60, patience: float = PATIENCE, url: str = "", **settings: Any
    ) -> Enricher:
        endpoint = Metastore(url=url or collection.solr_url, **{"collection": collection.name, **settings})
        solr = Solr("dtu", endpoint, outside, timeout=timeout, patience=patience)
        return Enricher(pool, solr, endpoint, outside, ZoneInfo("Europe/Amsterdam"), lambda: now)

    return made


@pytest.fixture
def job(make: Make) -> Enricher:
    return make()


@pytest.fixture
def proxy(solr_url: str) -> Iterator[Proxy]:
    with meddling(solr_url) as found:
        yield found
