"""A trace of one request, from its caller over the function to the container."""

import json
import time
from typing import Any

import boto3
import httpx
import pytest

from cli.commands.trace import find
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options

pytestmark = pytest.mark.e2e
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def spans_of(cloud: LocalCloud, request_id: str) -> list[dict[str, Any]]:
    """Return the spans of a request, once they have arrived."""
    logs = boto3.client("logs", **options(cloud))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if found := find(logs, request_id, since=3600):
                return found
        except logs.exceptions.ResourceNotFoundException:
            pass
        time.sleep(0.2)
    raise AssertionError("no spans came")


def test_a_stream(cloud: LocalCloud, demo: Deployment) -> None:
    """The spans of the function and of the container are in the caller's trace, in order."""
    prompt = "Tell me a story about the quick brown fox"
    with httpx.stream(
        "POST",
        f"{demo.origin}/v1/chat/completions",
        headers={
            "Authorization": f"Bearer {demo.key}",
            "traceparent": f"00-{TRACE}-{SPAN}-01",
        },
        json={
            "model": demo.model,
            "stream": True,
            "max_tokens": 5,
            "messages": [{"role": "user", "content": prompt}],
        },
        timeout=60,
    ) as response:
        assert response.read()
    request_id = response.headers["x-request-id"].removeprefix("req_")
    own, container = spans_of(cloud, request_id)
    assert (own["traceId"], own["parentSpanId"]) == (TRACE, SPAN)
    assert [event["name"] for event in own["events"]] == [
        "admitted", "invoked", "first_token", "last_token", "settled",
    ]  # fmt: skip
    assert own["attributes"]["gen_ai.usage.output_tokens"] == 5
    assert own["resource"]["attributes"]["service.name"] == f"{demo.name}-local"
    assert (container["traceId"], container["parentSpanId"]) == (TRACE, own["spanId"])
    assert container["resource"]["attributes"]["service.name"] == f"{demo.name}-local-model"
    assert [event["name"] for event in container["events"]] == ["started", "first_token"]
    assert own["startTimeUnixNano"] <= container["startTimeUnixNano"]
    assert container["endTimeUnixNano"] <= own["endTimeUnixNano"]
    assert prompt not in json.dumps([own, container])
