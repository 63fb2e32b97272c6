"""Translates requests for vLLM, and its outputs into events.

Pure; the shapes are those of vLLM's OpenAI server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from model.errors import EngineError
from model.events import Delta, Event, Finish, FinishReason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from model.schema import ChatRequest

_PASSED_ON = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "seed",
    "logit_bias",
    "reasoning_effort",
    "chat_template_kwargs",
    "thinking_token_budget",
)
TAKEN = (
    *("top_k", "min_p", "repetition_penalty", "min_tokens", "ignore_eos", "stop_token_ids"),
    *("bad_words", "allowed_token_ids", "include_stop_str_in_output", "skip_special_tokens"),
    *("spaces_between_special_tokens", "add_generation_prompt", "continue_final_message"),
    "cache_salt",
)
"""Parameters beyond OpenAI's. The prompt is counted before vLLM gets it, so it is not truncated."""
_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}
_GREEDY_BELOW = 1e-5
_LEAST_TEMPERATURE = 0.01
_LEAST_LOGPROB = -9999.0  # JSON has no minus infinity


def request_body(request: ChatRequest) -> dict[str, Any]:
    """Return the body of vLLM's request, without the token limit.

    vLLM would refuse a limit over the context; the container reduces it instead.

    Raises InvalidRequestError for a parameter that vLLM does not take.
    """
    extras = request.extras(TAKEN, "vLLM")
    body: dict[str, Any] = {
        "messages": [message.for_template() for message in request.messages],
        "stream": True,  # DELTA output
        "n": request.n,
        "stop": list(request.stops),
        "logprobs": request.logprobs,
    }
    body.update(
        {name: value for name in _PASSED_ON if (value := getattr(request, name)) is not None}
    )
    body |= extras
    if body.get("continue_final_message"):
        body["add_generation_prompt"] = False
    if request.structured_outputs is not None:
        body["structured_outputs"] = request.structured_outputs.model_dump(exclude_none=True)
    if request.n > 1 and request.temperature is not None and request.temperature < _GREEDY_BELOW:
        # vLLM accepts n > 1 for random sampling only. With top_k 1 the choices are still greedy.
        body |= {"temperature": _LEAST_TEMPERATURE, "top_k": 1}
    if request.logprobs:
        body["top_logprobs"] = request.top_logprobs or 0
    if request.response_format is not None:
        body["response_format"] = request.response_format.model_dump(
            by_alias=True, exclude_none=True
        )
    if request.tools:
        choice = request.tool_choice or "auto"
        body["tools"] = [tool.model_dump(exclude_none=True) for tool in request.tools]
        body["tool_choice"] = choice if isinstance(choice, str) else choice.model_dump()
        body["parallel_tool_calls"] = request.parallel_tool_calls
    return body


class ChoiceReader:
    """Turns the outputs of one choice, in order, into events.

    `processor` is vLLM's ChatStreamProcessor.
    """

    def __init__(self, index: int, processor: Any, top_logprobs: int | None) -> None:
        self.tokens = 0
        self.finished = False
        self._index = index
        self._processor = processor
        self._top_logprobs = top_logprobs
        self._unsaid = 0  # the number of tokens whose text is held back, or was hidden
        self._logprobs: list[Mapping[str, Any]] = []
        self._called = False

    def events(self, output: Any, prompt_token_ids: Sequence[int] | None) -> list[Event]:
        """Return the events of a CompletionOutput.

        Raises EngineError for a sequence that vLLM gave up.
        """
        if self.finished or (not output.token_ids and output.finish_reason is None):
            return []
        if output.finish_reason in ("error", "abort"):
            raise EngineError(f"vLLM ended the answer early ({output.finish_reason})")
        step = self._processor.step(
            output.text, list(output.token_ids), output.finish_reason, prompt_token_ids
        )
        self.tokens += len(output.token_ids)
        self._unsaid += len(output.token_ids)
        if output.logprobs is not None and not self._processor.hide_metadata:
            pairs = zip(output.token_ids, output.logprobs, strict=True)
            self._logprobs += [
                logprob_entry(token, tops, self._top_logprobs or 0) for token, tops in pairs
            ]
        events = self._said(step.delta, last=output.finish_reason is not None)
        if output.finish_reason is not None:
            self.finished = True
            # It is a number if a token ended the answer.
            stop = output.stop_reason if isinstance(output.stop_reason, str) else None
            events.append(Finish(self._index, self._reason(step.finish_reason), stop))
        return events

    def _said(self, delta: Any, *, last: bool) -> list[Event]:
        content = (delta.content or "") if delta is not None else ""
        reasoning = (delta.reasoning or "") if delta is not None else ""
        calls = tuple(map(_call, delta.tool_calls)) if delta is not None else ()
        self._called = self._called or bool(calls)
        # Tokens without text wait for text. The token that ends an answer never has any.
        if not (content or reasoning or calls or self._logprobs or (last and self._unsaid > 1)):
            return []
        tokens, self._unsaid = self._unsaid, 0
        logprobs, self._logprobs = tuple(self._logprobs), []
        return [Delta(self._index, tokens, content, reasoning, calls, logprobs or None)]

    def _reason(self, reason: str) -> FinishReason:
        if self._called and reason == "stop":
            return "tool_calls"  # vLLM's reason is "stop" after a call that was forced by name
        if reason not in _REASONS:
            raise EngineError(f"vLLM ended the answer early ({reason})")
        return _REASONS[reason]


def _call(part: Any) -> dict[str, Any]:
    """Return one part of a tool call in OpenAI's form.

    The first part of a call gets empty arguments if it has none, because clients append to them.
    """
    call: dict[str, Any] = part.model_dump(exclude_none=True)
    if "id" in call:
        call.setdefault("function", {}).setdefault("arguments", "")
    return call


def logprob_entry(token_id: int, tops: Mapping[int, Any], most: int) -> dict[str, Any]:
    """Return OpenAI's entry of one sampled token.

    `tops` has the candidates by their id, always including the sampled one. The entry lists at most
    `most` of them.
    """
    ranked = sorted(
        (top for top in tops.values() if top.rank is not None and top.rank <= most),
        key=lambda top: top.rank,
    )
    return {**_logprob(tops[token_id]), "top_logprobs": [_logprob(top) for top in ranked[:most]]}


def _logprob(top: Any) -> dict[str, Any]:
    text = top.decoded_token or ""
    return {
        "token": text,
        "logprob": max(top.logprob, _LEAST_LOGPROB),
        "bytes": list(text.encode("utf-8", "replace")),
    }
