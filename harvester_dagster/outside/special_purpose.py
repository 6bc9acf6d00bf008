"""Addresses that are nobody's public server, by IANA's registries, and what each block is in a word or two.

From the "IPv4 Special-Purpose Address Registry" and the "IPv6 Special-Purpose Address Registry" (RFC 6890 and its
successors), the multicast blocks (RFC 5771, RFC 4291) and IPv6's unicast space, as they stood on the day below. A table
of our own and not `ipaddress.is_private`, because what that knows changes with the version of Python. Belongs here:
blocks. Does not belong here: addresses inside addresses, and who may be called all the same (`addresses.py`,
`connections.py`).
"""

from datetime import date
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

AS_OF = date(2026, 11, 1)

BLOCKS: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared by carriers"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("192.31.196.0/24", "AS112"),
    ("192.52.193.0/24", "a multicast tunnel"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "AS112"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "a local translator"),
    ("100::/64", "discarded"),
    ("100:0:0:1::/64", "a dummy"),
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "for documentation"),
    ("2620:4f:8000::/48", "AS112"),
    ("3fff::/20", "for documentation"),
    ("5f00::/16", "segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
"""Block and word. Of some the registries say that they can be reached (AS112, PCP, TURN): no source is there."""

_IPV6_UNICAST = IPv6Network("2000::/3")
"""What is given out of IPv6 so far."""


def word_of(address: IPv4Address | IPv6Address) -> str | None:
    """What a special-purpose address is for; None: it may be a public server's."""
    for block, word in _blocks(address.version):
        if address in block:
            return word
    return "not given out" if isinstance(address, IPv6Address) and address not in _IPV6_UNICAST else None


@cache
def _blocks(version: int) -> tuple[tuple[IPv4Network | IPv6Network, str], ...]:
    networks = ((ip_network(block), word) for block, word in BLOCKS)
    return tuple((network, word) for network, word in networks if network.version == version)
