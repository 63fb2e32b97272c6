"""Distributions on loopback: streams, errors, and slow or missing origins."""

import aiohttp
import pytest

from local.state import Distribution
from tests.support.distributions import config
from tests.support.edge import Site


async def test_removed_distribution(site: Site) -> None:
    """A deleted distribution no longer listens."""
    await site.edge.apply((), {})
    with pytest.raises(aiohttp.ClientConnectorError):
        await site.session.get(site.url)
    assert site.edge.observe() == {}


async def test_bad_configuration_is_reported(site: Site) -> None:
    """A configuration that cannot be served is reported with the reason."""
    await site.edge.apply((Distribution("E1", config(TargetOriginId="none")),), {})
    assert "none" in site.edge.observe()["E1"]["reason"]
