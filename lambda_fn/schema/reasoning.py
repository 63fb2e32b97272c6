"""What a request says about reasoning, in the words of all servers and clients. Pure.

    reasoning_effort, reasoning {effort, enabled, max_tokens, exclude, summary}   OpenAI, OpenRouter
    chat_template_kwargs {enable_thinking, thinking}          vLLM, SGLang, llama.cpp
    enable_thinking, thinking, think                          Qwen, DeepSeek, Anthropic, Ollama
    thinking_token_budget, thinking_budget_tokens, ...        vLLM, llama.cpp, Qwen
    include_reasoning, separate_reasoning, reasoning_format   vLLM, SGLang, llama.cpp, Groq

A server gets it as `reasoning_effort`, `chat_template_kwargs` and `thinking_token_budget`.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import APIError, InvalidRequest

if TYPE_CHECKING:
    from lambda_fn.schema.chat import ChatRequest

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
Budget = Annotated[int, Meta(ge=-1, le=10_000_000)]
"""The maximum number of tokens of reasoning. -1 is no maximum, and 0 is no reasoning."""
TemplateArguments = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=64, pattern="^[a-zA-Z_][a-zA-Z0-9_]*$(?!\n)")],
        bool
        | Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]
        | Annotated[float, Meta(ge=-1e9, le=1e9)]
        | Annotated[str, Meta(max_length=256)]
        | None,
    ],
    Meta(max_length=16),
]
"""Variables of a chat template: plain values, because templates have no limits of their own."""
Earlier = str | Annotated[list[Any], Meta(max_length=4096)] | dict[str, Any]
"""The reasoning of an earlier response: a text, or its parts."""

SWITCHES = ("enable_thinking", "thinking")
"""The variables by which chat templates turn reasoning on and off."""
_OF_THE_SERVER = frozenset(
    {
        "add_generation_prompt", "bos_token", "builtin_tools", "chat_template",
        "chat_template_kwargs", "continue_final_message", "conversation", "conversations",
        "documents", "eos_token", "json_schema", "max_length", "messages", "namespace", "pad_token",
        "padding", "raise_exception", "range", "return_assistant_tokens_mask", "return_dict",
        "return_tensors", "strftime_now", "tokenize", "tokenizer_kwargs", "tools", "truncation",
        "unk_token",
    }
)  # fmt: skip
"""Variables that the server itself sets, and arguments of the function that renders templates."""
_SWITCH_PATHS = tuple(f"chat_template_kwargs.{name}" for name in SWITCHES)
_TEXTS = ("text", "thinking", "reasoning", "reasoning_content", "summary", "content")
_DEPTH = 4
_IN_CONTENT = "reasoning has its own field here and is never a part of the content"


class Reasoning(Struct, frozen=True, omit_defaults=True):
    """OpenAI's and OpenRouter's object. A summary is not made: the reasoning itself is returned."""

    effort: Effort | None = None
    enabled: bool | None = None
    max_tokens: Budget | None = None
    exclude: bool | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: Annotated[str, Meta(max_length=64)] | None = None


class Thinking(Struct, frozen=True, omit_defaults=True):
    """Anthropic's object, which DeepSeek, GLM and LiteLLM have in chat completions too."""

    type: Literal["enabled", "disabled", "adaptive", "auto"]
    budget_tokens: Budget | None = None


class Wanted(Struct, frozen=True):
    """A request's wishes about the model's reasoning. None leaves the choice to the model.

    `arguments` are the variables for the chat template, with the switches. `param` is the field
    that says most, for an error about it.
    """

    effort: str | None = None
    on: bool | None = None
    budget: int | None = None
    hidden: bool = False
    arguments: dict[str, Any] = {}  # msgspec makes a new dict for each
    param: str = ""
    budget_param: str = ""

    @property
    def off(self) -> bool:
        """Whether the model must not reason."""
        return self.on is False or self.effort == "none"

    @property
    def asks(self) -> bool:
        """Whether the model has to reason."""
        return self.on is True or self.effort not in (None, "none") or self.budget is not None


NAMES = (
    "reasoning_effort",
    "reasoning",
    "chat_template_kwargs",
    "enable_thinking",
    "thinking",
    "think",
    "thinking_budget",
    "thinking_token_budget",
    "thinking_budget_tokens",
    "reasoning_budget",
    "reasoning_budget_tokens",
    "max_thinking_tokens",
    "max_reasoning_tokens",
    "include_reasoning",
    "reasoning_format",
    "separate_reasoning",
    "stream_reasoning",
)
"""The parameters of a chat request that are read here."""
_BUDGETS = NAMES[6:13]
SENT = ("reasoning_effort", "chat_template_kwargs", "thinking_token_budget")
"""The parameters about reasoning that a server gets."""


def wanted(request: "ChatRequest") -> Wanted:
    """Return what a request says about reasoning.

    Raises:
        InvalidRequest: two of its parameters contradict each other, or one cannot be honoured by
            any server.

    """
    if all(getattr(request, name) is None for name in NAMES):
        return _NOTHING
    kwargs = request.chat_template_kwargs or {}
    _check_arguments(kwargs)
    asked = request.reasoning or Reasoning()
    thinking, think = request.thinking, request.think
    _check_form(request, asked)
    effort, effort_param = _one(
        ("reasoning_effort", request.reasoning_effort),
        ("reasoning.effort", asked.effort),
        ("think", think if isinstance(think, str) else None),
    )
    budget, budget_param = _one(
        *((name, _positive(getattr(request, name))) for name in _BUDGETS),
        ("reasoning.max_tokens", _positive(asked.max_tokens)),
        (
            "thinking.budget_tokens",
            _positive(thinking.budget_tokens) if isinstance(thinking, Thinking) else None,
        ),
    )
    on, param = _one(
        ("enable_thinking", request.enable_thinking),
        ("thinking", _switch(thinking)),
        ("think", think if isinstance(think, bool) else None),
        ("reasoning.enabled", asked.enabled),
        *((f"chat_template_kwargs.{name}", kwargs.get(name)) for name in SWITCHES),
        (budget_param, False if budget == 0 else None),
    )
    for said, of in ((effort and effort != "none", effort_param), (budget or None, budget_param)):
        if said is not None and on is not None and bool(said) != on:
            raise _contradiction(of, param)
    if effort == "none" and budget:
        raise _contradiction(effort_param, budget_param)
    if on is not None:
        kwargs = {**dict.fromkeys(SWITCHES, on), **kwargs}
    return Wanted(
        effort,
        on,
        budget or None,
        _hidden(request, asked),
        kwargs,
        effort_param or param or budget_param or "chat_template_kwargs",
        budget_param,
    )


_NOTHING = Wanted()


def _positive(budget: int | None) -> int | None:
    return None if budget == -1 else budget


def _switch(thinking: bool | Thinking | None) -> bool | None:
    if isinstance(thinking, Thinking):
        return {"enabled": True, "disabled": False}.get(thinking.type)
    return thinking


def _hidden(request: "ChatRequest", asked: Reasoning) -> bool:
    return (
        request.include_reasoning is False
        or bool(asked.exclude)
        or request.reasoning_format == "hidden"
    )


def _one(*said: tuple[str, Any]) -> tuple[Any, str]:
    """Return the one value that is said, and the first field that says it.

    Raises:
        InvalidRequest: two fields say different things.

    """
    found = [(name, value) for name, value in said if value is not None]
    for name, value in found[1:]:
        if value != found[0][1]:
            raise _contradiction(name, found[0][0])
    return (found[0][1], found[0][0]) if found else (None, "")


def _contradiction(name: str, other: str) -> InvalidRequest:
    return InvalidRequest(
        f"'{name}' and '{other}' contradict each other: send only one of them.", param=name
    )


def _check_arguments(arguments: dict[str, Any]) -> None:
    for name, value in arguments.items():
        path = f"chat_template_kwargs.{name}"
        if name in _OF_THE_SERVER:
            raise InvalidRequest(
                f"Invalid '{path}': the server itself gives the chat template this value.",
                param=path,
                code="invalid_value",
            )
        if name in SWITCHES and not isinstance(value, bool):
            raise InvalidRequest(
                f"Invalid '{path}': Expected `bool`.", param=path, code="invalid_type"
            )


def _check_form(request: "ChatRequest", asked: Reasoning) -> None:
    if request.separate_reasoning is False:
        raise refused("separate_reasoning", _IN_CONTENT)
    if request.reasoning_format in ("none", "raw", "deepseek-legacy"):
        raise refused("reasoning_format", _IN_CONTENT)
    if asked.context not in (None, "auto"):
        raise refused("reasoning.context", "the model's chat template decides which turns it shows")
    if asked.mode not in (None, "auto", "standard"):
        raise refused("reasoning.mode", "there is one mode; 'standard', the default, is allowed")


def refused(param: str, why: str) -> InvalidRequest:
    """Return the error for a parameter about reasoning that cannot be honoured."""
    return InvalidRequest(
        f"Unsupported parameter: '{param}': {why}.", param=param, code="unsupported_parameter"
    )


def served(
    request: "ChatRequest",
    *,
    reasons: bool,
    budgets: bool,
    soft: bool = False,
    switches: bool = True,
) -> "ChatRequest":
    """Return the request as the deployment's model gets it.

    A model that does not reason needs no switch to turn it off, so it gets none.

    Args:
        request: A checked request.
        reasons: Whether the model may reason.
        budgets: Whether its server takes a budget for reasoning.
        soft: Whether a switch is left out where it can have no effect, instead of a refusal.
        switches: Whether its server takes anything about reasoning.

    Raises:
        InvalidRequest: the request asks for what the model cannot do.

    """
    if soft and not (reasons and switches):
        return msgspec.structs.replace(request, enable_thinking=None)
    if reasons and budgets:
        return request
    found = wanted(request)
    if found is _NOTHING:
        return request
    if not reasons:
        if found.asks:
            raise refused(found.param, "this model does not reason before it answers")
        others = {name: it for name, it in found.arguments.items() if name not in SWITCHES}
        changes: dict[str, Any] = dict.fromkeys(NAMES)
        return msgspec.structs.replace(
            request, **{**changes, "chat_template_kwargs": others or None}
        )
    if found.budget is not None:
        raise refused(
            found.budget_param,
            "this model's server takes no budget for reasoning; use 'reasoning_effort'",
        )
    return request


def for_server(request: "ChatRequest") -> dict[str, Any]:
    """Return the parameters about reasoning under the names that servers have for them."""
    found = wanted(request)
    body: dict[str, Any] = {}
    if found.effort is not None:
        body["reasoning_effort"] = found.effort
    if found.arguments:
        body["chat_template_kwargs"] = found.arguments
    if found.budget is not None:
        body["thinking_token_budget"] = found.budget
    return body


def restate(request: "ChatRequest", error: APIError) -> None:
    """Name the field that the caller sent in a server's error about reasoning."""
    sent = error.param or ""
    name = sent
    if sent == "thinking_token_budget":
        name = wanted(request).budget_param
    elif sent == "reasoning_effort" or sent in _SWITCH_PATHS:
        name = wanted(request).param
    if name and name != sent:
        error.param = name
        if error.message.startswith(sent):
            error.message = name + error.message.removeprefix(sent)


def text_of(earlier: Any, depth: int = 0) -> str:
    """Return the text of the reasoning of an earlier response, whose parts are joined.

    Encrypted and redacted parts have none.
    """
    if isinstance(earlier, str):
        return earlier
    if depth >= _DEPTH:
        return ""
    if isinstance(earlier, list):
        return "".join(text_of(part, depth + 1) for part in earlier)
    if isinstance(earlier, dict):
        texts = (text_of(earlier.get(name), depth + 1) for name in _TEXTS)
        return next((text for text in texts if text), "")
    return ""
