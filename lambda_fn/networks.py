"""Where a request came from, and whether a key may be used from there. Pure.

A key's networks are one text, `203.0.113.0/24 2001:db8::/32`: the account item is written whole each time, and a
condition compares a text in one step. `ipaddress` is imported by the first key that has networks, and no cold start.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

ANYWHERE = ""
"""The networks of a key that has none."""


def viewer(forwarded: str, source: str) -> str:
    """Return the address of whoever asked CloudFront, the empty text when nothing tells it.

    CloudFront appends its viewer to X-Forwarded-For, of which a client may have sent the beginning: so the last entry
    counts, and none before it. Should Lambda append the connection's own address too, that one is `source`, which is
    the edge's, and the entry before it is the viewer.

    Args:
        forwarded: The header X-Forwarded-For.
        source: `requestContext.http.sourceIp`.

    """
    entries = [entry.strip() for entry in forwarded.split(",")]
    if len(entries) > 1 and entries[-1] == source:
        entries.pop()
    return entries[-1] or source


def canonical(networks: Iterable[str]) -> str:
    """Return networks as the account item has them.

    Raises:
        ValueError: one is no network, or has bits set outside of it, as 203.0.113.5/24 does.

    """
    return " ".join(dict.fromkeys(str(_network(text)) for text in networks))


def admits(networks: str, address: str) -> bool:
    """Say whether a key with these networks may be used from an address; an unreadable one is outside of all."""
    if not networks:
        return True
    found = _address(address)
    return found is not None and any(found in network for network in _parsed(networks))


@lru_cache(maxsize=256)
def _parsed(networks: str) -> tuple[Any, ...]:
    return tuple(map(_network, networks.split()))


def _network(text: str) -> Any:
    from ipaddress import IPv4Network, ip_network

    network = ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network


def _address(text: str) -> Any:
    """Return an address that may have a port behind it, as CloudFront's own headers write it; None of anything else."""
    from ipaddress import ip_address

    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found
