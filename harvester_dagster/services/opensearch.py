"""OpenSearch 3.8 (single node, no security plugin: loopback only): start and readiness.

The server is `java/opensearch/OpenSearchServer.java`, 98 jars of 81 MB by Maven. Ready in 6-9 s, stopped in 1-4 s;
0.4-0.8 GB. A kill costs a replay of the translog at the next start: flush after large loads.
"""

from pathlib import Path

from harvester_dagster.services import jvm
from harvester_dagster.services.loopback import answers, free_port
from harvester_dagster.services.sharing import Launch, Service

_OPTIONS = [
    "-Xms512m",
    "-Xmx512m",
    "--enable-native-access=ALL-UNNAMED",
    "-Dlog4j2.disable.jmx=true",
    "-Dorg.apache.logging.log4j.level=WARN",
]


def _fetch() -> Path:
    return jvm.server("opensearch", "OpenSearchServer")


def _launch(folder: Path) -> Launch:
    files, port = _fetch(), free_port()
    return Launch(
        url=f"http://127.0.0.1:{port}",
        argv=jvm.command(files, "OpenSearchServer", _OPTIONS, [str(folder / "home"), str(port)]),
        cwd=str(folder),
    )


OPENSEARCH = Service(
    "opensearch",
    _launch,
    answers("/_cluster/health?wait_for_status=yellow&timeout=1s"),
    _fetch,
    passing=r"BindHttpException|Address already in use|failed to obtain node lock",
    timeout=180,
)
