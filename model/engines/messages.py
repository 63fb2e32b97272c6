"""The messages of a request as chat templates know them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.schema import Message


def template_message(message: Message) -> dict[str, Any]:
    """One message: text in one piece, and no role that few templates know."""
    body = message.model_dump(exclude_none=True)
    if body["role"] == "developer":
        body["role"] = "system"
    if isinstance(body.get("content"), list):
        body["content"] = message.text
    return body
