"""Reads a stream of the Responses API as strictly as the strictest of its clients.

openai_response_events.json is the part of OpenAI's own document that describes responses and their
events.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

DOCUMENT: dict[str, Any] = json.loads(
    Path(__file__).with_name("openai_response_events.json").read_text(encoding="utf-8")
)
_TERMINAL = ("response.completed", "response.incomplete", "response.failed")
_EVENTS = {
    found["properties"]["type"]["enum"][0]: name
    for name, found in DOCUMENT["$defs"].items()
    if name.endswith("Event")
}


@cache
def _validator(kind: str) -> Draft202012Validator:
    return Draft202012Validator({**DOCUMENT, "$ref": f"#/$defs/{kind}"})


def check(kind: str, body: Any) -> None:
    """Check a value against the schema of this name in OpenAI's document."""
    errors = _validator(kind).iter_errors(body)
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def check_response(body: dict[str, Any]) -> None:
    """Check a response against OpenAI's document, and its items each against its own type."""
    check("Response", body)
    kinds = {
        "message": "OutputMessage",
        "function_call": "FunctionToolCall",
        "reasoning": "ReasoningItem",
    }
    for item in body["output"]:
        check(kinds[item["type"]], item)


def events_of(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream, checked: their names, numbers and types. It ends in `[DONE]`
    if it has a terminal event. Comments are left out.
    """
    blocks = [it for it in data.decode().split("\n\n") if it and not it.startswith(":")]
    ended = blocks[-1:] == ["data: [DONE]"]
    events: list[dict[str, Any]] = []
    for block in blocks[: -1 if ended else None]:
        name, _, fields = block.partition("\n")
        event = json.loads(fields.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == len(events)
        check(_EVENTS[event["type"]], event)
        events.append(event)
    terminal = [event for event in events if event["type"] in _TERMINAL]
    assert terminal == (events[-1:] if ended else [])
    return events


def response_of(data: bytes) -> dict[str, Any]:
    """Return the response of a whole stream, which its events make as they come.

    One item is open at a time, and one part of it. Each end repeats what the deltas had.
    """
    created, *events, last = events_of(data)
    assert created["type"] == "response.created"
    was = "in_progress"
    if events[0]["type"] == "response.queued":
        was = "queued"
        assert created["response"] == events.pop(0)["response"]
    running = events.pop(0)
    assert running["type"] == "response.in_progress"
    assert {**running["response"], "status": was} == created["response"]
    assert (created["response"]["status"], created["response"]["output"]) == (was, [])
    assert running["response"]["status"] == "in_progress"
    items = _Items()
    for event in events:
        items.take(event)
    response: dict[str, Any] = last["response"]
    check_response(response)
    assert last["type"] == f"response.{response['status'].replace('cancelled', 'failed')}"
    if response["status"] in ("completed", "incomplete"):
        assert items.item is None
        assert items.done == response["output"]
    changing = ("status", "completed_at", "error", "incomplete_details", "output", "usage")
    assert {**created["response"], "sluice": None} == {
        **response,
        **{name: created["response"][name] for name in changing},
        "sluice": None,
    }
    ids = [item["id"] for item in response["output"]]
    assert len(set(ids)) == len(ids)
    return response


class _Items:
    """The items of a stream: those that are done, and the open one with its open part."""

    def __init__(self) -> None:
        self.done: list[dict[str, Any]] = []
        self.item: dict[str, Any] | None = None
        self._part: dict[str, Any] | None = None
        self._logprobs: list[Any] = []

    def take(self, event: dict[str, Any]) -> None:
        kind = event["type"].removeprefix("response.")
        assert event["output_index"] == len(self.done)
        if kind == "output_item.added":
            assert self.item is None
            self.item = event["item"]
            assert event["item"]["status"] == "in_progress"
            return
        item = self.item
        assert item is not None
        if kind == "output_item.done":
            assert self._part is None
            assert {**item, "status": event["item"]["status"]} == event["item"]
            self.done.append(event["item"])
            self.item = None
            return
        assert event["item_id"] == item["id"]
        verb = kind.rpartition(".")[2]
        if kind.startswith("function_call_arguments"):
            if verb == "delta":
                item["arguments"] += event["delta"]
            else:
                assert (event["arguments"], event["name"]) == (item["arguments"], item["name"])
            return
        place = event.get("content_index", event.get("summary_index"))
        parts = item["content" if "content_index" in event else "summary"]
        if "part.added" in kind:
            assert (self._part, place) == (None, len(parts))
            self._part, self._logprobs = event["part"], []
            parts.append(self._part)
            return
        part = self._part
        assert part is not None
        assert place == len(parts) - 1
        text = "refusal" if part["type"] == "refusal" else "text"
        if "part.done" in kind:
            assert part == event["part"]
            self._part = None
        elif verb == "delta":
            part[text] += event["delta"]
            self._logprobs += event.get("logprobs", [])
        else:
            assert event[text] == part[text]
            if "logprobs" in event:
                assert event["logprobs"] in (self._logprobs, [])
                part["logprobs"] = event["logprobs"]
