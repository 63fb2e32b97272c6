"""Callers of a container that has a token."""

import httpx
import pytest

from model.server import Front


@pytest.mark.parametrize(
    ("token", "sent", "status"),
    [
        (None, {}, 503),
        ("secret", {"x-sluice-caller": "secret"}, 503),
        ("secret", {}, 403),
        ("secret", {"x-sluice-caller": ""}, 403),
        ("secret", {"x-sluice-caller": "secretx"}, 403),
        ("secret", {"origin": "http://evil.example"}, 403),
    ],
)
@pytest.mark.parametrize("path", ["/ping", "/invocations", "/metrics", "/v1/chat/completions"])
async def test_who_is_answered(
    token: str | None, sent: dict[str, str], status: int, path: str
) -> None:
    """With a token, only requests that have it are accepted, on every path.

    Without one, every request is.
    """
    transport = httpx.ASGITransport(Front("the engine is starting", token))
    async with httpx.AsyncClient(transport=transport, base_url="http://container") as client:
        answer = await client.post(path, headers=sent)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == ("caller_denied" if status == 403 else "not_ready")
