"""Who may push, what is taken for a record, and what nobody ever gets to read."""

from typing import Any

import pytest
import requests

from harvester_dagster.config import NamedToken, Web, parse
from harvester_dagster.config_mistakes import ConfigError
from harvester_dagster.explain import config_check
from tests.push.pushing import SECRET, VARIABLE, WITH_SECRET, post, site, states
from tests.sets.conftest import OpenWorld
from tests.sets.world import KEY, World

WRONG = (
    ("wrong", KEY, "product"),
    (SECRET[:-1], KEY, "product"),
    (SECRET + "x", KEY, "product"),
    ("é", KEY, "product"),
    ("", KEY, "product"),
    (SECRET, "src:unknown", "product"),
    (SECRET, "", "product"),
    (SECRET, KEY, "file"),
    (SECRET, KEY, "nothing"),
    (SECRET, "src:two:three", "product"),
)


@pytest.mark.parametrize(("secret", "key", "entity"), WRONG)
def test_an_unknown_set_and_a_wrong_secret_are_answered_alike(
    world: World, url: str, secret: str, key: str, entity: str
) -> None:
    answer = requests.post(f"{url}/webhook/{entity}/{key}/{secret}/", json=world.source.record("a"), timeout=30)
    reference = requests.post(f"{url}/webhook/product/no:set/no/", json={}, timeout=30)
    if key:
        assert (answer.status_code, answer.text) == (403, reference.text)
    assert answer.status_code in (403, 404) and not states(world)


def test_the_secret_in_a_header_and_a_slash_more_or_less(world: World, url: str) -> None:
    record = world.source.record("a")
    for place, headers in (
        (f"/webhook/product/{KEY}/{SECRET}", {}),
        (f"/webhook/products/{KEY}/{SECRET}/", {}),
        (f"/webhook/product/src%3Aone/{SECRET}/", {}),
        (f"/webhook/product/{KEY}/", {"X-Webhook-Secret": SECRET}),
        (f"/webhook/product/{KEY}", {"X-Webhook-Secret": SECRET}),
    ):
        assert requests.post(url + place, json=record, headers=headers, timeout=30).status_code == 200, place
    wrong = requests.post(f"{url}/webhook/product/{KEY}/", json=record, headers={"X-Webhook-Secret": "x"}, timeout=30)
    assert wrong.status_code == 403
    assert requests.get(f"{url}/webhook/product/{KEY}/{SECRET}/", timeout=30).status_code == 405


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"{",
        b"[]",
        b"null",
        b"1",
        b'"a"',
        b"{}",
        b'{"data": null}',
        b'{"data": []}',
        b'{"data": [{"id": "a"}, {"id": "b"}]}',
        b'{"id": "", "meta": {"status": "deleted"}}',
        b'{"id": "x", "meta": {"status": "active"}}',
        b'{"id": "\xff", "meta": {"status": "deleted"}}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"id": "' + b"x" * 1001 + b'", "meta": {"status": "deleted"}}',
        b'{"data": 1, "data": {"id": "x"}}]]}',
    ],
)
def test_what_is_no_record_is_answered_with_400(world: World, url: str, body: bytes) -> None:
    answer = post(url, body)
    assert answer.status_code == 400 and "no record" in answer.json()["error"], answer.text
    assert not states(world)


def test_a_body_beyond_all_records_is_refused(world: World, url: str) -> None:
    assert post(url, b'{"id": "' + b"x" * 1_100_000).status_code == 413
    assert not states(world)


def test_so_many_wait_of_a_set_and_no_more(world: World) -> None:
    with site(world.installation, most=3) as url:
        answers = [post(url, world.source.record(f"n{number}")) for number in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].headers["Retry-After"] == "60" and len(states(world)) == 3


def test_only_from_the_addresses_that_are_named(open_world: OpenWorld) -> None:
    def status(web: dict[str, Any], addresses: list[str], **headers: str) -> int:
        world = open_world(installed={"web": web}, **WITH_SECRET, webhook_addresses=addresses)
        with site(world.installation) as url:
            return post(url, world.source.record("a"), headers=headers).status_code

    assert status({}, ["127.0.0.0/8"]) == 200
    assert status({}, ["192.0.2.10"]) == 403
    forged = {"X-Forwarded-For": "192.0.2.10"}
    assert status({}, ["192.0.2.10"], **forged) == 403, "nobody trusts who forwards"
    assert status({"trusted_proxies": ["127.0.0.1"]}, ["192.0.2.10"], **forged) == 200
    two = {"X-Forwarded-For": "192.0.2.10, 198.51.100.1"}
    assert status({"trusted_proxies": ["127.0.0.1"]}, ["192.0.2.10"], **two) == 403, "the last hop counts"


def test_a_token_of_the_scope_push_in_place_of_the_secret(
    open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = {
        "library": NamedToken(token_env="LIBRARY_TOKEN", scopes=("push",)),
        "reader": NamedToken(token_env="READER_TOKEN", scopes=("read-raw",)),
    }
    monkeypatch.setenv("LIBRARY_TOKEN", "library")
    monkeypatch.setenv("READER_TOKEN", "reader")
    world = open_world(installed={"web": Web(tokens=tokens).model_dump()})
    with site(world.installation) as url:
        for token, status in (("library", 200), ("reader", 403), ("", 403), ("wrong", 403)):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            assert post(url, world.source.record("a"), "", headers=headers).status_code == status
        assert post(url, world.source.record("a"), "anything").status_code == 403, "no secret is set"
    assert world.one("SELECT sender FROM push") == "token:library 127.0.0.1"


def test_a_secret_that_is_not_set_opens_nothing(world: World, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE)
    for secret in ("", SECRET, "None"):
        assert post(url, world.source.record("a"), secret).status_code == 403
    mistakes = {mistake.key for mistake in config_check.unset(world.installation.config, {})}
    assert "sources.src.webhook_secret_env" in mistakes


def test_the_secret_is_in_no_log(
    world: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with site(world.installation, log_level="info") as url:
        assert post(url, world.source.record("a")).status_code == 200
        assert post(url, b"nonsense", params={"token": SECRET}).status_code == 400
        assert post(url, world.source.record("a"), key="src:unknown").status_code == 403
        requests.post(f"{url}/webhook/product/{KEY}/{SECRET}/{SECRET}/", json={}, timeout=30)
        world.installation.pool.close()
        assert post(url, world.source.record("a")).status_code == 503
    out, err = capfd.readouterr()
    assert out.count('"POST /webhook/product/src%3Aone/ HTTP/1.1" 200') == 1, "the access log is on"
    assert SECRET not in out + err
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("harvester")]
    assert len(ours) == 1 and "was not stored" in ours[0] and SECRET not in ours[0]


@pytest.mark.parametrize("network", ["nowhere", "192.0.2.300", "192.0.2.1/24", "", "*"])
def test_what_is_no_address_is_a_mistake_of_the_configuration(network: str) -> None:
    source = {"kind": "sharekit", "url": "https://example.org", "sets": ["one"], "webhook_addresses": [network]}
    with pytest.raises(ConfigError, match="an address or a network"):
        parse({"sources": {"src": source}})
