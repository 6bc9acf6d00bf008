"""What an entry of allow_hosts opens: a port of a host, or what the configuration itself names on a host."""

import socket
import time

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.config import Config, parse
from harvester_dagster.failures import RefusedError
from harvester_dagster.outside import origins
from harvester_dagster.outside.connections import AddressGuard
from harvester_dagster.outside.origins import Origin

PORTS = st.integers(1, 65535)


def configured(*entries: str, port: int = 8080) -> Config:
    url = f"http://localhost:{port}/oai"
    return parse(
        {
            "network": {"allow_hosts": list(entries)},
            "sources": {"a": {"kind": "oai-pmh", "url": url, "sets": ["*"]}},
            "index": {"url": "http://localhost:9200"},
            "metastore": {"m": {"url": "http://127.0.0.1:8983/solr"}},
        }
    )


def reaches(config: Config, host: str, port: int) -> bool:
    guard = AddressGuard(origins.opened(config, {}), lambda _host, _port: ["127.0.0.1"])
    try:
        return bool(guard.addresses(host, port))
    except RefusedError:
        return False


@given(PORTS)
def test_a_host_opens_what_is_configured_there_and_nothing_else(port: int) -> None:
    assert reaches(configured("localhost"), "localhost", port) == (port == 8080)
    assert not reaches(configured("localhost"), "127.0.0.1", port)


@given(PORTS)
def test_a_port_is_open_to_all_unless_a_service_of_ours_listens_there(port: int) -> None:
    opened = reaches(configured(f"localhost:{port}"), "LocalHost.", port)
    assert opened == (port not in (9200, 8983, 3000, 3001))
    assert not reaches(configured(f"localhost:{port}"), "localhost", port % 65535 + 1)


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.0.0.2", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:2]"]
)
def test_our_own_port_has_many_names(host: str) -> None:
    assert origins.opened(configured(f"{host}:9200", f"{host}:3000", f"{host}:3001"), {}) == ()


def test_a_name_of_this_machine_is_none_for_our_own_port() -> None:
    """Whatever it is called: what its name is looked up as is compared with this machine's addresses."""
    own = next(found.address for found in psutil.net_if_addrs()["lo"] if found.family == socket.AF_INET)
    config = configured()
    for at in (own, "127.0.1.1", f"::ffff:{own}"):
        assert origins.own_service(Origin("", "alias.example", 9200), config, {}, lambda *_, at=at: [at])
    for resolve in (lambda *_: ["192.0.2.1"], lambda *_: []):
        assert origins.own_service(Origin("", "alias.example", 9200), config, {}, resolve) is None

    def nobody_knows(*_: object) -> list[str]:
        raise socket.gaierror

    assert origins.own_service(Origin("", "alias.example", 9200), config, {}, nobody_knows) is None
    assert origins.own_service(Origin("", "alias.example", 9201), config, {}, lambda *_: pytest.fail("asked")) is None


def test_ports_that_were_given_to_the_command_are_ours_too() -> None:
    config = configured("localhost:4000", "localhost:4001", "localhost:4002", "localhost:4003")
    allowed = origins.opener(config, environment := {})
    assert len(allowed()) == 4
    environment |= {origins.OWN_PORTS: "4000,4001", "HARVESTER_TIKA_URL": "http://127.0.0.1:4002/tika"}
    assert allowed() == ("localhost:4003",)


def test_who_is_told_is_called_where_the_environment_says() -> None:
    config = configured("10.0.0.7")
    assert origins.opened(config, {"HARVESTER_ALERT_URL": "http://10.0.0.7/alert"}) == ("10.0.0.7:80",)
    assert origins.for_url(["10.0.0.7", "10.0.0.8:1"], "http://10.0.0.7:90/x") == ("10.0.0.8:1", "10.0.0.7:90")


def test_what_is_open_follows_the_environment_and_costs_nothing_while_that_stays() -> None:
    hosts = [f"127.0.{number // 250}.{number % 250 + 1}:8000" for number in range(500)]
    config = parse({"network": {"allow_hosts": ["127.0.0.1", *hosts]}})
    environment: dict[str, str] = {}
    allowed = origins.opener(config, environment)
    assert allowed() == tuple(hosts)
    began = time.process_time()
    for _ in range(1_000):
        allowed()
    assert time.process_time() - began < 0.5
    environment["HARVESTER_ALERT_URL"] = "http://127.0.0.1:9009/alerts"
    assert allowed() == ("127.0.0.1:9009", *hosts)
