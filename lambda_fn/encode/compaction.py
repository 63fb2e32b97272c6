"""OpenAI's `response.compaction`: the items that stay of a conversation, and one that replaces the
others.

The request's items that stay are the head's `echoes`, a JSON list. The events have the text of the
other one, sealed (`transform.sealing`), so it is written as it comes.
"""

from collections.abc import Iterable
from typing import ClassVar

import msgspec

from lambda_fn.encode.base import Head, SizeLimit, read_delta
from lambda_fn.encode.responses import usage_of
from lambda_fn.errors import APIError
from lambda_fn.events import Delta, End, Event, Start, Usage

_json = msgspec.json.encode
_items = msgspec.json.Decoder(list[msgspec.Raw])


class CompactionBody:
    """A compacted conversation."""

    content_type: ClassVar[str] = "application/json"

    def __init__(self, head: Head) -> None:
        """Begin with no text."""
        self._head = head
        self._size_limit = SizeLimit(head.max_bytes)
        self._sealed = ""
        self._usage = Usage(0, 0)

    def begin(self) -> bytes:
        """Return nothing yet."""
        return b""

    def encode(self, events: Iterable[Event]) -> bytes:
        """Collect the events, and return the object at the end. Raises ResponseTooLarge."""
        for event in events:
            if type(event) is Delta:
                self._size_limit.add(event)
                self._sealed += read_delta(event).content or ""
                tokens = self._usage.completion_tokens + event.tokens
                self._usage = msgspec.structs.replace(self._usage, completion_tokens=tokens)
            elif type(event) is Start:
                self._usage = msgspec.structs.replace(
                    self._usage, prompt_tokens=event.prompt_tokens
                )
            elif type(event) is Usage:
                self._usage = event
            elif type(event) is End:
                return self._whole()
        return b""

    def _whole(self) -> bytes:
        head = self._head
        stay = b"[]" if head.echoes is msgspec.UNSET else bytes(head.echoes)
        output: list[msgspec.Raw] = []
        for number, item in enumerate(_items.decode(stay)):
            name = _json(f"msg_{head.response_id}_kept{number}")
            output.append(msgspec.Raw(b'{"id":%b,%b' % (name, bytes(item)[1:])))
        summary = {
            "id": f"cmp_{head.response_id}",
            "type": "compaction",
            "encrypted_content": self._sealed,
        }
        output.append(msgspec.Raw(_json(summary)))
        return _json(
            {
                "id": f"resp_{head.response_id}",
                "object": "response.compaction",
                "created_at": head.created,
                "model": head.model,
                "output": output,
                "usage": usage_of(self._usage),
            }
        )

    def heartbeat(self) -> bytes:
        """Return a space."""
        return b" "

    def fail(self, error: APIError) -> None:
        """Return None: clients take a JSON value with the status 200 for a success."""
