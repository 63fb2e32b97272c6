"""Reads what came before a request in its conversation from the responses that are kept.

A response keeps its own input and output, and the ids of all responses before it. So a conversation
of any length is one read for each of its responses, made at the same time.
"""

import re
import time
from collections.abc import Iterable, Sequence

import msgspec

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.encode.responses import output_of
from lambda_fn.errors import BodyTooLarge, InvalidRequest, Unavailable
from lambda_fn.events import Delta
from lambda_fn.schema.responses import History
from lambda_fn.schema.responses.items import Item
from lambda_fn.seals import Seals
from lambda_fn.stream.conversing import ERRORS, conversation_error, no_conversation
from lambda_fn.stream.negotiate import Continued
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.conversations import ANSWERED, Conversation, Conversations, Locked
from lambda_fn.stream_log.keys import UnknownVersion, conversation_id, response_id
from lambda_fn.stream_log.results import Kept, read_many

MAX_RESPONSES = 100
"""Responses that one request may read."""
MAX_SIZE = 2 * limits.MAX_BODY_WITH_IMAGES
"""Bytes of their inputs and outputs above which the request is refused. No model takes so much, and
the size of each response is bounded.
"""
_AT_ONCE = 4
_ITEM = re.compile(r"(?:msg|rs|fc|cmp)_([0-9a-z]{26})_(in)?([0-9]{1,5})")
_NAME = re.compile(r"[0-9a-z]{26}")
_item = msgspec.json.Decoder(Item)


async def history_of(
    table: Table | None,
    owner: str,
    asked: Continued,
    *,
    secrets: Sequence[str],
    days: int = 30,
) -> History:
    """Return what a request names of earlier responses and of a conversation.

    Args:
        table: StreamTable, None if nothing is kept, and so nothing named.
        owner: The id of the caller's key, whose responses are read.
        asked: What the request names.
        secrets: The secrets with which compactions were sealed.
        days: The days for which a conversation is kept.

    Raises:
        InvalidRequest: a response or an item is not there, or there are too many.
        NotFound: the key has no such conversation.
        Unavailable: the table does not answer.

    """
    previous, references, conversation = asked.previous, asked.references, asked.conversation
    unseal = Seals(secrets, owner).open
    if table is None:
        return History(unseal=unseal)
    reader = _Reader(table, owner)
    try:
        named = [_response_of(path, item_id) for path, item_id in references]
        parent_id = None if previous is None else response_id(previous)
        if parent_id is not None and not _NAME.fullmatch(parent_id):
            raise _no_parent(previous)
        await reader.read(dict.fromkeys([*named, *([parent_id] if parent_id else [])]))
        ancestors: list[str] = []
        if parent_id is not None:
            parent = reader.found.get(parent_id)
            if parent is None or not _can_precede(parent):
                raise _no_parent(previous)
            if parent.input.conversation is not None:
                raise _in_conversation(previous, parent.input.conversation)
            ancestors = [*parent.input.ancestors, parent_id]
            await reader.read(ancestors)
    except (Incomplete, UnknownVersion):
        raise InvalidRequest(
            "A stored response that this request continues cannot be read by this version of the "
            "service. Send its items in 'input'.",
            param="previous_response_id",
        ) from None
    except MeterUnavailable:
        raise Unavailable(
            "The table of kept responses does not answer. Try again.", retry_after=5
        ) from None
    before: list[msgspec.Raw] = []
    param, found = "previous_response_id", None
    if conversation is not None:
        param = "conversation"
        found, before = await _conversation(Conversations(table, days=days), owner, conversation)
    for name in ancestors:
        kept = reader.found.get(name)
        if kept is None or not _can_precede(kept):
            raise _no_parent(previous)
        before += kept.input.items
        before += reader.output(name)
    paths = {item_id: path for path, item_id in references}
    items = {item_id: _referred(reader, path, item_id) for item_id, path in paths.items()}
    # An item counts as often as it is referred to: so often it is sent to the model, and stored.
    size = sum(map(len, before)) + sum(len(items[item_id]) for _, item_id in references)
    if size > MAX_SIZE:
        raise _too_large()
    return History(
        before=[_read(raw, param) for raw in before],
        items={item_id: (raw, _read(raw, paths[item_id])) for item_id, raw in items.items()},
        ancestors=ancestors,
        size=size,
        param=param,
        conversation=found,
        unseal=unseal,
    )


async def _conversation(
    kept: Conversations, owner: str, public_id: str
) -> tuple[Conversation, list[msgspec.Raw]]:
    """Return a conversation and its items.

    One that another response has locked is read as it is: if the request generates a response, that
    cannot take the lock then. Raises as `history_of`.
    """
    name = conversation_id(public_id)
    if not _NAME.fullmatch(name):
        raise no_conversation(public_id, "conversation")
    try:
        try:
            found = await kept.unlocked(name, owner)
        except Locked:
            found = await kept.read(name, owner)
        items: list[msgspec.Raw] = []
        size = 0
        async for entry in kept.entries(name):
            items += entry.items
            size += sum(map(len, entry.items))
            if size > MAX_SIZE:
                raise _too_large()
    except ERRORS as error:
        raise conversation_error(error, name, "conversation") from None
    return found, items


class _Reader:
    """The responses of one key that were read."""

    def __init__(self, table: Table, owner: str) -> None:
        self._table = table
        self._owner = owner
        self.found: dict[str, Kept] = {}
        self._outputs: dict[str, list[msgspec.Raw]] = {}
        self._size = 0

    async def read(self, all_names: Iterable[str]) -> None:
        wanted = [name for name in all_names if name not in self.found]
        if len(self.found) + len(wanted) > MAX_RESPONSES:
            raise InvalidRequest(
                f"The conversation has more than {MAX_RESPONSES} responses. Send the items that "
                "count in 'input'.",
                param="previous_response_id",
            )
        for first in range(0, len(wanted), _AT_ONCE):
            names = wanted[first : first + _AT_ONCE]
            for name, kept in zip(
                names, await read_many(self._table, names, now=time.time()), strict=True
            ):
                if (
                    kept is not None
                    and kept.head.owner == self._owner
                    and kept.head.head.form != "compaction_body"  # it is no response
                ):
                    self.found[name] = kept
                    self._size += _size(kept)
            if self._size > MAX_SIZE:
                raise _too_large()

    def output(self, name: str) -> list[msgspec.Raw]:
        """Return the output of a response that was found. It is encoded once."""
        if name not in self._outputs:
            kept = self.found[name]
            self._outputs[name] = output_of(kept.head.head, kept.whole)
        return self._outputs[name]


def _can_precede(kept: Kept) -> bool:
    """Return whether a response may stand in the chain before a request."""
    return kept.head.status in ANSWERED and kept.can_be_continued


def _size(kept: Kept) -> int:
    deltas = sum(len(event.delta) for event in kept.events if type(event) is Delta)
    return deltas + sum(map(len, kept.input.items))


def _response_of(path: str, item_id: str) -> str:
    match = _ITEM.fullmatch(item_id)
    if match is None:
        raise _no_item(path, item_id)
    return match[1]


def _referred(reader: _Reader, path: str, item_id: str) -> msgspec.Raw:
    """Return an item of a response's output, or of its input (`in`)."""
    match = _ITEM.fullmatch(item_id)
    kept = reader.found.get(match[1]) if match else None
    if match is None or kept is None:
        raise _no_item(path, item_id)
    items = kept.input.items if match[2] else reader.output(match[1])
    if int(match[3]) >= len(items):
        raise _no_item(path, item_id)
    return items[int(match[3])]


def _read(raw: msgspec.Raw, param: str) -> Item:
    """Return an item that is kept, checked as if it were sent: a model may call what has no name.

    Raises InvalidRequest.
    """
    try:
        return _item.decode(raw)
    except msgspec.ValidationError as error:
        raise InvalidRequest(
            f"An item of this conversation cannot be sent to a model again: {error}. Send the items "
            "that count in 'input'.",
            param=param,
        ) from None


def _too_large() -> BodyTooLarge:
    return BodyTooLarge(
        f"The conversation is over {MAX_SIZE} bytes. Send the items that count in 'input'."
    )


def _no_item(path: str, item_id: str) -> InvalidRequest:
    return InvalidRequest(
        f"Item with id '{item_id[:80]}' not found: no response that this key has kept has it.",
        param=path,
        code="item_not_found",
    )


def _in_conversation(name: str | None, conversation: str) -> InvalidRequest:
    return InvalidRequest(
        f"The response '{(name or '')[:80]}' belongs to a conversation, so it cannot be continued "
        f"alone. Send 'conversation': 'conv_{conversation}' in place of 'previous_response_id'.",
        param="previous_response_id",
        code="response_in_conversation",
    )


def _no_parent(name: str | None) -> InvalidRequest:
    return InvalidRequest(
        f"Previous response with id '{(name or '')[:80]}' not found: it, or one before it, was not "
        "kept with its input, was deleted, has expired, has not been completed, or is no response "
        "of the Responses API.",
        param="previous_response_id",
        code="previous_response_not_found",
    )
