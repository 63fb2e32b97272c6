"""`POST /v1/responses/compact`: its body, the chat that summarises a conversation, and what stays.

The model gets the conversation, and behind it the request for a summary. So a server that caches
prefixes has computed all of the conversation before. The users' messages stay as they are. What
the summary replaces is everything else.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.chat import ChatRequest, checked, unsupported
from lambda_fn.schema.messages import User
from lambda_fn.schema.parse import parse_tagged
from lambda_fn.schema.parts import Extensions, Rules
from lambda_fn.schema.responses.conversation import Conversation, History
from lambda_fn.schema.responses.items import InputImage, Item, Part, Refusal
from lambda_fn.schema.responses.request import Items, check_continued
from lambda_fn.schema.responses.restate import restate
from lambda_fn.schema.responses.translate import Asked, chat_rules

INSTRUCTION = (
    "Summarise this conversation so that you can go on with it from your summary and the user's "
    "messages alone. Keep what the user wants and has decided, what was done and what came of it, "
    "what tools returned as far as it still matters, all names, numbers, paths and code that later "
    "turns need, and what is still open. Do not answer the last message, and call no tool. Write "
    "in the language of the conversation, as briefly as these points allow. Answer with the "
    "summary only."
)
"""The last message of the chat."""


class CompactRequest(Struct, frozen=True, omit_defaults=True):
    """The parameters of a compaction.

    Those of the second group have no effect. Those of the third belong to other requests of this
    API, and are rejected by name, because their callers expect an effect.
    """

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: str | Items | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    sluice: Extensions | None = None

    prompt_cache_key: Annotated[str, Meta(max_length=512)] | None = None
    prompt_cache_retention: Literal["in_memory", "in-memory", "24h"] | None = None
    service_tier: (
        Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"] | None
    ) = None

    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    conversation: Any = None
    tools: Any = None


UNSUPPORTED = {
    "stream": "a compaction is one object",
    "background": "a compaction is answered at once",
    "store": "a compaction is not stored: keep its output, and send it as 'input'",
    "conversation": "a compaction changes no conversation: send its items in 'input'",
    "tools": "a compaction calls no tools",
}
"""Parameters that are rejected, and why. What means the same as their absence is accepted."""

_decoder = msgspec.json.Decoder(CompactRequest)


def parse_compact(body: bytes, *, kept: bool) -> CompactRequest:
    """Return the checked body. `kept` tells whether the deployment keeps responses.

    Raises:
        InvalidRequest: the body is not JSON, or a member has a wrong type or value or cannot be
            honoured.

    """
    request = parse_tagged(_decoder, body)
    for name, why in UNSUPPORTED.items():
        if getattr(request, name) not in (None, False, []):
            raise unsupported(name, why)
    if request.sluice is not None and request.sluice.sources:
        raise unsupported("sluice.sources", "a compaction has no place for annotations")
    check_continued(request.previous_response_id, kept=kept)
    if request.input is None and request.previous_response_id is None:
        raise InvalidRequest(
            "Missing 'input': the conversation to compact is needed. Send its items, or "
            "'previous_response_id'.",
            param="input",
            code="missing_required_parameter",
        )
    return request


def compacted(request: CompactRequest, rules: Rules, history: History) -> Asked:
    """Return the chat that summarises a conversation. Its echoes are the items that stay.

    `history` is what the request names of kept responses.

    Raises:
        InvalidRequest: the items do not fit together, or one cannot be honoured.

    """
    items = request.input or []
    if isinstance(items, str):
        items = [Item(role="user", content=items)]
    conversation = Conversation(
        request.instructions, items, history, loose=rules.loose_tool_history
    )
    messages = [*conversation.messages(), User(content=INSTRUCTION)]
    try:
        chat = checked(
            ChatRequest(model=request.model, messages=messages, sluice=request.sluice),
            chat_rules(rules),
        )
    except InvalidRequest as error:
        restate(error)
        raise
    stay = [
        {"type": "message", "status": "completed", "role": "user", "content": _parts(item)}
        for item in conversation.items
        if item.kind == "message" and item.role == "user"
    ]
    echoes = msgspec.Raw(msgspec.json.encode(stay))
    return Asked(chat, tuple(conversation.images), echoes=echoes)


def _parts(item: Item) -> list[dict[str, Any]]:
    """Return the content of a message as a list of parts, as responses have it."""
    content = item.content or ""
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [_part(part) for part in content]


def _part(part: Part) -> dict[str, Any]:
    if isinstance(part, InputImage):
        return {
            "type": "input_image",
            "image_url": part.image_url,
            "detail": part.detail or "auto",
        }
    text = part.refusal if isinstance(part, Refusal) else part.text  # type: ignore[union-attr]
    return {"type": "input_text", "text": text}
