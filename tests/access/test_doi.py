"""The DOI resolver: a further source of knowledge that never fails a decision."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from harvester_dagster.access.decide import doi
from harvester_dagster.access.decide.solr_document import from_fields
from harvester_dagster.access.runs.enricher import Enricher
from harvester_dagster.access.runs.run import enrich
from harvester_dagster.store.database import Pool
from tests.access.conftest import NOW, Collection, Make

FREE = {"is_oa": True, "oa_status": "gold", "best_oa_location": {"url": "https://example.org"}}


class Unpaywall(NamedTuple):
    url: str
    answers: dict[str, tuple[int, object]]
    asked: list[str]


@pytest.fixture
def resolver() -> Iterator[Unpaywall]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found.asked.append(self.path)
            path = self.path.partition("?")[0].removeprefix("/v2/")
            status, answer = found.answers.get(path, (404, {"error": True}))
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Unpaywall(f"http://127.0.0.1:{server.server_address[1]}", {}, [])
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


def with_resolver(make: Make, resolver: Unpaywall, **more: Any) -> Enricher:
    return make(doi_resolver_url=resolver.url, doi_resolver_email="library@example.org", **more)


def test_it_answers_before_none_and_only_then(make: Make, collection: Collection, resolver: Unpaywall) -> None:
    resolver.answers["10.1234/free"] = (200, FREE)
    resolver.answers["10.1234/closed"] = (200, {"is_oa": False, "oa_status": "closed"})
    link = '{"type": "other", "url": "http://dx.doi.org/10.1234/FREE"}'
    collection.add(
        {"id": "free", "doi_ss": ["https://doi.org/10.1234/free"]},
        {"id": "by-url", "fulltext_list_ssf": [link]},
        {"id": "closed", "doi_ss": ["10.1234/closed"]},
        {"id": "unknown", "doi_ss": ["10.1234/unknown"]},
        {"id": "no-doi"},
        {"id": "decided", "doi_ss": ["10.1234/decided"], "fulltext_list_ssf": ['{"type": "publisher"}']},
    )
    report = enrich(with_resolver(make, resolver), "full")
    oa = (("dtupub", "dtu"), ("oadoi",))
    assert collection.access() == {
        "free": oa,
        "by-url": oa,
        "closed": ((), ("none",)),
        "unknown": ((), ("none",)),
        "no-doi": ((), ("none",)),
        "decided": (("dtu",), ("metastore",)),
    }
    assert report.counts.rules["doi_resolver"] == 2
    assert sorted(path.partition("?")[0] for path in resolver.asked) == [
        "/v2/10.1234/closed",
        "/v2/10.1234/free",
        "/v2/10.1234/unknown",
    ]
    assert all("email=library%40example.org" in path for path in resolver.asked)


def test_answers_are_kept_until_they_are_old(make: Make, collection: Collection, resolver: Unpaywall) -> None:
    resolver.answers["10.1234/a"] = (200, {"is_oa": False})
    collection.add({"id": "a", "doi_ss": ["10.1234/a"]})
    enrich(with_resolver(make, resolver), "full")
    enrich(with_resolver(make, resolver), "full")
    assert len(resolver.asked) == 1
    resolver.answers["10.1234/a"] = (200, FREE)
    later = NOW + doi.ANSWER_LASTS + timedelta(days=1)
    assert enrich(with_resolver(make, resolver, now=later), "changed").counts.applied == 1
    assert collection.access()["a"] == (("dtupub", "dtu"), ("oadoi",))


@pytest.mark.parametrize("answer", [(422, {"message": "email"}), (500, {}), (200, b"<html>"), (200, [1]), (429, {})])
def test_its_failure_never_fails_a_decision(
    make: Make, collection: Collection, resolver: Unpaywall, answer: tuple[int, object]
) -> None:
    dois = [f"10.1234/{n}" for n in range(30)]
    resolver.answers.update(dict.fromkeys(dois, answer))
    collection.add(*({"id": name[8:], "doi_ss": [name]} for name in dois))
    report = enrich(with_resolver(make, resolver), "full")
    assert report.state == "complete" and report.counts.rules == {"none": 30}
    assert len(resolver.asked) < 15  # it is left alone when it fails again and again
    resolver.answers.update(dict.fromkeys(dois, (200, FREE)))
    tomorrow = with_resolver(make, resolver, now=NOW + timedelta(days=2))
    assert enrich(tomorrow, "changed").counts.rules == {"doi_resolver": 30}


def test_calls_of_a_day_are_limited(make: Make, collection: Collection, resolver: Unpaywall, pool: Pool) -> None:
    with pool.connection() as connection:
        connection.execute(
            """INSERT INTO open_access_answer (doi, status, asked_at)
               SELECT '10.1/' || n, 'unknown', %s FROM generate_series(1, %s) n""",
            (NOW, doi.CALLS_A_DAY - 5),
        )
    collection.add(*({"id": f"{n}", "doi_ss": [f"10.1234/{n}"]} for n in range(8)))
    enrich(with_resolver(make, resolver), "full")
    assert len(resolver.asked) == 5
    enrich(with_resolver(make, resolver, now=NOW + timedelta(days=2)), "changed")
    assert len(resolver.asked) == 8


def test_off_by_default(make: Make) -> None:
    assert make().settings.doi_resolver_url == "" and "doi_ss" not in make().solr.fields


def test_a_doi_is_found_where_documents_have_one() -> None:
    def found(**fields: object) -> str | None:
        return doi.doi_of(from_fields({"id": "1", **fields}))

    assert found(doi_ss=["doi:10.1100/TSW.2010.219"]) == "10.1100/tsw.2010.219"
    assert found(fulltext_list_ssf=['{"url":"http://dx.doi.org/10.1100/tsw.2010.219"}']) == "10.1100/tsw.2010.219"
    assert found(fulltext_list_ssf=["{broken", '{"url":"http://arxiv.org/abs/0908.3349"}']) is None
