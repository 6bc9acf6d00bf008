"""The enricher's pages: each path and status code as its users know it, and nothing from Solr that acts."""

import threading
import time
from typing import Any

import pytest
import requests

from harvester_dagster.config import Web
from harvester_dagster.web import guard
from tests.access.meddling import Asked
from tests.web.conftest import Site

OPEN = {"id": "1", "cluster_id_ss": ["77"], "fulltext_list_ssf": ['{"type": "openaccess"}']}


def post(site: Site, path: str, **data: str) -> requests.Response:
    return requests.post(site.url + path, data=data, timeout=20)


def get(site: Site, path: str, accept: str = "text/html", **params: str) -> requests.Response:
    return requests.get(site.url + path, params=params, headers={"Accept": accept}, timeout=20)


def status(site: Site) -> Any:
    return get(site, "/harvest/status.json").json()


def until(site: Site, state: str) -> Any:
    give_up = time.monotonic() + 30
    while (found := status(site))["state"] != state:
        assert found["state"] != "failed" and time.monotonic() < give_up, str(found)
        time.sleep(0.05)
    return found


def test_start_status_stop(site: Site) -> None:
    site.collection.add(*({**OPEN, "id": f"{n:03}"} for n in range(300)))
    never = get(site, "/harvest/status")
    assert never.status_code == 200 and "never run" in never.text

    assert "<button>Start" in never.text and ">Stop<" not in never.text, "nothing runs that could be stopped"
    assert '<select name="endpoint"' not in never.text, "there is but one"

    go_on = threading.Event()

    def hold(asked: Asked) -> None:
        if asked.is_update:
            go_on.wait(60)

    site.proxy.before = lambda asked: hold(asked)
    started = post(site, "/harvest/create", mode="full", endpoint="dtu")
    assert started.status_code == 202
    again = post(site, "/harvest/create", mode="partial", endpoint="dtu")
    assert again.status_code == 503 and "already in progress" in again.text
    running = get(site, "/harvest/status.json")
    assert running.status_code == 202 and running.json()["mode"] == "full"
    page = get(site, "/harvest/status")
    assert page.status_code == 202 and ">Stop<" in page.text and "<button>Start" not in page.text

    assert post(site, "/harvest/stop").status_code == 204
    until(site, "stopped")
    go_on.set()
    site.proxy.before = lambda asked: None
    ended = get(site, "/harvest/status", accept="application/json")
    assert ended.status_code == 200

    assert post(site, "/harvest/create", mode="full", endpoint=site.proxy.url).status_code == 202
    done = until(site, "complete")
    assert {"mode", "endpoint", "started_at", "ended_at", "documents", "processed", "per_second", "batch_size"} <= set(
        done
    )
    assert done["documents"] == 300 and done["endpoint"] == "dtu"
    assert site.collection.access()["000"] == (("dtupub", "dtu"), ("metastore",))
    log = get(site, "/harvest/log")
    assert log.status_code == 200 and "complete: " in log.text


def test_nothing_starts_without_a_known_mode_and_endpoint(site: Site) -> None:
    for data in (
        {},
        {"mode": "full"},
        {"endpoint": "dtu"},
        {"mode": "everything", "endpoint": "dtu"},
        {"mode": "full", "endpoint": "http://169.254.169.254/latest"},
        {"mode": "full", "endpoint": site.proxy.url + ".evil.example"},
    ):
        assert post(site, "/harvest/create", **data).status_code == 400
    assert requests.post(site.url + "/harvest/create", json=["full"], timeout=20).status_code == 400
    assert not site.proxy.asked and status(site)["state"] == "never run"


def test_debug_shows_article_journal_decision_and_update(site: Site) -> None:
    site.collection.add(
        {"id": "j", "format": "journal", "source_ss": ["jnl_sfx"], "issn_ss": ["1"], "title_ts": ["Acta"],
         "holdings_ssf": ['{"fromyear": "1990", "toyear": "2000"}']},
        {"id": "a", "cluster_id_ss": ["4711"], "issn_ss": ["1"], "pub_date_tis": [1995]},
    )  # fmt: skip
    assert post(site, "/cache/update", endpoint="dtu").status_code == 201
    assert "<form" in get(site, "/debug/article").text
    for identifier in ("a", "4711"):
        found = get(site, "/debug/article", id=identifier, endpoint="dtu")
        assert found.status_code == 200
        for expected in ("Acta", "1990-2000", "journal_holdings", "&#39;set&#39;", "Journals updated", "<svg"):
            assert expected in found.text
    assert get(site, "/debug/article", id="nobody", endpoint="dtu").status_code == 404
    assert get(site, "/debug/article", id="a", endpoint="http://localhost:1/solr").status_code == 400
    plain = get(site, "/debug/article", accept="application/json", id="a", endpoint="dtu").json()
    assert plain[0]["decision"]["rule"] == "journal_holdings"


def test_an_id_is_a_value_not_a_query(site: Site) -> None:
    site.collection.add(OPEN)
    for identifier in ("*", "1 OR *:*", "{!lucene}*:*", '1"', "1\\"):
        assert get(site, "/debug/article", id=identifier, endpoint="dtu").status_code == 404


def test_text_from_solr_is_escaped(site: Site) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    site.collection.add({**OPEN, "title_ts": [evil], "source_ss": [evil], "fulltext_list_ssf": [evil]})
    text = get(site, "/debug/article", id="1", endpoint="dtu").text
    assert "<script>alert" not in text and "<img" not in text and "&lt;script&gt;" in text
    policy = get(site, "/harvest/status").headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'self'")


def test_journals_are_refreshed_with_a_button(site: Site) -> None:
    page = get(site, "/cache/update")
    assert page.status_code == 200 and "<button" in page.text and "Never read" in page.text
    assert post(site, "/cache/update", endpoint="elsewhere").status_code == 400
    assert post(site, "/cache/update", endpoint="dtu").status_code == 201
    assert "Never read" not in get(site, "/cache/update").text


@pytest.mark.parametrize("path", ["/harvest", "/harvest/status.xml", "/static/../app.py", "/debug"])
def test_other_paths_are_404(site: Site, path: str) -> None:
    assert get(site, path).status_code == 404


def test_a_solr_that_is_away_is_a_502_with_a_sentence(site: Site) -> None:
    from tests.access.meddling import Instead

    site.proxy.before = lambda asked: Instead(503, b"<html>maintenance</html>")
    answer = get(site, "/debug/article", id="1", endpoint="dtu")
    assert answer.status_code == 502 and "503" in answer.text


def test_a_page_of_another_site_cannot_act(site: Site) -> None:
    data = {"mode": "full", "endpoint": "dtu"}
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        answer = requests.post(site.url + "/harvest/create", data=data, headers=headers, timeout=20)
        assert answer.status_code == 403
    assert status(site)["state"] == "never run"


def test_beyond_this_machine_an_action_needs_the_token(monkeypatch: pytest.MonkeyPatch) -> None:
    from starlette.requests import Request

    def why_not(address: str, *headers: tuple[bytes, bytes], web: Web | None = None) -> str | None:
        scope = {"type": "http", "client": (address, 1), "headers": [(b"host", b"localhost:3001"), *headers]}
        found = guard.admitted(Request(scope), web or Web(), guard.OPERATE)
        return found if isinstance(found, str) else None

    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    assert why_not("127.0.0.1") is None
    assert why_not("192.0.2.7") is not None
    assert why_not("192.0.2.7", (b"authorization", b"Bearer s3cret")) is None
    assert why_not("192.0.2.7", (b"authorization", b"Bearer wrong")) is not None
    behind = Web(trusted_proxies=("127.0.0.1",))
    assert why_not("127.0.0.1", (b"x-forwarded-for", b"127.0.0.1, 192.0.2.7"), web=behind) is not None
    assert why_not("192.0.2.7", (b"x-forwarded-for", b"127.0.0.1"), web=behind) is not None
    monkeypatch.delenv("HARVESTER_TOKEN")
    assert why_not("192.0.2.7", (b"authorization", b"Bearer ")) is not None
