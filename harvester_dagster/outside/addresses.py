"""Which addresses may be called: public ones only.

Belongs here: the rule, as a pure function of an address, and the system's look-up of a name. Does not belong here:
who is allowed by name (`connections.py` asks that first).
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache

from harvester_dagster.outside.special_purpose import word_of

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a name, as text, in the order to try them. Raises OSError (socket.gaierror) when there are none."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_HERE = frozenset({"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
"""Names that systems give to themselves."""
# Public by the registry, but answering to every virtual machine of its cloud: Azure's host channel.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})


def system_addresses(host: str, port: int) -> Sequence[str]:
    """The host's addresses as the system resolves them, without doubles. Raises OSError. The system bounds its own
    time (`resolv.conf`: 10 s a name server unless it says otherwise)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def plain(host: str) -> str:
    """A host as it is compared: without brackets and final dot, in small letters."""
    return host.strip("[]").rstrip(".").lower()


def port_of(entry: str) -> tuple[str, int] | None:
    """The host, as it is compared, and the port of an entry `host:port` or `[host]:port`; None without a port."""
    found = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+):(\d{1,5})", entry)
    return (plain(found[1]), int(found[2])) if found else None


@lru_cache(maxsize=4096)
def why_not_public(text: str) -> str | None:
    """None for a public address, else what it is, in a word or two. Addresses inside addresses are looked at too."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "malformed"
    if isinstance(address, ipaddress.IPv6Address):
        for inner in _embedded(address):
            if reason := why_not_public(str(inner)):
                return reason
        if address.ipv4_mapped is not None or address in _NAT64:
            return None
    return "metadata" if address in _METADATA else word_of(address)


def why_not_public_host(host: str) -> str | None:
    """As `why_not_public`, of a host whose address needs no look-up; None also for every other name."""
    name = plain(host)
    if name in _HERE or name.endswith(".localhost"):
        return "loopback"
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return _why_not_number(name)
    return why_not_public(name)


def _why_not_number(name: str) -> str | None:
    """Of an IPv4 address as the system also reads it: `127.1`, `2130706433`, `0x7f.1`. None: it is a name."""
    if not re.fullmatch(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+)){0,3}", name, re.ASCII):
        return None
    try:
        return why_not_public(socket.inet_ntoa(socket.inet_aton(name)))
    except OSError:
        return "malformed"


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that a translator or tunnel would call for this one."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
