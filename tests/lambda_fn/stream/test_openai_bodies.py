"""Every body of the API against OpenAI's own document: whole and streamed, each required field.

tests/support/openai_responses.json is the part of that document that describes responses.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.function import END, FINISH, START, USAGE, Call, StandIn, lines, part
from tests.support.replies import CHAT, events

DOCUMENT: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "support/openai_responses.json").read_text()
)
PROMPT = {"model": "m", "prompt": "Once"}
CALL = {"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": ""}}


def delta(fields: dict[str, Any], index: int = 0, **more: Any) -> dict[str, Any]:
    """Return a record of the container."""
    return {"type": "delta", "index": index, "delta": fields, "tokens": 1, **more}


def logprobs(**more: Any) -> dict[str, Any]:
    """Return a record's log probabilities, as servers send them: without what may be null."""
    top = [{"token": '"refusal":', "logprob": -0.5, **more}]
    return {"content": [{"token": "a", "logprob": -0.1, **more, "top_logprobs": top}]}


BYTES = {"bytes": [97]}
ANSWERS: dict[str, list[dict[str, Any]]] = {
    "text": [delta({"content": "Hello"}), FINISH],
    "nothing": [FINISH],
    "cut": [delta({"content": "Hel"}), {**FINISH, "finish_reason": "length"}],
    "reasoning": [delta({"reasoning_content": "Hm"}), delta({"content": "Hi"}), FINISH],
    "a refusal": [delta({"refusal": "No."}), FINISH],
    "calls": [
        delta({"content": "So:"}),
        delta({"tool_calls": [CALL]}),
        delta({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        delta({"tool_calls": [{**CALL, "index": 1, "id": "d"}]}),
        {**FINISH, "finish_reason": "tool_calls"},
    ],
    "logprobs": [
        delta({"content": "a"}, logprobs=logprobs(**BYTES)),
        delta({"content": "a"}, logprobs={**logprobs(**BYTES), "refusal": None}),
        delta({"content": "a"}, logprobs=logprobs()),
        delta({"content": ""}, logprobs={"content": None}),
        delta({"content": ""}, logprobs={"content": []}),
        FINISH,
    ],
}
ALL = [*ANSWERS, "two choices"]


def check(kind: str, body: Any, **changed: Any) -> None:
    """Check a body against the schema of this name in OpenAI's document."""
    errors = Draft202012Validator({**DOCUMENT, "$ref": f"#/$defs/{kind}", **changed}).iter_errors(
        body
    )
    assert [f"{error.json_path}: {error.message}" for error in errors] == []


def script_of(name: str) -> list[bytes]:
    """Return what the container sends for an answer."""
    if name == "two choices":
        records = [
            *(record for index in (0, 1) for record in [delta({"content": "x"}, index)]),
            FINISH,
            {**FINISH, "index": 1},
        ]
    else:
        records = ANSWERS[name]
    return [part(lines(START, *records, {**USAGE, "cached_tokens": 1}, END))]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("tier", [None, "flex"])
async def test_chat(call: Call, sagemaker: StandIn, name: str, tier: str | None) -> None:
    """A chat completion, and each chunk of a streamed one, have what OpenAI's have."""
    sagemaker.script = script_of(name)
    more = {
        "n": 2 if name == "two choices" else 1,
        "logprobs": name == "logprobs",
        "service_tier": tier,
    }
    whole = await call(body={**CHAT, **more})
    check("CreateChatCompletionResponse", json.loads(whole.body))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = events(await call(body={**CHAT, **more, **options}))
    assert streamed.pop() == "[DONE]"
    for chunk in streamed:
        check("CreateChatCompletionStreamResponse", chunk)
    tokens = [
        token
        for chunk in streamed
        for choice in chunk["choices"]
        for token in (choice["logprobs"] or {"content": []})["content"]
    ]
    found = json.loads(whole.body)["choices"][0]["logprobs"]
    assert tokens == (found or {"content": []})["content"]


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("name", ["text", "nothing", "cut", "logprobs", "two choices"])
async def test_completion(call: Call, sagemaker: StandIn, name: str) -> None:
    """So do completions of the old form. In a stream their reason is null until the end."""
    sagemaker.script = script_of(name)
    more = {"n": 2 if name == "two choices" else 1, "logprobs": 1 if name == "logprobs" else None}
    whole = await call(path="/v1/completions", body={**PROMPT, **more})
    check("CreateCompletionResponse", json.loads(whole.body))
    reply = await call(path="/v1/completions", body={**PROMPT, **more, "stream": True})
    streamed = events(reply)
    assert streamed.pop() == "[DONE]"
    for chunk in streamed:
        for choice in chunk["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        check("CreateCompletionResponse", chunk)


@pytest.mark.usefixtures("account")
async def test_models(call: Call) -> None:
    """The list of models, and each model, have OpenAI's members. A model is not of 1970."""
    listed = json.loads((await call("GET", "/v1/models")).body)
    check("ListModelsResponse", listed)
    one = json.loads((await call("GET", "/v1/models/m")).body)
    check("Model", one)
    assert one["created"] == listed["data"][0]["created"] > 1_700_000_000


@pytest.mark.usefixtures("account")
async def test_errors(call: Call, sagemaker: StandIn) -> None:
    """An error has all four members: as a response, and as the last event of a stream."""
    sagemaker.script = [part(lines(START, delta({"content": "x"}))), None]
    for reply in (
        await call("GET", "/v1/nothing"),
        await call(body=b"{"),
        await call(body=CHAT, key=None),
        await call(body=CHAT),
    ):
        check("ErrorResponse", json.loads(reply.body))
    last = events(await call(body={**CHAT, "stream": True}))[-1]
    check("ErrorResponse", last)
