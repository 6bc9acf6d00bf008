"""What a command imports before it does anything: whoever asks `why` waits for it."""

import subprocess
import sys

import pytest

HEAVY = (
    "dagster",
    "sqlalchemy",
    "alembic",
    "opensearchpy",
    "pysolr",
    "boto3",
    "lxml",
    "PIL",
    "croniter",
    "yt_dlp",
    "jinja2",
)


@pytest.mark.service
def test_commands_start_without_what_only_some_of_them_need() -> None:
    program = f"import sys, harvester_dagster.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
