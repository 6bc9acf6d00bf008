"""`POST /api/v1/tasks/{task}/retry/`: what is chosen is due then, for whoever has the scope `operate`."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
import requests

from harvester_dagster.publication import audit
from tests.consumers.serving import listening
from tests.sets.conftest import OpenWorld, open_world, source
from tests.sets.world import KEY, World

__all__ = ["open_world", "source"]
TOKENS = {"editor": {"token_env": "EDITOR_TOKEN", "scopes": ["overwrite", "push", "read-raw", "takedown"]}}


class Api(NamedTuple):
    world: World
    url: str

    def ask(self, body: Any, task: str = "check_url", token: str = "s3cret") -> requests.Response:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return requests.post(f"{self.url}/tasks/{task}/retry/", json=body, headers=headers, timeout=30)

    def due(self) -> int:
        count: int = self.world.one("SELECT count(*) FROM result WHERE due_at <= %s", self.world.now)
        return count


@pytest.fixture
def api(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    monkeypatch.setenv("HARVESTER_TOKEN", "s3cret")
    monkeypatch.setenv("EDITOR_TOKEN", "editor-secret")
    world = open_world(installed={"web": {"tokens": TOKENS}})
    world.source.put("a", "b", "c")
    world.source.files = {"a/a": 404, "b/a": 410}
    world.night(pass_time=False)
    with listening(world.installation) as url:
        yield Api(world, url)


@pytest.mark.parametrize(
    ("choice", "count"),
    [
        ({"srns": [f"{KEY}:a"]}, 1),
        ({"srns": [f"{KEY}:a", f"{KEY}:b", f"{KEY}:c"]}, 2),
        ({"reason": "404"}, 1),
        ({"host": "127.0.0.1"}, 2),
        ({"sets": [KEY], "reason": "410"}, 1),
        ({"reason": "'; DELETE FROM result; --"}, 0),
    ],
)
def test_a_dry_run_says_what_the_call_then_does(api: Api, choice: dict[str, Any], count: int) -> None:
    tried = api.ask({**choice, "dry_run": True}).json()
    assert api.due() == 0 and (tried["results"], tried["documents"], len(tried["samples"])) == (count,) * 3
    done = api.ask(choice).json()
    assert done == {**tried, "dry_run": False} and api.due() == count
    then = " ".join(["harvester tasks retry check_url", *done["sets"], "--results expired"])
    assert done["then"] == (then if done["sets"] else ""), "without sets it would be about all"
    with api.world.installation.pool.connection() as connection:
        (row,) = audit.rows(connection)
    assert (row.actor, row.act, row.subject) == ("HARVESTER_TOKEN", "retry results", "check_url")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ([], 400),
        (None, 400),
        ({"reason": 7}, 400),
        ({"srns": [f"{KEY}:a\0"]}, 400),
        ({"srns": [f"{KEY}:none"]}, 400),
        ({"srns": ["x"] * 1_001}, 400),
        ({"sets": ["src:none"]}, 400),
        ({"hosts": "x"}, 400),
        ({"reason": "x" * 501}, 400),
    ],
)
def test_what_cannot_be_chosen_is_a_problem(api: Api, body: Any, status: int) -> None:
    answer = api.ask(body)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert api.due() == 0


def test_who_has_not_the_scope_and_a_task_that_is_none(api: Api) -> None:
    for token in ("", "wrong", "editor-secret"):
        assert api.ask({"reason": "404"}, token=token).status_code == 403, token
    assert api.due() == 0
    for task in ("check_urls", "%00", "a%2Fb"):
        assert api.ask({"reason": "404"}, task).status_code == 404, task
