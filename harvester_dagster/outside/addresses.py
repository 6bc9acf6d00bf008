"""Which addresses may be called: public ones only.

Belongs here: the rule, as a pure function of an address, and the system's look-up of a name. Does not belong here:
who is allowed by name (`connections.py` asks that first).
"""

import ipaddress
import socket
from collections.abc import Callable, Sequence
from functools import lru_cache

Resolve = Callable[[str, int], Sequence[str]]
"""The addresses of a name, as text, in the order to try them. Raises OSError (socket.gaierror) when there are none."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Public by the registry, but answering to every virtual machine of its cloud: Azure's host channel.
_METADATA = frozenset({ipaddress.ip_address("168.63.129.16")})


def system_addresses(host: str, port: int) -> Sequence[str]:
    """By the system, which bounds its own time (`resolv.conf`: 10 s a name server unless it says otherwise)."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


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
        if address.is_site_local:
            return "site-local"
    if address in _METADATA:
        return "metadata"
    for reason in ("loopback", "link_local", "multicast", "unspecified", "private", "reserved"):
        if getattr(address, f"is_{reason}"):
            return reason.replace("_", "-")
    return None if address.is_global else "not public"


def _embedded(address: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that a translator or tunnel would call for this one."""
    found = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [inner for inner in found if inner is not None]
