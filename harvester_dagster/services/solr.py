"""Solr 9.10 with the collection `metastore`: start and readiness.

The server is `java/solr/SolrServer.java`, 121 jars of 65 MB by Maven; the schema is in `java/solr/home`.
Ready in 3.5-8 s; 0.2-0.8 GB.
"""

import shutil
from pathlib import Path

from harvester_dagster.services import jvm
from harvester_dagster.services.loopback import answers, free_port
from harvester_dagster.services.sharing import Launch, Service


def _fetch() -> Path:
    return jvm.server("solr", "SolrServer")


def _launch(folder: Path) -> Launch:
    files = _fetch()
    home, port = folder / "home", free_port()
    shutil.copytree(jvm.SOURCES / "solr" / "home", home, dirs_exist_ok=True)  # the project's schema, at every start
    (folder / "data").mkdir(exist_ok=True)
    options = [
        "-Xmx512m",
        "-XX:+UseSerialGC",
        f"-Dlog4j2.configurationFile={(jvm.SOURCES / 'solr' / 'log4j2.xml').as_uri()}",
        f"-Dsolr.data.home={folder / 'data'}",
    ]
    return Launch(
        url=f"http://127.0.0.1:{port}/solr",
        argv=jvm.command(files, "SolrServer", options, [str(home), str(port)]),
        cwd=str(folder),
    )


SOLR = Service(
    "solr",
    _launch,
    answers("/solr/metastore/select?q=*:*&rows=0"),
    _fetch,
    passing=r"Address already in use",
    timeout=180,
)
