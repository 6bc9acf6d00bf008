"""Sources as they misbehave in the field, each a folder of `cases/`: what it answers to what, byte for byte.

Belongs here: playing a case (`serve.json` lists its answers; the first whose `when` fits is given). Does not belong
here: what should come out (the tests know it), lies about the sample records (`lies.py`).
"""

import json
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from harvester_dagster.demo.lies import SampleAnswer

FOLDER: Final = Path(__file__).parent / "cases"
NOTHING: Final = SampleAnswer(b"<html><body>404: no such case</body></html>", 404)


def names() -> list[str]:
    """Every case that can be played."""
    return sorted(found.parent.name for found in FOLDER.glob("*/serve.json"))


class Cases:
    """The cases of one server, below `/cases/{name}`; remembers how often each answer was given."""

    def __init__(self) -> None:
        self._given: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Begin anew: no answer was given yet."""
        with self._lock:
            self._given.clear()

    def answer(self, target: str, headers: Message, body: bytes) -> SampleAnswer:
        """What the case of that path says to the request; a POST's form counts as its query."""
        parts = urlsplit(target)
        name = parts.path.split("/")[2] if parts.path.count("/") > 1 else ""
        if name not in names():
            return NOTHING
        asked = parse_qs(f"{parts.query}&{body.decode(errors='replace')}", keep_blank_values=True)
        first = {key: values[0] for key, values in asked.items()}
        for index, row in enumerate(read(name)["answers"]):
            if _fits(row["when"], first, headers, len(target)) and self._nth(name, index, row["when"]):
                return _answer(name, row, target, first)
        return NOTHING

    def _nth(self, name: str, index: int, when: Mapping[str, Any]) -> bool:
        with self._lock:
            self._given[name, index] += 1
            return "nth" not in when or self._given[name, index] in when["nth"]


def read(name: str) -> dict[str, Any]:
    """What `serve.json` of a case says: kind, metadata_prefix, set, harvests, answers."""
    found: dict[str, Any] = json.loads((FOLDER / name / "serve.json").read_bytes())
    return found


def _fits(when: Mapping[str, Any], asked: Mapping[str, str], headers: Message, length: int) -> bool:
    since = asked.get("from", asked.get("filter[modified][GE]"))
    token = asked.get("resumptionToken")
    checks: dict[str, Callable[[Any], bool]] = {
        "verb": lambda value: asked.get("verb") == value,
        "token": lambda value: token is not None and value in ("*", token),
        "page": lambda value: asked.get("page[number]") == value,
        "from": lambda value: since is not None and (value is True or value in since),
        "cookie": lambda value: value in headers.get("Cookie", ""),
        "path_over": lambda value: length > value,
        "nth": lambda _value: True,
    }
    return all(checks[key](value) for key, value in when.items())


def _answer(name: str, row: Mapping[str, Any], target: str, asked: Mapping[str, str]) -> SampleAnswer:
    number = asked.get("resumptionToken", asked.get("page[number]", ""))
    after = str(int(number) + 1) if number.isdecimal() else "2"
    body = (FOLDER / name / row["body"]).read_bytes()
    body = body.replace(b"{n+1}", after.encode()).replace(b"{base}", f"/cases/{name}".encode())
    headers = {key: value.replace("{path}", target) for key, value in row["headers"].items()}
    return SampleAnswer(body, row["status"], headers.pop("Content-Type", "text/html"), headers)
