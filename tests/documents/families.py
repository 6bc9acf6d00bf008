"""Families of the recorded products with results of every task in every kind: what outputs are compared over."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from harvester_dagster.config import SetSettings
from harvester_dagster.documents.output import Enriched
from harvester_dagster.sources.kind import Record, Request
from harvester_dagster.sources.registry import KINDS
from harvester_dagster.tasks.task import OutcomeKind, Result

RECORDINGS = Path(__file__).parents[1] / "sources" / "recordings"
SETS = {
    "edurep:surfsharekit": ("oai-pmh", ("edurep/list-records.1.xml", "edurep/list-records.2.xml")),
    "sharekit:edusources": ("sharekit", ("sharekit/repo-items.1.json", "sharekit/repo-items.2.json")),
}
NOW = datetime(2026, 11, 22, 3, tzinfo=UTC)
KINDS_OF_RESULTS: tuple[OutcomeKind, ...] = ("success", "success", "success", "empty", "failure", "retry")
TERMS = {"keyword": ["a", "b"], "nl": ["A", "B"], "en": ["A", "B"]}
PICTURES = {"full_size": "a.jpg", "preview": "b.jpg", "preview_small": "c.jpg", "seconds": 0.1}
VIDEO = {"title": "V", "duration": "PT1M", "embed_url": "https://www.youtube.com/embed/x", "description": "D"}
DATA: Mapping[str, Mapping[str, tuple[Mapping[str, Any] | None, ...]]] = {
    "products": {
        "lookup_study_vocabulary_parents": ({"study_vocabulary": TERMS}, {}, {"study_vocabulary": {}}),
        "normalize_disciplines": ({"disciplines_normalized": TERMS}, None),
        "normalize_publisher_year": ({"publisher_year_normalized": "2024"}, {"publisher_year_normalized": None}),
        "lookup_consortium_translations": ({"consortium": {"keyword": "C", "nl": None, "en": None}}, {}),
    },
    "files": {
        "check_url": ({"status": 200}, {"status": 404}, {"status": 500, "strikes": 9}, {"status": 500, "strikes": 1}),
        "tika": ({"texts": [{"text": " Een bos ", "language": "nl"}, {"text": ""}, {"text": "Trees"}]}, {"texts": []}),
        "pdf_preview": (PICTURES, {}, None),
        "image_preview": ({**PICTURES, "full_size": "image"}, None),
        "youtube_api": ({**VIDEO, "definition": "hd", "license": "youtube"}, VIDEO, {}),
        "video_preview": ({**PICTURES, "full_size": "video"},),
    },
}


def families(rounds: int = 20) -> Iterator[tuple[Enriched, list[Enriched]]]:
    """Each recorded product and its files, `rounds` times, each time with other results; always the same ones."""
    results = {entity: _results(entity) for entity in DATA}
    for _ in range(rounds):
        for key in SETS:
            for product, *files in _documents(key):
                yield (
                    product._replace(results=next(results["products"])),
                    [file._replace(results=next(results["files"])) for file in files],
                )


def _documents(key: str) -> Iterator[list[Enriched]]:
    kind, pages = SETS[key]
    request = Request(SetSettings(kind=kind, url="https://example.org/"), key.partition(":")[2], None)
    for name in pages:
        page = (RECORDINGS / name).read_bytes()
        for record in KINDS[kind].extract(page, range(len(KINDS[kind].cut(page))), request):
            assert isinstance(record, Record)
            if record.documents:
                yield [
                    Enriched(f"{key}:{one.external_id}", key, one.external_id, one.state, one.properties, {}, None, NOW)
                    for one in record.documents
                ]


def _results(entity: str) -> Iterator[dict[str, Result]]:
    """Endlessly: each task in turn succeeds, fails, has no result; at a stride of its own, so that all meet all."""
    streams = {task: _stream(data, 2 + place) for place, (task, data) in enumerate(DATA[entity].items())}
    while True:
        found = {task: next(stream) for task, stream in streams.items()}
        yield {task: result for task, result in found.items() if result is not None}


def _stream(data: tuple[Mapping[str, Any] | None, ...], stride: int) -> Iterator[Result | None]:
    kinds, answers = islice(cycle(KINDS_OF_RESULTS), 0, None, stride), cycle(data)
    for number, kind in enumerate(kinds):
        yield None if number % (3 + stride) == 0 else Result(kind, next(answers), "", None, 1, NOW)
