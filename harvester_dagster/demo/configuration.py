"""The configuration under which the sample source server is harvested.

Belongs here: filling in where the server listens and what hangs on the clock. Does not belong here: what is configured
(`harvester.toml`).
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from harvester_dagster.config import Config
from harvester_dagster.demo import served_cases
from harvester_dagster.demo.lies import CASE
from harvester_dagster.demo.records import HERE


def demo_config(url: str, cases: Sequence[str] = ()) -> str:
    """The demonstration's `harvester.toml` for a sample source server at `url`, with sources that play these cases."""
    text = (HERE / "harvester.toml").read_text(encoding="utf-8") + "".join(map(_source_of, cases))
    far_off = datetime.now(Config().zone) + timedelta(hours=12)
    values = {"url": url, "port": str(urlsplit(url).port), "deadline": f"{far_off:%H:%M}"}
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", value)
    return text


def _source_of(case: str) -> str:
    found = served_cases.read(case)
    return f"""
[sources.{CASE}-{case}]
kind = "{found["kind"]}"
url = "{{url}}/cases/{case}"
metadata_prefix = "{found["metadata_prefix"]}"
sets = ["{found["set"]}"]
"""
