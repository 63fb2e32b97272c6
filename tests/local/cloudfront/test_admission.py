"""Requests and responses that are too long for CloudFront."""

import pytest

from tests.support.edge import Site


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status"),
    [
        ("GET", "/echo?" + "q" * 8180, {}, None, 200),
        ("GET", "/echo?" + "q" * 8190, {}, None, 413),
        ("POST", "/echo", {"x-a": "b" * 19_000}, "body", 200),
        ("POST", "/echo", {"x-a": "b" * 20_480}, "body", 413),
        ("GET", "/echo", {}, "body", 403),
        ("GET", "/long-head", {}, None, 502),
    ],
)
async def test_lengths(
    site: Site, method: str, path: str, headers: dict[str, str], body: str | None, status: int
) -> None:
    """A URL or head over the limits is rejected, and so is a GET with a body."""
    async with site.session.request(
        method, site.url + path, headers=headers, data=body
    ) as response:
        assert response.status == status
        if status == 413:
            assert response.headers["Connection"] == "close"
