"""The events of callers through IAM."""

import json
from typing import Any

import pytest

from lambda_fn.control import sizes
from lambda_fn.control.invocation import as_url_event


@pytest.mark.parametrize(
    "event",
    [
        {
            "path": "/x" * 3_000_000,
            "method": "y" * 6_000_000,
            "query": "z" * 6_000_000,
            "body": "b" * 6_000_000,
        },
        {
            "path": "\ud800",
            "method": "\ud800",
            "query": "\ud800",
            "body": "\ud800",
            "accept": "\ud800",
        },
        {
            "path": [1],
            "method": {},
            "query": {"limit": 10},
            "body": {"name": "\ud800"},
            "accept": None,
        },
    ],
)
def test_an_event_is_bounded(event: dict[str, Any]) -> None:
    """Any event of an invoker becomes a request within the size limits, which can be rejected."""
    url_event = as_url_event(event)
    assert len(json.dumps(url_event)) < 3 * sizes.REPLAY_BODY
    json.dumps(url_event, ensure_ascii=False).encode()
    assert len(url_event["rawPath"]) <= sizes.PATH + 1
    assert url_event["rawQueryString"]


def test_an_event_that_is_nested_deeply() -> None:
    """A body that cannot be written as JSON is rejected as invalid JSON."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert as_url_event({"body": deep})["body"] == "["
