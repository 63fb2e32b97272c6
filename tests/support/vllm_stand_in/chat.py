"""A stand-in for vLLM's chat front: request, renderer, parsers and stream processor."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any, NamedTuple

from tests.support.vllm_stand_in.pinned import Record, as_pinned
from tests.support.vllm_stand_in.sequence import encode
from tests.support.vllm_stand_in.values import (
    DeltaFunctionCall,
    DeltaMessage,
    DeltaToolCall,
    ErrorInfo,
    ErrorResponse,
    RequestOutputKind,
    SamplingParams,
    VLLMValidationError,
)


class StructuredOutputsParams(Record):
    """The constraint on an answer."""

    pinned = ("StructuredOutputsParams",)


class ChatCompletionRequest(Record):
    """vLLM's request."""

    pinned = ("ChatCompletionRequest",)
    structured_outputs: Any

    @classmethod
    def model_validate(cls, body: dict[str, Any]) -> Any:
        """Validate a body, like pydantic's method of this name."""
        if body.get("tools") == []:
            raise VLLMValidationError("`tools` must not be an empty array.", parameter="tools")
        if body.get("top_logprobs") and not body.get("logprobs"):
            raise VLLMValidationError("`logprobs` must be set to true.", parameter="top_logprobs")
        return cls(**{"n": 1, "include_reasoning": True, "tool_choice": "none", **body})

    def __getattr__(self, name: str) -> Any:  # for mypy: the fields come from the file
        raise AttributeError(name)

    def guide(self) -> None:
        """Constrain the answer to a tool call that must be made, like vLLM's `adjust_request`."""
        choice = self.tool_choice
        if self.tools and choice not in ("none", "auto"):
            names = (
                [choice["function"]["name"]]
                if isinstance(choice, dict)
                else [self.tools[0]["function"]["name"]]
            )
            chosen = [each["function"] for each in self.tools if each["function"]["name"] in names]
            calls = [(each["name"], each.get("parameters")) for each in chosen]
            self.structured_outputs = StructuredOutputsParams(structural_tag=json.dumps(calls))

    @as_pinned("ChatCompletionRequest")
    def to_sampling_params(self, max_tokens: int, default_sampling_params: dict[str, Any]) -> Any:
        """Return the sampling parameters of the request."""
        guide, form = self.structured_outputs, self.response_format or {"type": "text"}
        if isinstance(guide, dict):  # as pydantic reads it
            guide = StructuredOutputsParams(**guide)
        if guide is None and form["type"] == "json_object":
            guide = StructuredOutputsParams(json_object=True)
        elif guide is None and form["type"] == "json_schema":
            guide = StructuredOutputsParams(json=form["json_schema"]["schema"])
        if self.n > 1 and self.temperature == 0:
            raise VLLMValidationError(f"n must be 1 when using greedy sampling, got {self.n}.")
        return SamplingParams(
            n=self.n,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_k=self.top_k or default_sampling_params.get("top_k", 0),
            seed=self.seed,
            stop=self.stop,
            logprobs=self.top_logprobs if self.logprobs else None,
            max_tokens=max_tokens,
            logit_bias=None
            if self.logit_bias is None
            else {int(key): bias for key, bias in self.logit_bias.items()},
            structured_outputs=guide,
            output_kind=RequestOutputKind.DELTA if self.stream else RequestOutputKind.FINAL_ONLY,
        )

    @as_pinned("ChatCompletionRequest")
    def resolve_reasoning_ended(self, parser: Any, prompt_token_ids: list[int]) -> bool | None:
        """Return whether the prompt leaves no reasoning open. None without a reasoning parser."""
        if parser is not None and parser.reasoning_parser is not None:
            return bool(parser.is_reasoning_end(prompt_token_ids))
        return None


class Parser:
    """A parser of <think> and <tool_call>, as Hermes-like models write them."""

    names: tuple[str | None, str | None] = (None, None)

    @as_pinned("Parser")
    def __init__(
        self, tokenizer: Any, tools: Any = None, *args: Any, model_config: Any = None, **kwargs: Any
    ) -> None:
        tool, reasoning = self.names
        self.tool_parser = SimpleNamespace(name=tool) if tool else None
        self._reasoning = SimpleNamespace(name=reasoning) if reasoning else None
        self._text = ""
        self._checked = False
        self._reasons = False
        self._calls = 0

    @property
    def reasoning_parser(self) -> Any:
        """The reasoning parser, or None."""
        return self._reasoning

    @as_pinned("Parser")
    def is_reasoning_end(self, input_ids: list[int]) -> bool:
        """Return whether the prompt ends outside of reasoning."""
        return not bytes(input_ids).endswith(b"<think>")

    @as_pinned("Parser")
    def parse_delta(
        self,
        delta_text: str,
        delta_token_ids: list[int],
        request: Any,
        prompt_token_ids: list[int] | None = None,
        *,
        finished: bool,
    ) -> Any:
        """Return the delta that the new text adds, or None."""
        if prompt_token_ids is not None and self.reasoning_parser and not self._checked:
            self._checked = True
            self._reasons = not self.is_reasoning_end(prompt_token_ids)
        self._text += delta_text
        delta = DeltaMessage()
        if self._reasons:
            head, mark, rest = self._text.partition("</think>")
            if not mark:
                end = len(self._text) if finished else max(0, len(self._text) - len("</think>") + 1)
                delta.reasoning, self._text = self._text[:end], self._text[end:]
                return delta if delta.reasoning else None
            delta.reasoning, self._text, self._reasons = head or None, rest, False
        while self.tool_parser and (
            found := re.match(r"\s*<tool_call>(.*?)</tool_call>", self._text, re.DOTALL)
        ):
            call = json.loads(found.group(1))
            self._text = self._text[found.end() :]
            function = DeltaFunctionCall(name=call["name"], arguments=json.dumps(call["arguments"]))
            delta.tool_calls.append(
                DeltaToolCall(
                    id=f"call-{self._calls}", type="function", index=self._calls, function=function
                )
            )
            self._calls += 1
        if not (self.tool_parser and self._text.startswith("<") and not finished):
            delta.content, self._text = self._text or None, ""
        return delta if delta.content or delta.reasoning or delta.tool_calls else None


class ChatStreamStep(NamedTuple):
    """The parsed form of a part of an answer."""

    delta: Any
    finish_reason: str | None


class ChatStreamProcessor:
    """The parser of one choice's parts."""

    @as_pinned("ChatStreamProcessor")
    def __init__(
        self, request: Any, parser: Any, *, enable_auto_tools: bool, parser_cls: Any
    ) -> None:
        self.request = request
        self.parser = parser
        self.hide_metadata = parser is not None and not request.include_reasoning
        self.tools_streamed = False

    @as_pinned("ChatStreamProcessor")
    def step(
        self,
        delta_text: str,
        delta_token_ids: list[int],
        finish_reason: str | None,
        prompt_token_ids: Any,
    ) -> ChatStreamStep:
        """Parse one part."""
        delta: Any = DeltaMessage(content=delta_text)
        if self.parser is not None:
            delta = self.parser.parse_delta(
                delta_text,
                delta_token_ids,
                self.request,
                prompt_token_ids,
                finished=finish_reason is not None,
            )
        self.tools_streamed = self.tools_streamed or bool(delta and delta.tool_calls)
        named = isinstance(self.request.tool_choice, dict)
        if finish_reason == "stop" and self.tools_streamed and not named:
            finish_reason = "tool_calls"
        return ChatStreamStep(delta, finish_reason)


class OnlineRenderer:
    """The renderer of chats into prompts."""

    @as_pinned("OnlineRenderer")
    def __init__(
        self,
        model_config: Any,
        renderer: Any,
        *,
        request_logger: Any,
        chat_template: str | None,
        chat_template_content_format: str,
        enable_auto_tools: bool = False,
        exclude_tools_when_tool_choice_none: bool = False,
        tool_parser: str | None = None,
        reasoning_parser: str | None = None,
    ) -> None:
        if reasoning_parser not in (None, "qwen3"):
            raise TypeError(f"reasoning_parser_name={reasoning_parser!r} has not been registered")
        self.model_config = model_config
        self.chat_template = chat_template or "{}"
        self._hide_tools = exclude_tools_when_tool_choice_none
        self._thinks = reasoning_parser is not None
        names = (tool_parser if enable_auto_tools else None, reasoning_parser)
        self.parser = type("Parser", (Parser,), {"names": names}) if any(names) else None

    @as_pinned("OnlineRenderer")
    def effective_chat_template_kwargs(self, request: Any) -> dict[str, Any]:
        """Return the template's arguments beside the messages."""
        return {}

    @as_pinned("OnlineRenderer")
    async def render_chat(self, request: Any, *, skip_mm_cache: bool = False) -> Any:
        """Return the prompt, or an ErrorResponse with the reason.

        Set the constraint in the request.
        """
        if "no template for this" in request.messages[-1].get("content", ""):
            return ErrorResponse(error=ErrorInfo(message="no template", param="messages"))
        lines = [f"<{each['role']}>{each.get('content', '')}" for each in request.messages]
        if request.tools and not (request.tool_choice == "none" and self._hide_tools):
            lines.insert(0, f"<tools>{json.dumps(request.tools)}")
        if self.parser is not None:
            request.guide()
        text = self.chat_template.format("".join(lines) + ("<think>" if self._thinks else ""))
        limit = self.model_config.max_model_len
        ids = encode(text)[: limit + 1]
        if len(ids) > limit:
            raise VLLMValidationError("too long", parameter="input_tokens", value=len(ids))
        return [], [{"type": "token", "prompt_token_ids": ids}]
