"""The probes of `sluice check`.

Each probe sends some requests and yields whether the responses keep the rules.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cli.commands.check import rules
from cli.commands.check.wire import Response, Server, Stream, parse_stream

Verdict = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One rule, whether it holds, and what was seen."""

    rule: str
    verdict: Verdict
    seen: str = ""


@dataclass(frozen=True)
class Target:
    """The API and model to check.

    `failing_prompt` makes the model fail after some tokens. `silent_prompt` makes it wait for 20 s.
    """

    server: Server
    model: str
    failing_prompt: str | None = None
    silent_prompt: str | None = None

    def chat(self, prompt: str = "Tell me a story about a lighthouse.", **fields: Any) -> Response:
        """Request a chat completion."""
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], **fields}
        return self.server.send("POST", "/chat/completions", body)


def finding(rule: str, wrong: list[str], seen: str = "") -> Finding:
    """Return a finding: `wrong` if there are faults, else `ok` with what was seen."""
    return (
        Finding(rule, "wrong", "; ".join(dict.fromkeys(wrong)))
        if wrong
        else Finding(rule, "ok", seen)
    )


def request_id(response: Response, probe: str) -> Finding:
    """Every response has a request id. It identifies the request in a log."""
    wrong = [] if response.headers.get("x-request-id") else ["there is no x-request-id"]
    return finding(f"{probe}: request id", wrong, response.headers.get("x-request-id", ""))


def models(target: Target) -> Iterator[Finding]:
    """The models are listed."""
    response = target.server.send("GET", "/models")
    body = response.json()
    names = [model.get("id") for model in body.get("data", [])] if isinstance(body, dict) else []
    wrong = (
        []
        if response.status == 200 and target.model in names
        else [f"{target.model} is not in {names}"]
    )
    yield finding("models: listed", wrong, ", ".join(map(str, names)))
    single = target.server.send("GET", f"/models/{target.model}")
    yield finding("models: one by one", [] if single.status == 200 else [f"status {single.status}"])


def errors(target: Target) -> Iterator[Finding]:
    """Errors have their status and OpenAI's shape."""
    user = [{"role": "user", "content": "hi"}]
    requests: list[tuple[str, int, Any, str | None]] = [
        ("a wrong key", 401, {"model": target.model, "messages": user}, "sk-wrong"),
        ("no such model", 404, {"model": "no-such-model", "messages": user}, None),
        ("no messages", 400, {"model": target.model, "messages": []}, None),
        (
            "an unknown role",
            400,
            {"model": target.model, "messages": [{"role": "bot", "content": "x"}]},
            None,
        ),
        (
            "a temperature of 9",
            400,
            {"model": target.model, "messages": user, "temperature": 9},
            None,
        ),
        (
            "stream_options without stream",
            400,
            {"model": target.model, "messages": user, "stream_options": {}},
            None,
        ),
        ("a body that is not JSON", 400, b"{", None),
    ]
    for case, status, body, key in requests:
        response = target.server.send("POST", "/chat/completions", body, key=key)
        yield finding(f"errors: {case}", rules.wrong_error(response, status), str(status))
    yield request_id(response, "errors")


def whole(target: Target) -> Iterator[Finding]:
    """A completion in one body has its type and usage."""
    response = target.chat(max_tokens=16)
    yield finding("whole: types and usage", rules.wrong_whole(response))
    yield request_id(response, "whole")
    response = target.chat(max_tokens=1)
    reasons = [choice.get("finish_reason") for choice in (response.json() or {}).get("choices", [])]
    yield finding(
        "whole: finish_reason tells that max_tokens truncated it",
        [] if reasons == ["length"] else [f"finish_reason {reasons}"],
    )


def stream(target: Target) -> Iterator[Finding]:
    """A stream has its framing, order, types, timing and headers."""
    response = target.chat(stream=True, max_tokens=64)
    if response.status != 200:
        yield Finding(
            "stream: status",
            "wrong",
            f"{response.status}: {response.body[:200].decode(errors='replace')}",
        )
        return
    parsed = parse_stream(response)
    kind = response.headers.get("content-type", "")
    yield finding(
        "stream: content type",
        [] if kind.startswith("text/event-stream") else [kind or "none"],
        kind,
    )
    coded = response.headers.get("content-encoding", "identity")
    yield finding(
        "stream: not compressed", [] if coded == "identity" else [f"content-encoding {coded}"]
    )
    yield request_id(response, "stream")
    yield finding(
        "stream: framing", parsed.faults + (["the body has no proper end"] if response.cut else [])
    )
    yield finding("stream: order", rules.wrong_order(parsed))
    yield finding("stream: types", rules.wrong_types(parsed))
    yield finding("stream: no usage unless requested", rules.wrong_usage(parsed, requested=False))
    held, figures = rules.buffered(parsed)
    yield Finding(
        "stream: not buffered on the way",
        "unknown" if held is None else "wrong" if held else "ok",
        figures,
    )
    longest = rules.silence(response)
    wrong = [f"{longest:.1f} s"] if longest > rules.LONGEST_SILENCE else []
    yield finding(
        f"stream: no silence over {rules.LONGEST_SILENCE:.0f} s", wrong, f"longest {longest:.2f} s"
    )


def usage(target: Target) -> Iterator[Finding]:
    """A stream ends with usage if it was requested. A stream may have several choices."""
    parsed = parse_stream(
        target.chat(stream=True, max_tokens=8, stream_options={"include_usage": True})
    )
    yield finding("stream: usage when requested", rules.wrong_usage(parsed, requested=True))
    response = target.chat(stream=True, max_tokens=8, n=2)
    if response.status == 400:
        yield Finding("stream: two choices", "unknown", "n = 2 is rejected")
        return
    yield finding("stream: two choices", rules.wrong_order(parse_stream(response), choices=2))


_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}


def tools(target: Target) -> Iterator[Finding]:
    """The fragments of a required tool call add up to one call."""
    response = target.chat(
        "Weather in Rome?", stream=True, max_tokens=80, tools=[_TOOL], tool_choice="required"
    )
    if response.status == 400:
        yield Finding(
            "tools: a required call",
            "unknown",
            "rejected: " + response.body[:160].decode(errors="replace"),
        )
        return
    yield finding("tools: a required call", _wrong_call(parse_stream(response)))


def _wrong_call(parsed: Stream) -> list[str]:
    pieces = [
        call
        for chunk in parsed.chunks
        for choice in chunk.get("choices", [])
        for call in choice["delta"].get("tool_calls") or []
    ]
    if not pieces:
        return ["no tool was called"]
    wrong = parsed.faults + rules.wrong_order(parsed) + rules.wrong_types(parsed)
    first = pieces[0]
    if not (
        first.get("id")
        and first.get("type") == "function"
        and first.get("function", {}).get("name")
    ):
        wrong.append("the first piece of a call lacks its id, type or name")
    texts = [
        piece.get("function", {}).get("arguments") or ""
        for piece in pieces
        if piece.get("index") == 0
    ]
    try:
        json.loads("".join(texts))
    except ValueError:
        wrong.append("the arguments are not JSON")
    return wrong


def structure(target: Target) -> Iterator[Finding]:
    """An answer matches the JSON schema that was requested."""
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    form = {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": schema, "strict": True},
    }
    response = target.chat("Is water wet? Answer in JSON.", max_tokens=40, response_format=form)
    if response.status == 400:
        yield Finding("structure: a JSON schema", "unknown", "rejected")
        return
    try:
        value = json.loads(response.json()["choices"][0]["message"]["content"])
        wrong = (
            [] if isinstance(value.get("yes"), bool) else ["the answer does not match the schema"]
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        wrong = ["the answer is not JSON"]
    yield finding("structure: a JSON schema", wrong)


def failing(target: Target) -> Iterator[Finding]:
    """A model's failure after its first tokens is visible to the client."""
    rule = "failure: an answer that breaks off says so"
    if target.failing_prompt is None:
        yield Finding(rule, "unknown", "set --failing-prompt to check this")
        return
    response = target.chat(target.failing_prompt, stream=True)
    parsed = parse_stream(response)
    ends = parsed.events[-1][1] if parsed.events else ""
    if response.cut:
        yield Finding(rule, "ok", "the connection broke")
    elif ends.startswith("{") and isinstance(json.loads(ends).get("error"), dict):
        missing = {"message", "type", "param", "code"} - json.loads(ends)["error"].keys()
        yield finding(
            rule,
            [f"the error has no {', '.join(sorted(missing))}"] if missing else [],
            "an error event",
        )
    else:
        yield Finding(
            rule, "wrong", f"it ended with {ends[:80] or 'nothing'}: clients take it for complete"
        )


def silent(target: Target) -> Iterator[Finding]:
    """While a model is silent, heartbeats that clients ignore keep the connection alive."""
    rule = f"heartbeat: no silence over {rules.LONGEST_SILENCE:.0f} s"
    if target.silent_prompt is None:
        yield Finding(rule, "unknown", "set --silent-prompt to check this")
        return
    response = target.chat(target.silent_prompt, stream=True)
    parsed = parse_stream(response)
    longest = rules.silence(response)
    wrong = [f"{longest:.1f} s of silence"] if longest > rules.LONGEST_SILENCE else []
    yield finding(
        rule, wrong + parsed.faults + rules.wrong_order(parsed), f"longest {longest:.1f} s"
    )


PROBES: tuple[Callable[[Target], Iterator[Finding]], ...] = (
    models, errors, whole, stream, usage, tools, structure, failing, silent,
)  # fmt: skip
