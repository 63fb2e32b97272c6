"""The bodies of the calls of OpenAI's Conversations API."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parse import parse
from lambda_fn.schema.parts import Metadata, Unsupported
from lambda_fn.schema.responses.conversation import opened
from lambda_fn.schema.responses.items import Item

MAX_ADDED = 20
"""The items that one call may add, as at OpenAI."""


class NewConversation(Struct, frozen=True):
    """The body of `POST /v1/conversations`, which may be empty."""

    items: Annotated[list[Item], Meta(max_length=MAX_ADDED)] | None = None
    metadata: Metadata | None = None


class ChangedMetadata(Struct, frozen=True):
    """The body of an update, which has no other member."""

    metadata: Metadata | None


class NewItems(Struct, frozen=True):
    """The body of `POST /v1/conversations/{id}/items`."""

    items: Annotated[list[Item], Meta(min_length=1, max_length=MAX_ADDED)]


class _Raw(Struct):
    items: list[msgspec.Raw] | None = None


_new = msgspec.json.Decoder(NewConversation)
_changed = msgspec.json.Decoder(ChangedMetadata)
_items = msgspec.json.Decoder(NewItems)
_raw = msgspec.json.Decoder(_Raw)
T = TypeVar("T", NewConversation, NewItems)


def parse_new(
    body: bytes, unseal: Callable[[str], str]
) -> tuple[list[msgspec.Raw], dict[str, str]]:
    """Return the items, as they were sent, and the metadata of a new conversation.

    `unseal` opens the compactions of the caller's key, and raises `Forged`.

    Raises:
        InvalidRequest: a member or an item is invalid, or cannot be kept.

    """
    if not body.strip():
        return [], {}
    made = parse(_new, body)
    return _sent(body, made.items or (), unseal), dict(made.metadata or {})


def parse_items(body: bytes, unseal: Callable[[str], str]) -> list[msgspec.Raw]:
    """Return the items of a body, as they were sent. See `parse_new`."""
    return _sent(body, parse(_items, body).items, unseal)


def parse_metadata(body: bytes) -> dict[str, str]:
    """Return the metadata of a body; `null` is none. Raises InvalidRequest."""
    return dict(parse(_changed, body).metadata or {})


def _sent(body: bytes, items: Sequence[Item], unseal: Callable[[str], str]) -> list[msgspec.Raw]:
    for number, item in enumerate(items):
        param = f"items[{number}]"
        if item.kind == "compaction":
            opened(item, param, unseal)  # no response could go on with the conversation otherwise
        if item.kind == "item_reference":
            raise InvalidRequest(
                f"Unsupported '{param}': a conversation keeps items, not references to them. Send "
                "the item itself.",
                param=param,
                code=Unsupported.code,
            )
    return _raw.decode(body.removeprefix(b"\xef\xbb\xbf")).items or []
