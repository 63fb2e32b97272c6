"""Requests to the application in tests, and readers of its responses."""

import json
from typing import Any

from lambda_fn.metering.keys import ledger_key
from tests.support.function import Reply

CHAT = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
STREAM = {**CHAT, "stream": True}


def events(reply: Reply) -> list[Any]:
    """Return the data of each event of a stream."""
    data = [block.removeprefix("data: ") for block in reply.body.decode().split("\n\n") if block]
    return [line if line == "[DONE]" else json.loads(line) for line in data]


def text(reply: Reply) -> str:
    """Return the whole content of a stream."""
    chunks = [event for event in events(reply) if event != "[DONE]" and "choices" in event]
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]
    )


def ledger_item(items: Any, reply: Reply) -> dict[str, Any]:
    """Return the ledger item of a response, by its request id."""
    request_id = reply.headers["x-request-id"].removeprefix("req_")
    item: dict[str, Any] = items.get_item(Key=ledger_key(request_id))["Item"]
    return item
