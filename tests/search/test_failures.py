"""What the server can do to a release: a clear outcome, the alias untouched, and the next release catches up."""

import base64
import itertools
import json
import time
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import requests
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from harvester_dagster.releases import release
from harvester_dagster.search import aliases, build, connection, index_state
from harvester_dagster.search.build import IndexReport
from harvester_dagster.search.bulk import Sending
from harvester_dagster.sets.versions import NotPromotable, Version
from tests.search.conftest import OpenWorld
from tests.search.proxy import Asked, Cut, Instead, meddling
from tests.search.world import World, product

NOWHERE = "http://127.0.0.1:1"
PATIENT, IMPATIENT = Sending(patience=60), Sending(patience=1)


def _many(count: int, title: str = "Boek") -> dict[str, dict[str, Any] | None]:
    return {f"p{n}": product(f"p{n}", f"{title} {n}") for n in range(count)}


def _brought_up(world: World, sending: Sending = PATIENT) -> tuple[Version, IndexReport]:
    version = world.prepare()
    return version, build.bring_up(world.installation, version, sending=sending)


def _refused(world: World, sending: Sending = IMPATIENT) -> str:
    """The reason of a build that fails; nothing is announced and nothing is left behind."""
    version, report = _brought_up(world, sending)
    assert (report.outcome, report.entities) == ("failed", ())
    with pytest.raises(NotPromotable, match="is not announced"):
        release.publish(world.installation, version)
    assert world.current() is None
    return report.reason


def test_away(open_world: OpenWorld) -> None:
    with open_world(url=NOWHERE) as world:
        world.accept(_many(2))
        assert "no connection" in _refused(world)


def test_away_for_an_installation_that_can_do_without(open_world: OpenWorld) -> None:
    with open_world(url=NOWHERE, require=False) as away:
        away.accept(_many(2))
        version, report = _brought_up(away)
        assert report.outcome == "failed"
        assert "no connection" in release.publish(away.installation, version).behind
        assert "no connection" in index_state.status(away.installation).behind
    with open_world() as world:
        assert "no index holds version 1" in aliases.reconcile(world.installation)
        world.accept({"p5": product("p5", "Later")})
        version, report = _brought_up(world)
        assert release.publish(world.installation, version).behind == ""
        assert len(world.shown()) == 3


def test_no_index_at_all(open_world: OpenWorld) -> None:
    with open_world(url="none") as world:
        world.accept(_many(2))
        version, report = _brought_up(world)
        assert report.outcome == "none"
        assert release.publish(world.installation, version).behind == ""
        assert world.current() is not None


def test_a_bundled_server_that_cannot_be_had_counts_as_none(
    open_world: OpenWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARVESTER_CACHE", str(tmp_path / "nothing fetched"))
    monkeypatch.setenv("PATH", "/nonexistent")
    with open_world(url="") as world:
        world.accept(_many(2))
        version, report = _brought_up(world)
        assert (report.outcome, "apt-get install maven" in report.reason) == ("none", True)
        assert release.publish(world.installation, version).behind == ""


def test_credentials(open_world: OpenWorld, opensearch_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right = "Basic " + base64.b64encode(b"me:right").decode()
    monkeypatch.setenv("OPENSEARCH_USERNAME", "me")
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url, auth="basic") as world:
        proxy.before = lambda asked: None if asked.headers.get("authorization") == right else Instead(401)
        world.accept(_many(2))
        monkeypatch.setenv("OPENSEARCH_PASSWORD", "wrong")
        reason = _refused(world)
        assert "credentials were refused" in reason
        assert "wrong" not in reason
        monkeypatch.delenv("OPENSEARCH_PASSWORD")
        assert "OPENSEARCH_PASSWORD" in _refused(world)
        monkeypatch.setenv("OPENSEARCH_PASSWORD", "right")
        assert _brought_up(world)[1].outcome == "ready"


def test_requests_to_aws_are_signed(
    open_world: OpenWorld, opensearch_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url, auth="aws", aws_region="eu-west-1") as world:
        world.accept(_many(2))
        assert _brought_up(world)[1].outcome == "ready"
        for asked in proxy.asked:
            headers = {name.lower(): value for name, value in asked.headers.items()}
            assert headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
            assert "/eu-west-1/es/aws4_request" in headers["authorization"]
            assert _signed_as(asked, proxy.url, headers) == headers["authorization"]


def _signed_as(asked: Asked, url: str, headers: dict[str, str]) -> str:
    """What the signature must be, made again by the other end's means."""
    signed = headers["authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
    kept = {name: headers[name] for name in signed if name not in ("host", "x-amz-date")}
    request = AWSRequest(method=asked.method, url=url + asked.path, data=asked.body, headers=kept)
    signer = auth.SigV4Auth(Credentials("AKIDEXAMPLE", "secret"), "es", "eu-west-1")
    with mock.patch.object(auth, "get_current_datetime", return_value=_moment(headers["x-amz-date"])):
        signer.add_auth(request)
    return str(request.headers["Authorization"])


def _moment(stamp: str) -> Any:
    return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ")


@pytest.mark.parametrize("version", [{"number": "7.10.2"}, {"number": "1.3.20", "distribution": "opensearch"}])
def test_a_server_that_is_too_old(open_world: OpenWorld, opensearch_url: str, version: dict[str, str]) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:
        proxy.before = lambda asked: Instead(200, json.dumps({"version": version}).encode())
        world.accept(_many(2))
        assert f"{version['number']}; OpenSearch 2.0 or later is needed" in _refused(world)


def test_a_page_of_some_proxy(open_world: OpenWorld, opensearch_url: str) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:
        proxy.before = lambda asked: Instead(200, b"<html>Welcome</html>")
        world.accept(_many(2))
        assert "not JSON" in _refused(world)


def test_storms_of_429_and_cut_connections_lose_nothing(open_world: OpenWorld, opensearch_url: str) -> None:
    turn = itertools.count()
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:

        def storm(asked: Asked) -> Instead | None:
            if asked.is_bulk:
                match next(turn) % 4:
                    case 0:
                        return Instead(429, b'{"error":{"type":"rejected_execution_exception","reason":"busy"}}')
                    case 1:
                        raise Cut
            return None

        def cut_after(asked: Asked) -> None:
            if asked.is_bulk and next(turn) % 3 == 0:
                raise Cut

        proxy.before, proxy.after = storm, cut_after
        world.accept(_many(100))
        _, report = _brought_up(world, Sending(patience=60, chunk_lines=20))
        assert (report.outcome, report.reason) == ("ready", "")
        assert report.entities[0].documents == 100
        assert next(turn) > 5


def test_items_that_the_server_has_no_room_for_are_sent_again(open_world: OpenWorld, opensearch_url: str) -> None:
    """The server takes half of the lines and says 429 for the others, twice."""
    left = [2]
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:

        def half(asked: Asked) -> Instead | None:
            if not asked.is_bulk or not left[0]:
                return None
            left[0] -= 1
            lines = asked.body.splitlines(keepends=True)
            taken = lines[: len(lines) // 4 * 2]
            json_type = {"Content-Type": "application/json"}
            requests.post(opensearch_url + asked.path, data=b"".join(taken), headers=json_type, timeout=30)
            busy = {"index": {"status": 429, "error": {"type": "rejected_execution_exception", "reason": "busy"}}}
            items = [{"index": {"status": 201}}] * (len(taken) // 2) + [busy] * ((len(lines) - len(taken)) // 2)
            return Instead(200, json.dumps({"took": 1, "errors": True, "items": items}).encode())

        proxy.before = half
        world.accept(_many(40))
        _, report = _brought_up(world)
        assert (report.outcome, report.reason) == ("ready", "")
        sent = [asked.body.count(b'{"index"') for asked in proxy.asked if asked.is_bulk]
        assert sent == [40, 20, 10]


def test_a_storm_without_end(open_world: OpenWorld, opensearch_url: str) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:
        proxy.before = lambda asked: Instead(429) if asked.is_bulk else None
        world.accept(_many(20))
        assert "status 429" in _refused(world)
        assert world.indices() == set()


def test_a_load_that_fails_on_the_way_leaves_the_store_ready_for_the_next(
    open_world: OpenWorld, opensearch_url: str
) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:
        proxy.before = lambda asked: Instead(403) if asked.is_bulk else None
        world.accept({name: {**one, "description": "d" * 20_000} for name, one in _many(3_000).items() if one})
        version, report = _brought_up(world, Sending(chunk_lines=10))
        assert (report.outcome, "not allowed" in report.reason) == ("failed", True)
        proxy.before = lambda asked: None
        assert build.bring_up(world.installation, version).entities[0].documents == 3_000


def test_a_document_too_large_for_something_in_between_is_left_out(open_world: OpenWorld, opensearch_url: str) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:

        def narrow(asked: Asked) -> Instead | None:
            if len(asked.body) > 6_000_000:
                raise Cut
            return None

        proxy.before = narrow
        world.accept({**_many(5), "large": {**product("large", "Groot"), "description": "d" * 7_000_000}})
        _, report = _brought_up(world, IMPATIENT)
        assert (report.outcome, report.reason) == ("ready", "")
        assert (report.entities[0].documents, report.entities[0].examples[0].srn) == (5, "a:one:large")


def test_a_full_disk(open_world: OpenWorld, opensearch_url: str) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:

        def fill(asked: Asked) -> Instead | None:
            if asked.is_bulk:  # as the server does at its flood stage
                world.client.indices.put_settings(
                    index=asked.path.split("/")[1], body={"index.blocks.read_only_allow_delete": True}
                )
            return None

        proxy.before = fill
        world.accept(_many(20))
        assert "disk is full" in _refused(world)
        assert world.indices() == set()


def test_slow(open_world: OpenWorld, opensearch_url: str) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:

        def dawdle(asked: Asked) -> Instead | None:
            if asked.is_bulk:
                time.sleep(2)
            return None

        proxy.before = dawdle
        world.accept(_many(2))
        assert "no answer in time" in _refused(world, Sending(patience=1, answer_seconds=0.5))


def test_it_dies_while_a_clone_is_filled_and_the_next_release_has_it_all(
    open_world: OpenWorld, opensearch_url: str
) -> None:
    with meddling(opensearch_url) as proxy, open_world(url=proxy.url) as world:
        world.accept(_many(20))
        version, _ = _brought_up(world)
        release.publish(world.installation, version)

        def dead(asked: Asked) -> Instead | None:
            if dying and (asked.is_bulk or dying[0]):
                dying[0] = True
                raise Cut
            return None

        dying = [False]
        proxy.before = dead
        world.accept({"p1": product("p1", "Nieuw")})
        version, report = _brought_up(world, IMPATIENT)
        assert report.outcome == "failed"
        dying.clear()
        assert world.shown()["a:one:p1"] == "Boek 1"
        world.accept({"p2": product("p2", "Ook")})
        version, report = _brought_up(world)
        release.publish(world.installation, version)
        assert (report.entities[0].how, report.entities[0].changed) == ("clone", 2)
        assert {world.shown()["a:one:p1"], world.shown()["a:one:p2"]} == {"Nieuw", "Ook"}
        assert len(world.indices()) == 2


def test_messages_hold_no_password(open_world: OpenWorld) -> None:
    with open_world(url="http://me:hidden@127.0.0.1:1") as world:
        world.accept(_many(2))
        assert "hidden" not in _refused(world)


def test_the_kinds_of_failure() -> None:
    assert {connection.Unreachable.__base__, connection.Refused.__base__, connection.NoIndex.__base__} == {
        connection.SearchError
    }
