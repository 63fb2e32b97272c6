"""Requests to other servers, and public errors for their rejections."""

from typing import Any

import msgspec
import pytest

from lambda_fn import dialects, errors
from lambda_fn.schema import Control, parse_chat

CONTROL = Control(request_id="r", deadline_ms=1000, max_prompt_tokens=100, caller="k")
FOREIGN = [name for name in dialects.DIALECTS if name != "sluice"]
CHAT: dict[str, Any] = {
    "model": "public",
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [{"type": "text", "text": "Hi "}, {"type": "text", "text": "there"}],
        },
    ],
    "max_completion_tokens": 9,
    "temperature": 0.5,
    "top_p": 1,
    "seed": -1,
    "stop": "END",
}


def body(dialect: str, **changes: Any) -> dict[str, Any]:
    """Return the body for a server of this dialect."""
    found = dialects.find(dialect)
    request = parse_chat(msgspec.json.encode({**CHAT, **changes}))
    found.check(request)
    decoded: dict[str, Any] = msgspec.json.decode(found.body(request, CONTROL))
    return decoded


@pytest.mark.parametrize("dialect", FOREIGN)
def test_foreign_servers_are_sent_what_they_take(dialect: str) -> None:
    """The body has no `sluice` and no model name, and always requests a stream."""
    sent = body(dialect, stream=False)
    assert sent["stream"] is True
    assert not {"sluice", "model", "max_completion_tokens"} & set(sent)


@pytest.mark.parametrize("dialect", ["openai", "lmi"])
def test_usage_is_asked_for_with_each_chunk(dialect: str) -> None:
    """The server is asked for usage in each chunk, whatever the client requested.

    So a truncated response is metered exactly.
    """
    sent = body(dialect, stream=True, stream_options={"include_usage": False})
    assert sent["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    assert (sent["max_tokens"], sent["stop"], sent["seed"]) == (9, "END", -1)
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]


@pytest.mark.parametrize("dialect", ["openai", "lmi"])
def test_choices_at_temperature_zero(dialect: str) -> None:
    """Several greedy choices, which vLLM refuses, are asked for by a request that it takes."""
    sent = body(dialect, n=2, temperature=0)
    assert (sent["n"], sent["top_k"], sent["temperature"] > 1e-5) == (2, 1, True)
    for more in ({"n": 1, "temperature": 0}, {"n": 2, "temperature": 0.5}, {"n": 2}):
        sent = body(dialect, **more)
        assert "top_k" not in sent


@pytest.mark.parametrize("dialect", ["openai", "lmi", "tgi"])
def test_schemas_are_rewritten(dialect: str) -> None:
    """Servers get no members that they refuse, such as `null`, in the schema of any tool."""
    written = {
        "type": "object",
        "properties": {"a": {"type": "string", "required": True}, "b": {"type": "any"}},
        "required": None,
        "$defs": {"x": {"properties": None}},
    }
    plain = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {}},
        "$defs": {"x": {}},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": written}}
    assert body(dialect, tools=[tool])["tools"][0]["function"]["parameters"] == plain
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": written}}
    sent = body(dialect, response_format=form)["response_format"]
    assert sent["value" if dialect == "tgi" else "json_schema"] in (
        plain,
        {"name": "x", "schema": plain},
    )


def test_tgi_is_sent_its_own_forms() -> None:
    """TGI gets its own forms of stops, `top_p` of one, seeds and schemas."""
    schema = {"type": "object", "properties": {}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    sent = body("tgi", response_format=form)
    assert (sent["stop"], sent["seed"]) == (["END"], 2**63 - 1)
    assert "top_p" not in sent
    assert sent["response_format"] == {"type": "json_object", "value": schema}
    assert sent["stream_options"] == {"include_usage": True}
    assert "response_format" not in body("tgi", response_format={"type": "text"})
    assert body("tgi", response_format={"type": "json_object"})["response_format"]["value"] == {
        "type": "object"
    }


def test_lmi_inputs_is_sent_one_prompt() -> None:
    """A model without a chat template gets one prompt of the messages' texts.

    Its parameters have their older names.
    """
    assert body("lmi-inputs") == {
        "inputs": "Be brief.\n\nHi there",
        "parameters": {
            "details": True,
            "max_new_tokens": 9,
            "temperature": 0.5,
            "top_p": 1,
            "seed": -1,
            "stop": ["END"],
        },
        "stream": True,
    }


@pytest.mark.parametrize(
    ("dialect", "field", "value"),
    [
        ("tgi", "n", 2),
        ("tgi", "logit_bias", {"1": 5}),
        ("lmi-inputs", "n", 2),
        ("lmi-inputs", "tools", [{"type": "function", "function": {"name": "f"}}]),
        ("lmi-inputs", "response_format", {"type": "json_object"}),
        ("lmi-inputs", "logprobs", True),
    ],
)
def test_what_a_server_would_ignore_is_refused(dialect: str, field: str, value: Any) -> None:
    """A parameter that the server cannot honour is a 400 that names it, before the reservation."""
    with pytest.raises(errors.InvalidRequest) as refusal:
        body(dialect, **{field: value})
    assert (refusal.value.param, refusal.value.code) == (field, "unsupported_parameter")


def test_a_field_at_its_default_is_not_refused() -> None:
    """A parameter at its default is accepted, because clients send defaults."""
    body("lmi-inputs", n=1, logprobs=False, response_format={"type": "text"})


@pytest.mark.parametrize(
    ("status", "answer", "kind", "code"),
    [
        (400, '{"error":{"message":"temperature must be non-negative","code":400}}', errors.InvalidRequest, None),
        (400, '{"object":"error","message":"maximum context length is 8","code":400}', errors.ContextLengthExceeded,
         "context_length_exceeded"),
        (422, ('{"error":"Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096",'
         '"error_type":"validation"}'), errors.ContextLengthExceeded, "context_length_exceeded"),
        (429, '{"error":"Model is overloaded","error_type":"overloaded"}', errors.RateLimited, "rate_limit_exceeded"),
        (424, '{"error":"Request failed during generation","error_type":"generation"}', errors.UpstreamFailed,
         "upstream_error"),
        (503, "<html>", errors.Unavailable, "service_unavailable"),
        (500, "", errors.UpstreamFailed, "upstream_error"),
        (404, '{"error":{"message":"The model `x` does not exist.","code":404}}', errors.NotFound,
         "model_not_found"),
        (404, '{"detail":"Not Found"}', errors.UpstreamFailed, "upstream_error"),
    ],
)  # fmt: skip
def test_refusals_become_public_errors(
    status: int, answer: str, kind: type[errors.APIError], code: str | None
) -> None:
    """Any status and body of a server become a public error without internal text."""
    for name in FOREIGN:
        refusal = dialects.find(name).rejection(status, answer)
        assert (type(refusal), refusal.code) == (kind, code)
        if not isinstance(refusal, errors.InvalidRequest | errors.RateLimited):
            assert refusal.message not in answer or not answer
