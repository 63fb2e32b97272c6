"""TLS at the edge, with a certificate of the local cloud."""

import ssl
from pathlib import Path

import httpx
import pytest

from local.cloudfront.certificate import ensure
from local.cloudfront.server import Edge
from local.state import Distribution


def _config() -> dict[str, object]:
    origin = {"Id": "o", "DomainName": "nowhere.example", "CustomOriginConfig": {}}
    return {"Origins": [origin], "DefaultCacheBehavior": {"TargetOriginId": "o"}}


async def test_viewers_check_the_certificate(tmp_path: Path) -> None:
    """A client that trusts the local authority can use HTTPS with strict checks.

    Any other client rejects the certificate.
    """
    certificate = ensure(tmp_path)
    edge = Edge(lambda: 0, tls=certificate.context())
    await edge.start()
    await edge.apply((Distribution("E1", _config()),), {})
    url = edge.status()[0]["url"]
    assert url.startswith("https://localhost:")
    trusting = ssl.create_default_context(cafile=str(certificate.authority))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    async with httpx.AsyncClient(verify=trusting) as client:
        for host in ("localhost", "127.0.0.1"):
            assert (await client.get(url.replace("localhost", host))).status_code == 502
    async with httpx.AsyncClient(verify=ssl.create_default_context()) as client:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(url)
    await edge.stop()


def test_certificate_is_kept(tmp_path: Path) -> None:
    """The next start has the same certificate.

    Only its owner can read its key, and the authority's key is not stored.
    """
    first = ensure(tmp_path)
    content = first.server.read_bytes()
    assert ensure(tmp_path).server.read_bytes() == content
    assert first.server.stat().st_mode & 0o077 == 0
    assert b"PRIVATE KEY" not in first.authority.read_bytes()
