"""Each service of the table starts, does its real work once, and is gone afterwards."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import psutil
import pysolr
import pytest
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from harvester_dagster.services import launcher


def processes(state: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):  # a zombie has no command line
            if any(str(state) in argument for argument in process.cmdline()):
                found.append(process)
    return found


def test_opensearch_analyses_dutch(opensearch_url: str) -> None:
    body = {"settings": {"analysis": {"analyzer": {"default": {"type": "dutch"}}}}}
    requests.put(f"{opensearch_url}/services-test", json=body, timeout=60).raise_for_status()
    document = f"{opensearch_url}/services-test/_doc/1?refresh=true"
    requests.put(document, json={"title": "de fietsen"}, timeout=30).raise_for_status()
    found = requests.get(f"{opensearch_url}/services-test/_search?q=title:fiets", timeout=30).json()
    assert [hit["_id"] for hit in found["hits"]["hits"]] == ["1"]


def test_solr_keeps_the_collection_metastore(solr_url: str, solr_lock: None) -> None:
    solr = pysolr.Solr(f"{solr_url}/metastore", timeout=30)
    solr.add([{"id": "services-1", "source_ss": ["jnl_sfx"]}], commit=True)
    assert solr.search("source_ss:jnl_sfx", fq="id:services-1").hits == 1
    solr.delete(id="services-1", commit=True)


def test_tika_reads_text(tika_url: str) -> None:
    headers = {"Content-Type": "text/html"}
    page = b"<html><body><p>Hallo wereld</p></body></html>"
    (found,) = requests.put(f"{tika_url}/rmeta/text", data=page, headers=headers, timeout=60).json()
    assert "Hallo wereld" in found["X-TIKA:content"]


def test_s3_checks_credentials(s3: launcher.S3Endpoint) -> None:
    settings = Config(signature_version="s3v4", s3={"addressing_style": "path"})

    def client(secret: str) -> Any:
        keys = {"aws_access_key_id": s3.access_key, "aws_secret_access_key": secret}
        return boto3.client("s3", endpoint_url=s3.url, region_name="us-east-1", config=settings, **keys)

    client(s3.secret_key).create_bucket(Bucket="services-test")
    client(s3.secret_key).put_object(Bucket="services-test", Key="a/b", Body=b"body")
    assert client(s3.secret_key).get_object(Bucket="services-test", Key="a/b")["Body"].read() == b"body"
    with pytest.raises(ClientError, match=r"403|SignatureDoesNotMatch"):
        client("wrong").list_objects_v2(Bucket="services-test")


def test_tika_leaves_no_worker_behind(tmp_path: Path) -> None:
    with launcher.tika(tmp_path) as url:
        assert requests.get(f"{url}/version", timeout=10).ok
        assert len(processes(tmp_path)) >= 2
    assert not processes(tmp_path)


@pytest.mark.parametrize("start", [launcher.tika, launcher.s3], ids=["tika", "s3"])
def test_a_killed_keeper_takes_its_server_along(tmp_path: Path, start: Callable[[Path], Any]) -> None:
    with start(tmp_path):
        old = processes(tmp_path)
        (keeper,) = [process for process in old if "harvester_dagster.services.keeper" in process.cmdline()]
        keeper.kill()
        keeper.wait(10)
        with start(tmp_path):
            assert processes(tmp_path)
            assert not set(old) & set(processes(tmp_path))
    assert not processes(tmp_path)
