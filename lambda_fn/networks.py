"""The address that a request came from, and whether a key may be used from it. Pure.

The networks of a key are one text, such as `203.0.113.0/24 2001:db8::/32`, because a condition of
DynamoDB can compare a text. `ipaddress` is imported for the first key that has networks, and not at
a cold start.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

ANYWHERE = ""
"""The networks of a key without a restriction."""


def viewer(forwarded: str, source: str) -> str:
    """Return the address of CloudFront's viewer, or an empty text if it is unknown.

    CloudFront appends its viewer to X-Forwarded-For. The client may have sent the entries before
    it, so only the last one counts. If Lambda appends the address of the connection too, the last
    entry is `source`, which is CloudFront's edge, and the one before it is the viewer.

    Args:
        forwarded: The header X-Forwarded-For.
        source: `requestContext.http.sourceIp`.

    """
    entries = [entry.strip() for entry in forwarded.split(",")]
    if len(entries) > 1 and entries[-1] == source:
        entries.pop()
    return entries[-1] or source


def canonical(networks: Iterable[str]) -> str:
    """Return networks in the form that the account item stores.

    Raises:
        ValueError: a text is not a network, or has bits set outside of its prefix, as
            203.0.113.5/24 does.

    """
    return " ".join(dict.fromkeys(str(_network(text)) for text in networks))


def admits(networks: str, address: str) -> bool:
    """Return whether a key with these networks may be used from an address.

    A malformed address is in no network.
    """
    if not networks:
        return True
    parsed = _address(address)
    return parsed is not None and any(parsed in network for network in _parsed(networks))


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
    """Return a parsed address, or None if it is malformed.

    A port may follow it, as in CloudFront's headers.
    """
    from ipaddress import ip_address

    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
