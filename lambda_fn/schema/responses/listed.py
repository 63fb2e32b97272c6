"""Items as they are kept and listed: with ids, types and statuses. Pure."""

from collections.abc import Iterable
from typing import Any

import msgspec

from lambda_fn.schema.responses.items import Item

_PREFIXES = {"reasoning": "rs", "message": "msg", "compaction": "cmp"}
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_known = msgspec.json.Decoder(Item)


def listed(
    items: Iterable[msgspec.Raw], name: str, *, own_ids: bool = True
) -> list[dict[str, Any]]:
    """Return checked items, each with an id for references to it.

    A text becomes a content part, as in OpenAI's lists.

    Args:
        items: The items as they were sent.
        name: The id of what they belong to, from which their ids are made.
        own_ids: Whether an item that was sent with an id keeps it.

    """
    out: list[dict[str, Any]] = []
    for number, raw in enumerate(items):
        # Members that are not read stay as they were sent: Python may have no such number.
        item: dict[str, Any] = {**_members.decode(raw)}
        known = _known.decode(raw)
        kind = known.type or "message"
        item["type"] = kind
        if not (own_ids and known.id):
            item["id"] = f"{_PREFIXES.get(kind, 'fc')}_{name}_in{number}"
        else:
            item["id"] = known.id
        if kind == "message" and isinstance(known.content, str):
            part: dict[str, Any] = {"type": "input_text", "text": known.content}
            if known.role == "assistant":
                part |= {"type": "output_text", "annotations": []}
            item["content"] = [part]
        item.setdefault("status", "completed")
        out.append(item)
    return out
