"""What is asked, and what is held against the answers. Each probe gives the findings of one or two requests."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from cli.commands.check import rules
from cli.commands.check.wire import Answer, Server, Stream, take_apart

Verdict = Literal["ok", "wrong", "unknown"]


@dataclass(frozen=True)
class Finding:
    """One rule, whether it holds, and what was seen."""

    rule: str
    verdict: Verdict
    seen: str = ""


@dataclass(frozen=True)
class Target:
    """What is checked. The two prompts make a model fail after its first tokens, and keep silent for 20 s."""

    server: Server
    model: str
    failing_prompt: str | None = None
    silent_prompt: str | None = None

    def chat(self, prompt: str = "Tell me a story about a lighthouse.", **fields: Any) -> Answer:
        """Ask for a chat completion."""
        body = {"model": self.model, "messages": [{"role": "user", "content": prompt}], **fields}
        return self.server.send("POST", "/chat/completions", body)


def finding(rule: str, wrong: list[str], seen: str = "") -> Finding:
    """Make a finding of what is wrong, if anything is."""
    return Finding(rule, "wrong", "; ".join(dict.fromkeys(wrong))) if wrong else Finding(rule, "ok", seen)


def headers_of(answer: Answer, what: str) -> Finding:
    """Every answer is named, so that it can be found in a log."""
    wrong = [] if answer.headers.get("x-request-id") else ["there is no x-request-id"]
    return finding(f"{what}: request id", wrong, answer.headers.get("x-request-id", ""))


def models(target: Target) -> Iterator[Finding]:
    """The models are listed."""
    answer = target.server.send("GET", "/models")
    body = answer.json()
    names = [model.get("id") for model in body.get("data", [])] if isinstance(body, dict) else []
    wrong = [] if answer.status == 200 and target.model in names else [f"{target.model} is not in {names}"]
    yield finding("models: listed", wrong, ", ".join(map(str, names)))
    one = target.server.send("GET", f"/models/{target.model}")
    yield finding("models: one by one", [] if one.status == 200 else [f"status {one.status}"])


def errors(target: Target) -> Iterator[Finding]:
    """Refusals have their status and OpenAI's shape."""
    user = [{"role": "user", "content": "hi"}]
    requests: list[tuple[str, int, Any, str | None]] = [
        ("a wrong key", 401, {"model": target.model, "messages": user}, "sk-wrong"),
        ("no such model", 404, {"model": "no-such-model", "messages": user}, None),
        ("no messages", 400, {"model": target.model, "messages": []}, None),
        ("a role that there is not", 400, {"model": target.model, "messages": [{"role": "bot", "content": "x"}]}, None),
        ("a temperature of 9", 400, {"model": target.model, "messages": user, "temperature": 9}, None),
        ("stream_options without stream", 400, {"model": target.model, "messages": user, "stream_options": {}}, None),
        ("a body that is no JSON", 400, b"{", None),
    ]
    for what, status, body, key in requests:
        answer = target.server.send("POST", "/chat/completions", body, key=key)
        yield finding(f"errors: {what}", rules.wrong_error(answer, status), str(status))
    yield headers_of(answer, "errors")


def whole(target: Target) -> Iterator[Finding]:
    """An answer in one body."""
    answer = target.chat(max_tokens=16)
    yield finding("whole: types and usage", rules.wrong_whole(answer))
    yield headers_of(answer, "whole")
    answer = target.chat(max_tokens=1)
    reasons = [choice.get("finish_reason") for choice in (answer.json() or {}).get("choices", [])]
    yield finding("whole: what max_tokens cuts says so", [] if reasons == ["length"] else [f"finish_reason {reasons}"])


def stream(target: Target) -> Iterator[Finding]:
    """A streamed answer: framing, order, types, timing, headers."""
    answer = target.chat(stream=True, max_tokens=64)
    if answer.status != 200:
        yield Finding("stream: status", "wrong", f"{answer.status}: {answer.body[:200].decode(errors='replace')}")
        return
    found = take_apart(answer)
    kind = answer.headers.get("content-type", "")
    yield finding("stream: content type", [] if kind.startswith("text/event-stream") else [kind or "none"], kind)
    coded = answer.headers.get("content-encoding", "identity")
    yield finding("stream: not compressed", [] if coded == "identity" else [f"content-encoding {coded}"])
    yield headers_of(answer, "stream")
    yield finding("stream: framing", found.faults + (["the body has no proper end"] if answer.cut else []))
    yield finding("stream: order", rules.wrong_order(found))
    yield finding("stream: types", rules.wrong_types(found))
    yield finding("stream: no usage unasked", rules.wrong_usage(found, asked=False))
    held, told = rules.buffered(found)
    yield Finding("stream: not buffered on the way", "unknown" if held is None else "wrong" if held else "ok", told)
    longest = rules.silence(answer)
    wrong = [f"{longest:.1f} s"] if longest > rules.LONGEST_SILENCE else []
    yield finding(f"stream: no silence over {rules.LONGEST_SILENCE:.0f} s", wrong, f"longest {longest:.2f} s")


def usage(target: Target) -> Iterator[Finding]:
    """Usage at the end of a stream, when it is asked for; several choices."""
    found = take_apart(target.chat(stream=True, max_tokens=8, stream_options={"include_usage": True}))
    yield finding("stream: usage when asked", rules.wrong_usage(found, asked=True))
    answer = target.chat(stream=True, max_tokens=8, n=2)
    if answer.status == 400:
        yield Finding("stream: two choices", "unknown", "n = 2 is refused")
        return
    yield finding("stream: two choices", rules.wrong_order(take_apart(answer), choices=2))


_TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def tools(target: Target) -> Iterator[Finding]:
    """A tool call that is required comes in pieces that make one call."""
    answer = target.chat("Weather in Rome?", stream=True, max_tokens=80, tools=[_TOOL], tool_choice="required")
    if answer.status == 400:
        yield Finding("tools: a required call", "unknown", "refused: " + answer.body[:160].decode(errors="replace"))
        return
    yield finding("tools: a required call", _wrong_call(take_apart(answer)))


def _wrong_call(found: Stream) -> list[str]:
    pieces = [
        call
        for chunk in found.chunks
        for choice in chunk.get("choices", [])
        for call in choice["delta"].get("tool_calls") or []
    ]
    if not pieces:
        return ["no tool was called"]
    wrong = found.faults + rules.wrong_order(found) + rules.wrong_types(found)
    first = pieces[0]
    if not (first.get("id") and first.get("type") == "function" and first.get("function", {}).get("name")):
        wrong.append("the first piece of a call has not its id, type and name")
    texts = [piece.get("function", {}).get("arguments") or "" for piece in pieces if piece.get("index") == 0]
    try:
        json.loads("".join(texts))
    except ValueError:
        wrong.append("the arguments are no JSON")
    return wrong


def structure(target: Target) -> Iterator[Finding]:
    """An answer that is to have a schema has it."""
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    answer = target.chat("Is water wet? Answer in JSON.", max_tokens=40, response_format=form)
    if answer.status == 400:
        yield Finding("structure: a JSON schema", "unknown", "refused")
        return
    try:
        said = json.loads(answer.json()["choices"][0]["message"]["content"])
        wrong = [] if isinstance(said.get("yes"), bool) else ["the answer is not of the schema"]
    except (ValueError, TypeError, KeyError, AttributeError):
        wrong = ["the answer is no JSON"]
    yield finding("structure: a JSON schema", wrong)


def failing(target: Target) -> Iterator[Finding]:
    """A model that fails after its first tokens never passes for one that ended well."""
    rule = "failure: an answer that breaks off says so"
    if target.failing_prompt is None:
        yield Finding(rule, "unknown", "give --failing-prompt")
        return
    answer = target.chat(target.failing_prompt, stream=True)
    found = take_apart(answer)
    ends = found.events[-1][1] if found.events else ""
    if answer.cut:
        yield Finding(rule, "ok", "the connection broke")
    elif ends.startswith("{") and isinstance(json.loads(ends).get("error"), dict):
        missing = {"message", "type", "param", "code"} - json.loads(ends)["error"].keys()
        yield finding(rule, [f"the error has no {', '.join(sorted(missing))}"] if missing else [], "an error event")
    else:
        yield Finding(rule, "wrong", f"it ended with {ends[:80] or 'nothing'}: clients take it for whole")


def silent(target: Target) -> Iterator[Finding]:
    """A model that is silent for long is kept alive, in a form that clients read over."""
    rule = f"heartbeat: no silence over {rules.LONGEST_SILENCE:.0f} s"
    if target.silent_prompt is None:
        yield Finding(rule, "unknown", "give --silent-prompt")
        return
    answer = target.chat(target.silent_prompt, stream=True)
    found = take_apart(answer)
    longest = rules.silence(answer)
    wrong = [f"{longest:.1f} s of silence"] if longest > rules.LONGEST_SILENCE else []
    yield finding(rule, wrong + found.faults + rules.wrong_order(found), f"longest {longest:.1f} s")


PROBES: tuple[Callable[[Target], Iterator[Finding]], ...] = (
    models, errors, whole, stream, usage, tools, structure, failing, silent,
)  # fmt: skip
