"""The chunks that each server writes for one answer, and its errors for invalid requests.

After the servers' sources: vLLM and SGLang `serving_chat.py`, DJL Serving `output_formatter.py` and
`lmi_vllm/request_response_utils.py`, TGI `chat.rs` and `server.rs`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Reply:
    """The answer of a stand-in: its pieces, each a token, and how it ends.

    With `call`, the name of a function, the pieces are those of its arguments. `die_after` and
    `fail_after` count records. `refuse` is the message of a refusal.
    """

    pieces: list[str]
    prompt_tokens: int
    reason: str = "stop"
    die_after: int | None = None
    fail_after: int | None = None
    refuse: str | None = None
    call: str | None = None


def reply(prompt: str, limit: int | None, tool: Body | None = None) -> Reply:
    """Return the answer that the prompt asks for.

    A prompt is a JSON object with `say`, as for the scripted engine, or text, which is repeated.
    With `tool`, OpenAI's description of a function, the answer to a text is a call of it: each
    argument that it requires is the text.
    """
    reason, call = "stop", None
    try:
        script = json.loads(prompt)
        pieces = [str(piece) for piece in script["say"]]
    except (ValueError, TypeError, KeyError):
        script, pieces = {}, [f" {word}" for word in f"You said: {prompt}".split()]
        if tool is not None:
            needed = (tool.get("parameters") or {}).get("required", ())
            pieces = _pieces(json.dumps(dict.fromkeys(needed, prompt), ensure_ascii=False))
            reason, call = "tool_calls", tool["name"]
    if limit is not None and len(pieces) > limit:
        pieces, reason = pieces[:limit], "length"
    return Reply(
        pieces,
        prompt_tokens=script.get("prompt_tokens", len(prompt.split())),
        reason=reason,
        die_after=script.get("die_after"),
        fail_after=script.get("fail_after"),
        refuse=script.get("refuse"),
        call=call,
    )


def _pieces(text: str) -> list[str]:
    return [text[at : at + 4] for at in range(0, len(text), 4)]


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def sse(value: object, gap: bytes = b" ") -> bytes:
    """Return one server-sent event."""
    return b"data:" + gap + (value if isinstance(value, bytes) else _line(value)) + b"\n\n"


def _usage(answer: Reply, tokens: int) -> Body:
    prompt = answer.prompt_tokens
    return {"prompt_tokens": prompt, "total_tokens": prompt + tokens, "completion_tokens": tokens}


def _chunk(choices: list[Body], **members: Any) -> Body:
    head = {
        "id": "chatcmpl-0",
        "object": "chat.completion.chunk",
        "created": 1763710000,
        "model": "default",
    }
    return {**head, "choices": choices, **members}


def _choice(delta: Body, reason: str | None = None, **members: Any) -> Body:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason, **members}


def _openai(answer: Reply, options: Body, nothing: Body) -> Iterator[Body]:
    """Yield the chunks that vLLM and SGLang have in common.

    `nothing` has the other members of a delta.
    """
    running = options.get("continuous_usage_stats", False)

    def usage(tokens: int) -> Body:
        return {"usage": _usage(answer, tokens)} if running else {}

    yield _chunk([_choice({**nothing, "role": "assistant", "content": ""})], **usage(0))
    if answer.call is not None:
        function = {"name": answer.call, "arguments": ""}
        begun = {"id": "call_0", "type": "function", "index": 0, "function": function}
        yield _chunk([_choice({**nothing, "tool_calls": [begun]})], **usage(0))
    for number, piece in enumerate(answer.pieces, 1):
        said: Body = {"content": piece}
        if answer.call is not None:
            said = {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}
        yield _chunk([_choice({**nothing, **said})], **usage(number))
    yield _chunk(
        [_choice({**nothing, "content": ""}, answer.reason, stop_reason=None)],
        **usage(len(answer.pieces)),
    )
    if options.get("include_usage"):
        yield _chunk([], usage=_usage(answer, len(answer.pieces)))


def vllm(answer: Reply, body: Body) -> Iterator[bytes]:
    """Yield vLLM's server-sent events and `[DONE]`, as 0.32.0 was recorded to write them."""
    for chunk in _openai(answer, body.get("stream_options") or {}, {}):
        for choice in chunk["choices"]:
            if "role" in choice["delta"]:
                chunk |= {"prompt_token_ids": None, "prompt_text": None}
            else:
                choice["token_ids"] = None
            if choice["finish_reason"] is not None:
                choice["delta"] = {}
        if not chunk["choices"]:
            chunk["system_fingerprint"] = "vllm-0.32.0-00000000"
        elif "usage" in chunk:
            chunk["usage"]["completion_tokens_details"] = None
        yield sse(chunk)
    yield sse(b"[DONE]")


def sglang(answer: Reply, body: Body) -> Iterator[bytes]:
    """Yield SGLang's events: vLLM's, with null for each member that a delta lacks."""
    nothing = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
    yield from map(sse, _openai(answer, body.get("stream_options") or {}, nothing))
    yield sse(b"[DONE]")


def lmi(answer: Reply, body: Body) -> Iterator[bytes]:
    """Yield LMI's JSON lines, and a blank line at the end.

    They are chunks for messages, and tokens for `inputs`.
    """
    if "messages" in body:
        for chunk in _openai(answer, body.get("stream_options") or {}, {}):
            yield _line(chunk) + b"\n"
    else:
        yield from (
            line + b"\n" for line in map(_line, _tokens(answer, generated=len(answer.pieces) + 1))
        )
    yield b"\n"


def _tokens(answer: Reply, *, generated: int) -> Iterator[Body]:
    last = len(answer.pieces)
    for number, piece in enumerate(answer.pieces, 1):
        token = {"id": number, "text": piece, "logprob": -0.25}
        record: Body = {"index": 0, "token": token, "generated_text": None, "details": None}
        if number == last:
            record["generated_text"] = "".join(answer.pieces)
            record["details"] = {
                "finish_reason": answer.reason,
                "seed": None,
                "generated_tokens": generated,
                "input_length": answer.prompt_tokens,
            }
        yield record


def tgi(answer: Reply, body: Body) -> Iterator[bytes]:
    """Yield TGI's server-sent events, without a space after `data:`.

    The role is in each chunk, and the usage comes at the end.
    """
    role = {"role": "assistant", "tool_call_id": None}
    for piece in answer.pieces:
        yield sse(_chunk([_choice({**role, "content": piece})], usage=None), b"")
    yield sse(_chunk([_choice({**role, "content": ""}, answer.reason)], usage=None), b"")
    if (body.get("stream_options") or {}).get("include_usage"):
        yield sse(_chunk([], usage=_usage(answer, len(answer.pieces))), b"")
    yield sse(b"[DONE]", b"")


SERVERS = {"vllm": vllm, "sglang": sglang, "lmi": lmi, "tgi": tgi}

FAILURES: dict[str, bytes] = {
    "vllm": sse(
        {
            "error": {
                "message": "EngineCore died",
                "type": "InternalServerError",
                "param": None,
                "code": 500,
            }
        }
    ),
    "sglang": sse(
        {
            "error": {
                "object": "error",
                "message": "aborted",
                "type": "InternalServerError",
                "code": 500,
            }
        }
    ),
    "lmi": b'{"error": "out of memory", "code": 424}\n',
    "tgi": sse({"error": "Request failed during generation", "error_type": "generation"}, b""),
}


def refusal(server: str, status: int, message: str) -> Body:
    """Return the error for a request as the server writes it."""
    if server == "tgi":
        return {"error": message, "error_type": "validation"}
    if server == "lmi":
        return {"error": message, "code": status}
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}
