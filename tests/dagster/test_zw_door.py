"""The door before Dagster's UI: a page of another origin in a real browser, and an address in metadata, start nothing.

Each way is tried with a mutation that does start a run when Dagster's own page sends it: that comes last.
"""

import json
import stat
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import psutil
import pytest
import requests
from playwright.sync_api import Page

from tests.browser import chromium
from tests.dagster.installed import Up, eventually

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(1500)]

MUTATION = """mutation { launchRun(executionParams: {selector: {repositoryLocationName: "harvester_dagster.definitions",
repositoryName: "__repository__", jobName: "harvest_vocabularies"}, runConfigData: {},
executionMetadata: {tags: [{key: "tried", value: "WAY"}]}}) { __typename } }"""
EVIL = """<!doctype html><title>evil</title><body>
<a id=link href="{get}link">a link</a>
<a id=page href="{ui}/runs">a page</a>
<form id=get action="{ui}/graphql" method=get target=one><input name=query value='{query}'></form>
<form id=urlencoded action="{get}urlencoded" method=post target=one><input name=query value='{query}'></form>
<form id=text action="{get}text" method=post enctype="text/plain" target=one><input name='{json}' value=''></form>
<iframe name=one></iframe>
<script>
const ways = {{
  image: () => new Promise(done => {{ const it = new Image(); it.onload = it.onerror = done; it.src = "{get}image"; }}),
  script: () => new Promise(done => {{ const it = document.createElement("script"); it.onload = it.onerror = done;
    it.src = "{get}script"; document.body.append(it); }}),
  frame: () => new Promise(done => {{ const it = document.createElement("iframe"); it.onload = it.onerror = done;
    it.src = "{get}frame"; document.body.append(it); }}),
  get: () => fetch("{get}fetch-get", {{mode: "no-cors", credentials: "include"}}),
  post: () => fetch("{get}fetch-post", {{method: "POST", mode: "no-cors", credentials: "include"}}),
  text: () => fetch("{ui}/graphql", {{method: "POST", mode: "no-cors", body: '{json}'}}),
  json: () => fetch("{ui}/graphql",
    {{method: "POST", headers: {{"Content-Type": "application/json"}}, body: '{json}'}}),
  beacon: async () => navigator.sendBeacon("{ui}/graphql", new Blob(['{json}'], {{type: "application/json"}})),
  socket: () => new Promise(done => {{
    const it = new WebSocket("{socket}/graphql", "graphql-ws");
    it.onopen = () => {{ document.title = "OPEN"; it.send('{{"type": "connection_init"}}');
      it.send(JSON.stringify({{id: "1", type: "start", payload: JSON.parse('{json}')}})); setTimeout(done, 2000); }};
    it.onerror = it.onclose = done;
  }}),
}};
async function tryAll() {{
  const said = {{}};
  for (const [name, way] of Object.entries(ways)) {{
    try {{ const answer = await way(); said[name] = answer && answer.type === "cors" ? "READ" : "no"; }}
    catch (error) {{ said[name] = "no"; }}
  }}
  return said;
}}
</script>"""


def mutation(way: str) -> str:
    return " ".join(MUTATION.replace("WAY", way).split())


def tried(up: Up) -> list[str]:
    return sorted(run.tags["tried"] for run in up.instance.get_runs() if "tried" in run.tags)


@pytest.fixture
def evil(up: Up) -> Iterator[ThreadingHTTPServer]:
    """A site of somebody else that knows where the UI is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ui = f"http://{self.path.strip('/') or 'localhost'}:{up.port}"
            page = EVIL.format(
                ui=ui,
                socket=ui.replace("http", "ws"),
                get=f"{ui}/graphql?query={quote(mutation('get'))}&from=",
                query=mutation("form"),
                json=json.dumps({"query": mutation("json")}).replace("\\", "\\\\"),
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def page(up: Up) -> Iterator[Page]:
    rules = f"MAP evil.example 127.0.0.1, MAP rebound.example 127.0.0.1:{up.port}"
    with chromium([f"--host-resolver-rules={rules}"]) as browser:
        opened = browser.new_page()
        opened.set_default_timeout(60_000)
        yield opened


@pytest.mark.parametrize("site", ["evil.example", "127.0.0.1", "localhost"], ids=["elsewhere", "address", "port"])
def test_a_page_of_another_origin_starts_nothing(up: Up, evil: ThreadingHTTPServer, page: Page, site: str) -> None:
    """Of another site, and of another port of this machine, which browsers take for the same site."""
    for name in ("localhost", "127.0.0.1"):
        home = f"http://{site}:{evil.server_port}/{name}"
        page.goto(home)
        said = page.evaluate("tryAll()")
        assert set(said.values()) == {"no"} and page.title() == "evil", said
        for form in ("get", "urlencoded", "text"):
            page.evaluate(f"document.getElementById('{form}').submit()")  # into a frame of theirs
            page.wait_for_timeout(300)
        for form, status in {"get": 200, "urlencoded": 403, "text": 403}.items():  # 200: the playground, as by a link
            page.goto(home)
            page.evaluate("for (const form of document.forms) form.target = '_top'")
            with page.expect_response(lambda answer: "/graphql" in answer.url) as answered:
                page.evaluate(f"document.getElementById('{form}').submit()")
            assert answered.value.status == status
            page.wait_for_url("**/graphql*")
        page.goto(home)
        page.click("#link")  # leads to Dagster's playground, which executes nothing by itself
        page.wait_for_url("**/graphql*")
        page.goto(home)
        page.click("#page")
        page.wait_for_url(f"http://{name}:{up.port}/runs")
    assert tried(up) == []


def test_a_site_that_lets_its_name_point_here_reads_nothing(up: Up, page: Page) -> None:
    for path in ("/", "/runs", "/server_info", "/graphql?query={version}"):
        answer = page.goto(f"http://rebound.example{path}")
        assert answer is not None and answer.status == 403


def test_an_address_in_metadata_starts_nothing(up: Up) -> None:
    """`check_url` calls it by HEAD and GET, for this machine's hosts may be called."""
    address = f"http://127.0.0.1:{up.port}/graphql?query={quote(mutation('metadata'))}"
    file = {"url": address, "fileName": "a.txt", "resourceMimeType": "text/plain", "accessRight": "openaccess"}
    up.source.put("evil", spec="one", files=[file])
    up.wait_for_night(up.night())
    looked = up.rows("SELECT count(*) FROM harvester.fetch WHERE url = %s", address)
    assert tried(up) == [], looked


def test_nobody_else_may_use_the_socket_and_nothing_else_of_dagsters_listens(up: Up) -> None:
    assert stat.S_IMODE(up.socket.stat().st_mode) == 0o600
    for query in (f"?query={quote(mutation('get'))}", ""):
        assert requests.get(f"{up.url}/graphql{query}", timeout=60).status_code == 405
    body = {"query": mutation("post")}
    assert requests.post(f"{up.url}/graphql", params=body, timeout=60).status_code == 415
    assert requests.post(f"{up.url}/graphql", data=body, timeout=60).status_code == 415
    assert tried(up) == []
    (ui,) = [child for child in psutil.Process(up.process.pid).children() if "dagster_ui" in " ".join(child.cmdline())]
    listening = {at.laddr.port for at in ui.net_connections("tcp") if at.status == psutil.CONN_LISTEN}
    assert listening == {up.port}


def test_the_ui_is_started_anew_and_the_pages_find_it(up: Up) -> None:
    (ui,) = [child for child in psutil.Process(up.process.pid).children() if "dagster_ui" in " ".join(child.cmdline())]
    ui.kill()
    eventually(lambda: not ui.is_running() or ui.status() == psutil.STATUS_ZOMBIE, "its end")

    def answers() -> bool:
        try:
            return requests.get(f"{up.url}/server_info", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    eventually(answers, "the next one")
    assert up.process.poll() is None


def test_the_same_from_dagsters_own_page_starts_a_run(up: Up, page: Page) -> None:
    page.goto(f"http://localhost:{up.port}/runs")
    status = page.evaluate(
        """body => fetch("/graphql", {method: "POST", headers: {"Content-Type": "application/json"}, body})
                   .then(answer => answer.status)""",
        json.dumps({"query": mutation("own")}),
    )
    assert status == 200
    eventually(lambda: tried(up) == ["own"], "the run", lambda: str(tried(up)))
    written = up.rows("SELECT actor, address, outcome FROM audit WHERE act = 'dagster' AND subject = 'launchRun'")
    assert written == [("local", "127.0.0.1", "asked for")]
    opened = page.evaluate(
        """() => new Promise(done => { const it = new WebSocket(location.origin.replace("http", "ws") + "/graphql",
               "graphql-ws"); it.onopen = () => done(true); it.onerror = () => done(false); })"""
    )
    assert opened is True
