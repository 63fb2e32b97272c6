"""Translates a checked request of the Responses API into the chat request that answers it. Pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import tools as chat
from lambda_fn.schema.chat import LENIENT, ChatRequest, checked
from lambda_fn.schema.extras import Extras
from lambda_fn.schema.parts import Rules
from lambda_fn.schema.parts import StreamOptions as ChatStreamOptions
from lambda_fn.schema.responses.conversation import Conversation, History
from lambda_fn.schema.responses.items import Item
from lambda_fn.schema.responses.request import (
    LOGPROBS,
    ChoiceParam,
    FunctionParam,
    InputTokensRequest,
    ResponsesRequest,
    TextSchema,
)
from lambda_fn.schema.responses.restate import restate

EXTRAS = tuple(name for name in Extras.__struct_fields__ if name != "n_cmpl")
AS_THEY_ARE = (
    *("model", "reasoning"),
    *("stream", "temperature", "top_p", "frequency_penalty", "presence_penalty", "seed", "stop"),
    *("logit_bias", "chat_template_kwargs", "moderation", "sluice"),
)
"""Members that the chat has, too. Both have the same types, because the chat is not decoded."""


_NONE = History()


class Asked(msgspec.Struct, frozen=True):
    """A translated request.

    `images` has the paths of its images, in the order of the chat. `summary` tells whether the
    summary of reasoning has the reasoning itself. `echoes` has the members of the request that its
    response repeats, as the text of a JSON object.
    """

    chat: ChatRequest
    images: tuple[str, ...] = ()
    summary: bool = False
    echoes: msgspec.Raw = msgspec.Raw(b"{}")


def asked(
    request: InputTokensRequest,
    rules: Rules = LENIENT,
    history: History = _NONE,
    *,
    store: bool = False,
) -> Asked:
    """Return the chat request that answers a request. A count has the prompt's members only.

    `history` is what the request names of kept responses, and `store` whether it is kept itself.

    Raises:
        InvalidRequest: its members do not fit together, a schema cannot guide the answer, or an
            item cannot be honoured.

    """
    items = request.input
    if isinstance(items, str):
        items = [Item(role="user", content=items)]
    conversation = Conversation(
        request.instructions, items, history, loose=rules.loose_tool_history
    )
    fields: dict[str, Any] = {
        "messages": conversation.messages(),
        "tools": _tools(request.tools),
        "response_format": _format(request),
        **_choice(request.tool_choice, request.tools or ()),
        "parallel_tool_calls": request.parallel_tool_calls if request.tools else None,
        **{name: getattr(request, name, None) for name in (*AS_THEY_ARE, *EXTRAS)},
    }
    if isinstance(request, ResponsesRequest):
        logprobs = LOGPROBS in (request.include or ()) or bool(request.top_logprobs)
        fields |= {
            "max_tokens": request.max_output_tokens,
            "logprobs": logprobs or None,
            "top_logprobs": request.top_logprobs if logprobs else None,
        }
        if request.stream_options is not None:
            options = ChatStreamOptions(
                include_obfuscation=request.stream_options.include_obfuscation
            )
            fields["stream_options"] = options
    try:
        # What the lists of a chat and of a response have in common is checked once, by the chat's.
        made = checked(ChatRequest(**fields), chat_rules(rules))
    except InvalidRequest as error:
        restate(error)
        raise
    reasoning = request.reasoning
    summary = reasoning is not None and (
        reasoning.summary is not None or reasoning.generate_summary is not None
    )
    return Asked(made, tuple(conversation.images), summary, _echoes(request, store=store))


def unkept(echoes: msgspec.Raw) -> msgspec.Raw:
    """Return the echoes for a response that could not be kept."""
    return msgspec.Raw(bytes(echoes).replace(b'{"store":true', b'{"store":false', 1))


def chat_rules(rules: Rules) -> Rules:
    """Return the rules of the chat. The calls of the input are checked under their own names."""
    return Rules(strict=rules.strict, loose_tool_history=True)


def _tools(tools: list[FunctionParam] | None) -> list[Any] | None:
    if not tools:
        return None
    return [
        chat.FunctionTool(
            chat.Function(tool.name or "", tool.description, tool.parameters, tool.strict)
        )
        for tool in tools
    ]


def _choice(choice: str | ChoiceParam | None, tools: Sequence[FunctionParam]) -> dict[str, Any]:
    if choice is None:
        return {}
    if not tools:
        if choice in ("none", "auto"):
            return {}
        raise InvalidRequest("'tool_choice' needs 'tools'.", param="tool_choice")
    if isinstance(choice, str):
        return {"tool_choice": choice}
    if choice.type == "function":
        return {"tool_choice": chat.ChosenFunction(chat.FunctionName(choice.name or ""))}
    allowed: list[Any] = [
        chat.ChosenFunction(chat.FunctionName(tool.name or "")) for tool in choice.tools or ()
    ]
    return {"tool_choice": chat.AllowedTools(chat.AllowedSet(choice.mode or "auto", allowed))}


def _format(request: InputTokensRequest) -> Any:
    form = request.text.format if request.text is not None else None
    if isinstance(form, TextSchema):
        return chat.JsonSchema(chat.Schema(form.name, form.description, form.schema, form.strict))
    return None if type(form) is chat.TextFormat else form


def _echoes(request: InputTokensRequest, *, store: bool) -> msgspec.Raw:
    """Return what a response repeats of its request, with the defaults of what is not there."""
    if not isinstance(request, ResponsesRequest):
        return msgspec.Raw(b"{}")
    reasoning, text = request.reasoning, request.text
    form = text.format if text is not None else None
    name = request.conversation_id
    return msgspec.Raw(
        msgspec.json.encode(
            {
                "store": store,
                "background": request.background is True,
                "instructions": request.instructions,
                "max_output_tokens": request.max_output_tokens,
                "max_tool_calls": request.max_tool_calls,
                "metadata": request.metadata or {},
                "parallel_tool_calls": request.parallel_tool_calls is not False,
                "presence_penalty": request.presence_penalty or 0.0,
                "frequency_penalty": request.frequency_penalty or 0.0,
                "previous_response_id": request.previous_response_id,
                "prompt_cache_key": request.prompt_cache_key,
                "reasoning": {
                    "effort": reasoning.effort if reasoning is not None else None,
                    "summary": reasoning.summary if reasoning is not None else None,
                },
                "safety_identifier": request.safety_identifier,
                "service_tier": "default",
                "temperature": 1.0 if request.temperature is None else request.temperature,
                "text": {
                    "format": {"type": "text"} if form is None else form,
                    "verbosity": "medium",
                },
                "tool_choice": request.tool_choice or "auto",
                "tools": [_echo(tool) for tool in request.tools or ()],
                "top_logprobs": request.top_logprobs or 0,
                "top_p": 1.0 if request.top_p is None else request.top_p,
                "truncation": "disabled",
                **({} if request.user is None else {"user": request.user}),
                **({} if name is None else {"conversation": {"id": name}}),
            }
        )
    )


def _echo(tool: FunctionParam) -> dict[str, Any]:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
