import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harvester_dagster.failures import PermanentError, RefusedError, TransientError
from harvester_dagster.outside.addresses import why_not_public
from harvester_dagster.outside.connections import AddressGuard
from harvester_dagster.outside.special_purpose import BLOCKS

NOT_PUBLIC = [*(block for block, _ in BLOCKS), "168.63.129.16/32", "4000::/3", "fd00:ec2::254/128"]


@st.composite
def not_public(draw: st.DrawFn) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    network = ipaddress.ip_network(draw(st.sampled_from(NOT_PUBLIC)))
    return network[draw(st.integers(0, network.num_addresses - 1))]


@given(not_public())
def test_nothing_but_public_addresses_is_called(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert why_not_public(str(address))


@given(not_public())
def test_an_address_wrapped_in_another_one_is_seen(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    if isinstance(address, ipaddress.IPv4Address):
        packed = int(address)
        assert why_not_public(f"::ffff:{address}")
        assert why_not_public(str(ipaddress.IPv6Address((0x64FF9B << 96) | packed)))
        assert why_not_public(str(ipaddress.IPv6Address((0x2002 << 112) | (packed << 80))))


def test_the_table_knows_at_least_what_this_python_knows() -> None:
    """Every block that the interpreter calls private or reserved is in it, whichever version this is."""
    edges = [network[place] for block, _ in BLOCKS for network in [ipaddress.ip_network(block)] for place in (0, -1)]
    around = [
        address + step for address in edges for step in (-1, 0, 1) if 0 < int(address) + step < 2**address.max_prefixlen
    ]
    for address in around:
        if not address.is_global and not (address.version == 6 and address.ipv4_mapped):
            assert why_not_public(str(address)), address


@pytest.mark.parametrize(
    "address", ["192.0.0.9", "192.88.99.1", "3fff::1", "2001:2::1", "100::1", "5f00::1", "2001:0:808:808::f7f7:f7f7"]
)
def test_what_one_python_knows_and_another_does_not_is_refused_by_all(address: str) -> None:
    assert why_not_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "145.100.0.1", "2001:610::1", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are(address: str) -> None:
    assert why_not_public(address) is None


def test_one_private_address_among_public_ones_refuses_the_name() -> None:
    guard = AddressGuard((), lambda _host, _port: ["145.100.0.1", "10.0.0.1"])
    with pytest.raises(RefusedError) as refused:
        guard.addresses("mixed.example", 80)
    assert refused.value.code == "private-address"


def test_a_name_that_changes_its_address_is_checked_again_for_each_connection() -> None:
    answers = [["145.100.0.1"], ["169.254.169.254"]]
    guard = AddressGuard((), lambda _host, _port: answers.pop(0))
    assert guard.addresses("rebinding.example", 80) == ["145.100.0.1"]
    with pytest.raises(RefusedError):
        guard.addresses("rebinding.example", 80)


def test_allowed_is_the_name_not_the_address() -> None:
    guard = AddressGuard(("Inside.Example.",), lambda _host, _port: ["10.0.0.1"])
    assert guard.addresses("inside.example", 80) == ["10.0.0.1"]
    with pytest.raises(RefusedError):
        guard.addresses("10.0.0.1", 80)


@pytest.mark.parametrize(
    ("errno", "kind", "code"),
    [(socket.EAI_NONAME, PermanentError, "no-such-host"), (socket.EAI_AGAIN, TransientError, "dns")],
)
def test_a_name_that_is_not_there_differs_from_one_that_cannot_be_looked_up(
    errno: int, kind: type[Exception], code: str
) -> None:
    def fail(_host: str, _port: int) -> list[str]:
        raise socket.gaierror(errno, "no")

    with pytest.raises(kind) as failed:
        AddressGuard((), fail).addresses("away.example", 80)
    assert getattr(failed.value, "code", "") == code
