"""What we use of libraries beyond what they promise: named here, and each with what fails when they change it."""

import ast
import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import requests
from reportlab.pdfgen.canvas import Canvas

from harvester_dagster.failures import PermanentError
from harvester_dagster.outside.connections import AddressGuard, GuardedTransport
from tests.house.trees import ROOT, nodes

OURS = ("harvester_dagster", "assets", "resources", "sensors")
KNOWN = {
    "dagster._core.workspace.context.WorkspaceProcessContext",  # of `cli/dagster_ui.py`, as the next three
    "dagster._core.workspace.load_target.ModuleTarget",
    "dagster._core.workspace.load_target.WorkspaceFileTarget",
    "dagster._core.workspace.load_target.WorkspaceLoadTarget",
    "lxml.etree._Element",  # for type checkers only; the stubs have no other name for an element
    "pdf2image.pdf2image._get_poppler_version",
}


def _is_private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def _foreign_private(syntax: Sequence[ast.AST]) -> Iterator[str]:
    """Private names that are imported from foreign modules, or read off one."""
    modules: dict[str, str] = {}
    for node in syntax:
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    modules = {short: full for short, full in modules.items() if full.partition(".")[0] not in OURS}
    yield from (full for full in modules.values() if _is_private(full))
    for node in syntax:
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and ast.unparse(node.value) in modules:
            full = f"{modules[ast.unparse(node.value)]}.{node.attr}"
            if full != "os._exit":  # documented, whatever its name
                yield full


def test_no_other_private_name_of_a_library_is_used() -> None:
    files = [path for room in OURS for path in (ROOT / room).rglob("*.py")]
    used = {name for path in files for name in _foreign_private(nodes(path))}
    assert used == KNOWN


@pytest.mark.service
def test_poppler_is_asked_for_its_version_once(tmp_path: Path) -> None:
    """By `pdf2image.pdf2image._get_poppler_version`, before every page unless we remember its answer."""
    canvas = Canvas(str(tmp_path / "one.pdf"))
    canvas.drawString(50, 700, "Zorg en onderwijs")
    canvas.save()
    asked = tmp_path / "asked"
    program = tmp_path / "bin" / "pdftoppm"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$1" >> {asked}\nPATH={os.environ["PATH"]} exec pdftoppm "$@"\n')
    program.chmod(0o755)
    script = (
        "from harvester_dagster.tasks.pdf_preview import first_page\n"
        f"for _ in range(3): assert len(first_page({str(tmp_path / 'one.pdf')!r})) == 3"
    )
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT, env={**os.environ, "PATH": path})
    options = asked.read_text().split()
    assert (options.count("-v"), len(options)) == (1, 4)


@pytest.mark.service
def test_yt_dlp_leaves_requests_alone() -> None:
    """Its handler `yt_dlp.networking._requests`, kept out by that name, changes requests where it is imported."""
    assert importlib.util.find_spec("yt_dlp.networking._requests")
    script = (
        "import requests.adapters, requests.utils\n"
        "def functions(): return {**vars(requests.adapters), **vars(requests.utils)}\n"
        "before = functions()\n"
        "from harvester_dagster.tasks.video_preview import yt_dlp_apart\n"
        "yt_dlp_apart()\n"
        "import yt_dlp\n"
        "assert functions() == before\n"
        "with yt_dlp.YoutubeDL() as client: assert 'Urllib' in client._request_director.handlers\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize(("scheme", "port"), [("http", 80), ("https", 443)])
def test_urllib3_connects_by_the_guard_alone(scheme: str, port: int) -> None:
    """`HTTPConnection._new_conn` of urllib3 is where a connection is made, with and without TLS."""
    asked: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append((host, port))
        return []

    transport = GuardedTransport(AddressGuard((), resolve), hosts_kept=1, connections_per_host=1)
    with pytest.raises(PermanentError, match=r"no host somewhere\.example"):
        transport.send(requests.Request("GET", f"{scheme}://somewhere.example/").prepare(), 1, 1)
    assert asked == [("somewhere.example", port)]
