"""The enricher's pages: each path and status code as its users know it, and nothing from Solr that acts."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from harvester_dagster.config import Web
from harvester_dagster.store.database import Pool
from harvester_dagster.web import guard
from harvester_dagster.web.launching import LaunchedRuns
from tests.access.conftest import Collection
from tests.access.meddling import Asked, Instead, Proxy
from tests.access.test_run import wait_until
from tests.web.conftest import Site, access_pages

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


def test_a_browser_is_led_to_the_page_of_the_run_and_its_reload_starts_nothing(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/harvest/status")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Run 1 of the enricher")
    page.reload()
    expect(page.locator("main")).to_contain_text("complete", timeout=20_000)
    assert page.url == f"{site.url}/access/runs/1/"
    with site.pool.connection() as connection:
        assert connection.execute("SELECT count(*) FROM access_run").fetchone() == (1,)
        acts = connection.execute("SELECT outcome, detail ->> 'run' FROM audit ORDER BY audit_id").fetchall()
    assert acts == [("asked for", "1"), ("done", "1")]


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
        for expected in ("Acta", "1990-2000", "journal_holdings", "{&#34;set&#34;:", "Journals updated"):
            assert expected in found.text
        assert f"harvester access why {identifier} --endpoint dtu" in found.text
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
    site.proxy.before = lambda asked: Instead(503, b"<html>maintenance</html>")
    answer = get(site, "/debug/article", id="1", endpoint="dtu")
    assert answer.status_code == 502 and "503" in answer.text


def test_a_page_of_another_site_cannot_act(site: Site) -> None:
    data = {"mode": "full", "endpoint": "dtu"}
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
        answer = requests.post(site.url + "/harvest/create", data=data, headers=headers, timeout=20)
        assert answer.status_code == 403
    assert status(site)["state"] == "never run"


def test_each_endpoint_has_its_state_its_stop_and_its_start(collection: Collection, proxy: Proxy, pool: Pool) -> None:
    collection.add(OPEN)
    go_on = threading.Event()
    proxy.before = lambda asked: go_on.wait(60) and None if asked.is_update else None
    with access_pages(pool, proxy.url, collection.name, "dtu", "other") as url:
        site = Site(url, collection, proxy, pool)
        assert post(site, "/harvest/create", mode="full", endpoint="dtu").status_code == 202
        page = get(site, "/harvest/status")
        assert page.status_code == 202 and "<button>Start" in page.text, "at the other one"
        assert 'name="endpoint" value="other"' in page.text and "--endpoint other" in page.text
        assert 'name="endpoint" value="dtu"><button class="stop">Stop' in page.text
        assert "http://dagster.example:3000/runs?q[]=tag%3Aaccess/endpoint%3Ddtu" in page.text
        assert post(site, "/harvest/create", mode="full", endpoint="other").status_code == 202
        assert post(site, "/harvest/stop", endpoint="dtu").status_code == 204
        asked = dict(state for state in rows(pool, "SELECT name, stop_asked_at IS NOT NULL"))
        assert asked == {"dtu": True, "other": False}, "the other one goes on"
        assert post(site, "/harvest/stop", endpoint="nowhere").status_code == 400
        time.sleep(1.5)  # a run looks twice a second whether it is to stop; this one has nothing else to do
        go_on.set()
        wait_until(lambda: rows(pool, "SELECT state") == [("stopped",), ("complete",)])


def rows(pool: Pool, selected: str) -> list[tuple[Any, ...]]:
    with pool.connection() as connection:
        return connection.execute(
            f"{selected} FROM access_run JOIN access_endpoint USING (endpoint_id) ORDER BY run_id"
        ).fetchall()


def test_history_of_runs_page_by_page(site: Site) -> None:
    assert "There was none yet" in get(site, "/access/runs/").text
    with site.pool.connection() as connection:
        connection.execute("INSERT INTO access_endpoint (name) VALUES ('dtu'), ('gone')")
        connection.execute(
            """INSERT INTO access_run (endpoint_id, mode, state, requested_at, started_at, ended_at, progress, reason)
               SELECT endpoint_id, 'full', 'failed', now(), now(), now(), '{"counts": {"total": 7, "failed": 3}}',
                      '<b>no</b>' FROM generate_series(1, 60), access_endpoint WHERE name = 'dtu'"""
        )
    first = get(site, "/access/runs/").text
    assert first.count("&lt;b&gt;no&lt;/b&gt;") == 50 and "before=11" in first
    rest = get(site, "/access/runs/", before="11").text
    assert rest.count("&lt;b&gt;no&lt;/b&gt;") == 10 and "before=" not in rest
    assert get(site, "/access/runs/", endpoint="dtu").text.count("<tr>") == 51
    for odd in ("x", "-1", "9" * 40, "0"):
        assert get(site, "/access/runs/", before=odd).status_code == 200
    assert get(site, "/access/runs/7/").status_code == 200
    for missing in ("999", "9" * 30, "9" * 5_000):
        assert get(site, f"/access/runs/{missing}/").status_code == 404


def test_a_run_with_what_it_met_and_said(site: Site) -> None:
    site.collection.add(OPEN, {"id": "bad <1>", "fulltext_list_ssf": ["{"]})
    assert post(site, "/harvest/create", mode="full", endpoint="dtu").status_code == 202
    until(site, "complete")
    text = get(site, f"/access/runs/{status(site)['run']}/").text
    for expected in (
        "bad &lt;1&gt;",
        "id=bad%20%3C1%3E&amp;endpoint=dtu",
        "complete: 2 documents",
        "fulltext_openaccess",
    ):
        assert expected in text, expected


def what_if(site: Site, *pairs: tuple[str, str]) -> str:
    answer = requests.post(f"{site.url}/access/what-if/", data=[("endpoint", "dtu"), *pairs], timeout=20)
    assert answer.status_code == 200, answer.text
    wait_until(lambda: "state running" not in get(site, "/access/what-if/").text)
    return get(site, "/access/what-if/").text


def test_what_if_decides_by_the_function_of_the_command_and_writes_nothing(site: Site) -> None:
    evil = "<script>x</script>"
    site.collection.add(*({**OPEN, "id": f"{n:03}", "title_ts": [evil]} for n in range(250)))
    before = site.collection.all()
    text = what_if(site, ("without", "fulltext_openaccess"), ("date", "2030-01-31"))
    assert "250 of 250 documents would change" in text and "none -&gt; none (none)" not in text
    assert "harvester access what-if --without fulltext_openaccess --date 2030-01-31 --endpoint dtu" in text
    assert "dtupub, dtu by fulltext_openaccess" in text and evil not in text
    assert site.collection.all() == before
    assert "No document would change" in what_if(site)
    assert "1 of 1" not in what_if(site, ("journals", '[{"id": "j", "issn_ss": ["1"]}]'))


def test_what_if_of_what_cannot_be_assumed(site: Site) -> None:
    def ask(**given: str) -> requests.Response:
        return post(site, "/access/what-if/", **{"endpoint": "dtu", **given})

    assert ask(endpoint="http://169.254.169.254/").status_code == 400
    assert ask(date="tomorrow").status_code == 400
    refused = ask(journals="{")
    assert refused.status_code == 422 and "a JSON array of journals is needed" in refused.text and ">{<" in refused.text
    assert ask(journals="x" * 600_000).status_code == 400
    assert not site.proxy.asked
    site.proxy.before = lambda asked: Instead(400, b"no such field")
    assert "state failed" in what_if(site) and "400" in get(site, "/access/what-if/").text


def test_one_what_if_at_a_time_and_it_can_be_stopped(site: Site) -> None:
    site.collection.add(*({**OPEN, "id": f"{n:03}"} for n in range(1_000)))
    go_on = threading.Event()
    site.proxy.before = lambda asked: go_on.wait(60) and None
    assert post(site, "/access/what-if/", endpoint="dtu").status_code == 200
    again = post(site, "/access/what-if/", endpoint="dtu")
    assert again.status_code == 409 and "wait for it, or stop it" in again.text
    assert post(site, "/access/what-if/stop").status_code == 200
    go_on.set()
    wait_until(lambda: "state stopped" in get(site, "/access/what-if/").text)


def test_a_what_if_that_could_not_begin_hinders_no_other(site: Site) -> None:
    with site.pool.connection() as connection:
        connection.execute("ALTER TABLE audit RENAME TO audit_away")
    assert post(site, "/access/what-if/", endpoint="dtu").status_code in (500, 503)
    with site.pool.connection() as connection:
        connection.execute("ALTER TABLE audit_away RENAME TO audit")
    assert post(site, "/access/what-if/", endpoint="dtu").status_code == 200


def test_a_run_that_could_not_begin_for_whatever_reason_hinders_no_other(pool: Pool) -> None:
    class Broken:
        def launch(self, endpoint: str, mode: str, request: int) -> None:
            raise OSError("no such host")

    runs = LaunchedRuns(Broken(), pool, lambda: datetime.now(UTC))
    for _ in range(2):
        with pytest.raises(OSError, match="no such host"):
            runs.start("dtu", "partial")


def test_empty_pages_say_what_to_do(site: Site, pool: Pool, proxy: Proxy) -> None:
    assert "harvester enrich partial" in get(site, "/harvest/log").text
    assert "Begin with <code>partial</code>" in get(site, "/harvest/status").text
    assert "Never read" in get(site, "/cache/update").text
    with access_pages(pool, proxy.url, "none") as url:
        for path in ("/harvest/status", "/debug/article", "/cache/update", "/access/what-if/"):
            assert "[metastore.NAME]" in requests.get(url + path, timeout=20).text, path


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
