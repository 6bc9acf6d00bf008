"""A SolrCloud of one node, with its own ZooKeeper: aliases, shards and read-only collections are there only."""

import contextlib
import io
import socket
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from harvester_dagster.services import jvm
from harvester_dagster.services.loopback import free_port

_SOLR_XML = """<solr><solrcloud><str name="host">127.0.0.1</str><int name="hostPort">${hostPort:0}</int>
<str name="hostContext">solr</str></solrcloud></solr>"""
_ZOO_CFG = "tickTime=2000\ninitLimit=10\nsyncLimit=5\n"


class Cloud:
    """`url` ends in `/solr`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def do(self, action: str, **asked: Any) -> None:
        answer = requests.get(f"{self.url}/admin/collections", params={"action": action, **asked}, timeout=120)
        assert answer.ok, answer.text

    def create(self, name: str, shards: int = 1, fields: str = "") -> None:
        """A collection with the schema of `metastore` and further fields."""
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for file in (jvm.SOURCES / "solr" / "home" / "metastore" / "conf").iterdir():
                archive.writestr(file.name, file.read_text().replace("</schema>", f"{fields}</schema>"))
        kind = {"Content-Type": "application/octet-stream"}
        asked = {"action": "UPLOAD", "name": name}
        answer = requests.post(f"{self.url}/admin/configs", packed.getvalue(), params=asked, headers=kind, timeout=60)
        assert answer.ok, answer.text
        self.do("CREATE", name=name, numShards=shards, **{"collection.configName": name})


@contextmanager
def running(folder: Path) -> Iterator[Cloud]:
    """Started in the folder; ready in 6 s where the machine has nothing else to do. A start that finds one of its two
    ports taken meanwhile is repeated: Solr then answers, and says that it has shut down."""
    for number in range(5):
        with _started(folder / str(number)) as cloud:
            if requests.get(f"{cloud.url}/admin/info/system", timeout=60).ok:
                yield cloud
                return
    raise AssertionError((folder / "4" / "log").read_text()[-4000:])


@contextmanager
def _started(folder: Path) -> Iterator[Cloud]:
    port, home = _port_with_another(), folder / "home"
    home.mkdir(parents=True)
    (home / "solr.xml").write_text(_SOLR_XML)
    (home / "zoo.cfg").write_text(_ZOO_CFG)
    settings = {"solr.http1": "true", "zkRun": "", "hostPort": port, "zookeeper.admin.enableServer": "false"}
    settings |= {"log4j2.configurationFile": (jvm.SOURCES / "solr" / "log4j2.xml").as_uri()}
    options = ["-Xmx400m", "-XX:+UseSerialGC", *(f"-D{name}={value}" for name, value in settings.items())]
    command = jvm.command(jvm.server("solr", "SolrServer"), "SolrServer", options, [str(home), str(port)])
    log = folder / "log"
    with log.open("wb") as said:
        process = subprocess.Popen(command, cwd=folder, stdout=said, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while "READY" not in log.read_text():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.2)
        yield Cloud(f"http://127.0.0.1:{port}/solr")
    finally:
        process.kill()
        process.wait()


def _port_with_another() -> int:
    """One that is free, as the one a thousand above is, which ZooKeeper takes."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as above:
            above.bind(("127.0.0.1", port + 1_000))
            return port
