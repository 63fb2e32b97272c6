"""Bad input, sent raw through the distribution.

Each response has the right status, OpenAI's shape and a request id.
"""

from typing import Any

import httpx
import pytest

from lambda_fn import ids
from lambda_fn.metering.keys import account_key
from tests.support.deployments import Deployment

pytestmark = pytest.mark.e2e

USER = {"role": "user", "content": "hi"}


def check(response: httpx.Response, status: int, code: str | None) -> None:
    """Check what must hold for every rejection."""
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert response.headers["x-request-id"].startswith("req_")
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"model": "other"}, 404, "model_not_found"),
        ({"messages": []}, 400, "empty_array"),
        ({"messages": "hi"}, 400, "invalid_type"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "invalid_type"),
        ({"stream_options": {"include_usage": True}}, 400, None),
        ({"max_tokens": 0}, 400, "integer_below_min_value"),
        (
            {"messages": [{"role": "user", "content": "many words " * 5000}]},
            400,
            "context_length_exceeded",
        ),
        ({"messages": [{"role": "user", "content": "x" * 1_000_001}]}, 413, "request_too_large"),
    ],
    ids=range(8),
)
def test_wrong_requests(
    demo: Deployment, change: dict[str, Any], status: int, code: str | None
) -> None:
    """An invalid request is rejected with its status, streamed or not."""
    for stream in (False, True):
        if stream and "stream_options" in change:
            continue
        body = {"model": demo.model, "messages": [USER], "stream": stream, **change}
        headers = {"authorization": f"Bearer {demo.key}"}
        check(
            httpx.post(
                f"{demo.origin}/v1/chat/completions", json=body, headers=headers, timeout=60
            ),
            status,
            code,
        )


def test_malformed_json(demo: Deployment) -> None:
    """A body that is not JSON is a 400."""
    headers = {"authorization": f"Bearer {demo.key}"}
    for body in (b"", b"{", b"\xff\xfe"):
        check(
            httpx.post(f"{demo.origin}/v1/chat/completions", content=body, headers=headers),
            400,
            "invalid_json",
        )


def test_unknown_path_and_method(demo: Deployment) -> None:
    """An unknown path is a 404, and a wrong method a 405."""
    check(httpx.get(f"{demo.origin}/v2/nothing"), 404, "not_found")
    check(httpx.get(f"{demo.origin}/v1/completions"), 405, "method_not_allowed")


def test_keys(demo: Deployment) -> None:
    """A missing or wrong key is a 401, and a disabled one a 403."""
    body = {"model": demo.model, "messages": [USER]}
    url = f"{demo.origin}/v1/chat/completions"
    check(httpx.post(url, json=body), 401, "invalid_api_key")
    wrong = {"authorization": f"Bearer {ids.new_key()}"}
    check(httpx.post(url, json=body, headers=wrong), 401, "invalid_api_key")
    account = account_key(ids.key_id_of(demo.key) or "")
    change = {"Key": account, "UpdateExpression": "SET enabled = :value"}
    demo.table.update_item(**change, ExpressionAttributeValues={":value": False})
    try:
        headers = {"authorization": f"Bearer {demo.key}"}
        check(httpx.post(url, json=body, headers=headers), 403, "key_disabled")
    finally:
        demo.table.update_item(**change, ExpressionAttributeValues={":value": True})
