"""What loading the definitions costs and does: every process that Dagster starts pays it."""

import os
import subprocess
import sys
from pathlib import Path

HEAVY = (
    "boto3",
    "botocore",
    "dagster_aws",
    "sentry_sdk",
    "opensearchpy",
    "pysolr",
    "PIL",
    "pdf2image",
    "yt_dlp",
    "alembic",
)
PROGRAM = f"""
import sys
import harvester_dagster.definitions as found
print([name for name in {HEAVY} if name in sys.modules])
print(sorted(key.to_user_string() for key in found.defs.resolve_asset_graph().get_all_asset_keys())[:2])
"""


def test_definitions_load_in_an_empty_environment_without_what_only_some_runs_need(tmp_path: Path) -> None:
    loaded = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines() == ["[]", "['check_url', 'create_opensearch_index']"]
    assert list(tmp_path.iterdir()) == []
