"""Apache Tika server 3.2: start and readiness.

The server forks a worker that parses, and replaces it when it hangs, dies or wants too much memory: one document is
lost, not the service. One jar of 66 MB by Maven. Ready in 2.5 s.
"""

from pathlib import Path
from xml.sax.saxutils import escape

from harvester_dagster.services import jvm
from harvester_dagster.services.loopback import answers, free_port
from harvester_dagster.services.sharing import Launch, Service

_CONFIGURATION = """<?xml version="1.0" encoding="UTF-8"?>
<properties>
  <server>
    <params>
      <port>{port}</port>
      <host>127.0.0.1</host>
      <taskTimeoutMillis>120000</taskTimeoutMillis>
      <javaPath>{java}</javaPath>
      <forkedJvmArgs><arg>-Xmx512m</arg></forkedJvmArgs>
    </params>
  </server>
</properties>
"""


def _fetch() -> Path:
    return jvm.jar("tika", "org.apache.tika:tika-server-standard:3.2.2")


def _launch(folder: Path) -> Launch:
    jar, java = _fetch(), jvm.java()
    port, configuration = free_port(), folder / "tika-config.xml"
    configuration.write_text(_CONFIGURATION.format(port=port, java=escape(java)))
    return Launch(
        url=f"http://127.0.0.1:{port}",
        argv=[java, "-Xmx128m", "-jar", str(jar), "--config", str(configuration)],
        cwd=str(folder),
    )


TIKA = Service("tika", _launch, answers("/version"), _fetch)
