"""Clients for the tests of the sample source server: whole listings, as a patient harvester would read them."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from typing import Any

import requests

from harvester_dagster.demo.server import SampleServer

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
SLOWNESS = 0.1
OAI = "{http://www.openarchives.org/OAI/2.0/}"
REPO_ITEMS = "/sharekit/jsonapi/channel/v1/edusources/repoItems"


def oai(sample: SampleServer, **arguments: str) -> ET.Element:
    answer = requests.get(f"{sample.url}/edurep/oai", params=arguments, timeout=10)
    assert answer.status_code == 200
    return ET.fromstring(answer.content)


def error_code(answer: ET.Element) -> str | None:
    error = answer.find(f"{OAI}error")
    return None if error is None else error.get("code")


def oai_pages(sample: SampleServer, prefix: str = "lom", **arguments: str) -> list[ET.Element]:
    pages = [oai(sample, verb="ListRecords", metadataPrefix=prefix, **arguments)]
    while token := pages[-1].findtext(f"{OAI}ListRecords/{OAI}resumptionToken"):
        assert len(pages) < 10
        pages.append(oai(sample, verb="ListRecords", resumptionToken=token))
    return pages


def oai_records(sample: SampleServer, prefix: str = "lom", **arguments: str) -> dict[str, ET.Element]:
    records = [record for page in oai_pages(sample, prefix, **arguments) for record in page.iter(f"{OAI}record")]
    return {record.findtext(f"{OAI}header/{OAI}identifier", ""): record for record in records}


def repo_pages(sample: SampleServer, since: str = "") -> list[dict[str, Any]]:
    pages: list[dict[str, Any]] = []
    link = f"{REPO_ITEMS}?page[size]=25" + (f"&filter[modified][GE]={since}" if since else "")
    while link:
        assert len(pages) < 10
        answer = requests.get(sample.url + link, timeout=10)
        answer.raise_for_status()
        pages.append(answer.json())
        link = pages[-1]["links"].get("next", "")
    return pages


def repo_items(sample: SampleServer, since: str = "") -> dict[str, Any]:
    return {item["id"]: item for page in repo_pages(sample, since) for item in page["data"]}
