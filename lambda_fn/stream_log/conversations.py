"""Conversations: items that responses read and add to.

A conversation is one partition. Its HEAD has its state, and an *entry* has the items of one append:
those of one call, or the input and the output of one response. An entry is one item, put on
condition that its place is free. So an append is written whole or not at all, and none overwrites
another.

**One writer at a time.** Whoever changes the items holds the lock in HEAD. A response takes it
before its model is called, and holds it until its own items are written. So a response has read
everything that comes before its items. The lock has the response's id, and the response has a head
before it takes the lock. So others can find out what became of a holder that is gone (`settle`): if
the response was completed, they write its entry; if it failed, they write nothing. Other writers
hold the lock for one append, and lose it after `HOLD` seconds.

    acquire (lock = name) -> put the entry at `next` -> release (next + 1, lock removed)

All three are conditional writes that may be repeated, and may be carried out late. A holder that
has lost its lock may write its entry late, in the place of the next one. The next writer then uses
the place after it, and counts both.

**Time.** A conversation expires some days after its last item, at the end of a day, so that HEAD's
`expires` changes once a day. Entries live twice as long. When an append moves the end beyond that
(`lasts`), it moves the entries, too.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Query, Table, Update
from lambda_fn.encode.responses import output_of
from lambda_fn.ids import is_request_id
from lambda_fn.schema.responses.listed import listed
from lambda_fn.stream_log.bodies import Incomplete, deflated, inflated
from lambda_fn.stream_log.heads import end_overdue, new_name, read_head
from lambda_fn.stream_log.keys import (
    MAX_PART,
    VERSIONED,
    check_version,
    conversation_key,
    conversations_of,
    entry_key,
    entry_part_key,
    entry_part_range,
    entry_place,
    entry_range,
)
from lambda_fn.stream_log.removal import hide_again
from lambda_fn.stream_log.results import Kept, read_kept

HOLD = 15.0
"""Seconds for which a writer that is no response holds the lock."""
MAX_ITEMS = 4000
"""Items of a conversation up to which more are added by a request. A response's output always is.
A chat has at most 4,096 messages.
"""
MAX_SIZE = 2 * limits.MAX_BODY_WITH_IMAGES
"""Bytes of its items up to which more are added by a request. No model takes so much."""
MAX_ENTRIES = 2 * MAX_ITEMS
"""Appends of a conversation up to which requests make more. A response's is always made.

An entry whose items were all deleted stays, so that its writer can still tell it. Every reader
reads all entries, so they are bounded, too.
"""
_DAY = 86_400
_AT_ONCE = 16
_raws = msgspec.json.Decoder(list[msgspec.Raw])
ANSWERED = ("completed", "incomplete")
"""The statuses of responses whose items are appended."""


class Locked(Exception):
    """Another writer changes the conversation now, or has changed it since it was read."""


class Full(Exception):
    """The conversation would have more than `MAX_ITEMS` items, or more than `MAX_SIZE` bytes."""


class UsedUp(Full):
    """The conversation has `MAX_ENTRIES` entries. Deleting items makes no room."""


class Gone(LookupError):
    """There is no such conversation or item: it never existed, was deleted, or has expired."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The head of a conversation as it was read. `keys.CONVERSATION` explains the fields."""

    id: str
    owner: str
    created: int
    expires: int
    next: int
    count: int
    size: int
    rev: int
    lasts: int
    metadata: dict[str, str] | None = None
    lock: str | None = None
    until: float = 0.0


class Entry(msgspec.Struct, frozen=True):
    """The items of one append, and the place of the entry."""

    place: int
    ids: list[str]
    items: list[msgspec.Raw]


class Conversations:
    """The conversations of a deployment.

    Every method raises MeterUnavailable if DynamoDB does not answer; it is not known then whether a
    change was made. Those that read raise Incomplete for malformed items, and UnknownVersion for
    those of a later deployment.
    """

    def __init__(self, table: Table, *, days: int, now: Callable[[], float] = time.time) -> None:
        """Take StreamTable, and the days for which a conversation is kept after its last item."""
        self._table = table
        self._days = days
        self._now = now

    async def create(
        self,
        conversation_id: str,
        key_id: str,
        items: Sequence[Mapping[str, Any]],
        metadata: Mapping[str, str] | None = None,
    ) -> Conversation:
        """Make a conversation of a key with some items. Nobody else may know its id yet."""
        now, data = self._now(), encoded(items)
        made = Conversation(
            id=conversation_id,
            owner=key_id,
            created=int(now),
            expires=_expiry(now, self._days),
            next=1 if data else 0,
            count=len(data),
            size=_size(data),
            rev=0,
            lasts=_expiry(now, 2 * self._days),
            metadata=dict(metadata) if metadata else None,
        )
        if data:
            await self._put(made, 0, new_name(), data)
        fields = ("created", "expires", "next", "count", "size", "rev", "lasts", "metadata")
        item: Item = {
            **conversation_key(conversation_id),
            **VERSIONED,
            "owner": conversations_of(key_id),
        }
        values = {name: getattr(made, name) for name in fields}
        await self._table.put(
            item | {name: value for name, value in values.items() if value is not None}
        )
        return made

    async def read(self, conversation_id: str, key_id: str) -> Conversation:
        """Return a conversation of a key, read consistently. Raises Gone."""
        return self._parse(await self._table.get(conversation_key(conversation_id)), key_id)

    async def unlocked(self, conversation_id: str, key_id: str) -> Conversation:
        """Return a conversation that nobody changes now. If its writer is gone, settle it first.

        Raises:
            Locked: somebody changes it.
            Gone: there is none.

        """
        for _ in range(3):
            found = await self.read(conversation_id, key_id)
            if found.lock is None:
                return found
            if not await self._is_over(found):
                break
            await self.settle(found)
        raise Locked

    async def acquire(self, seen: Conversation, name: str, *, until: float) -> Conversation:
        """Take the lock of a conversation that has not changed since it was read.

        If DynamoDB does not answer, the lock may be taken. It ends at `until`, or with the
        response.

        Args:
            seen: The conversation as it was read.
            name: The id of a response that has a head, or a new name (`heads.new_name`).
            until: Unix seconds after which a lock that no response has does not hold any more.

        Raises:
            Locked: another writer has the lock, or the items have changed.
            Gone: the conversation was deleted.

        """
        update = Update(
            conversation_key(seen.id),
            update="SET #lock = :name, #until = :until",
            condition="rev = :rev AND attribute_not_exists(deleted) AND "
            "attribute_not_exists(#lock)",
            names={"#lock": "lock", "#until": "until"},
            values={":name": name, ":until": round(until, 3), ":rev": seen.rev},
        )
        try:
            item: Item | None = await self._table.update(update, return_item=True)
        except ConditionFailed as failed:
            item = failed.item
        found = self._parse(item, seen.owner)
        if found.lock != name or found.rev != seen.rev:
            raise Locked
        return found

    async def append(self, held: Conversation, items: Sequence[msgspec.Raw]) -> Conversation:
        """Put items where the next entry would be, for the holder of the lock, and remove the lock.

        It may be repeated, and carried out by several at the same time. A holder that has lost its
        lock appends all the same, behind those that have had it since.

        Args:
            held: The conversation with the lock.
            items: The items with their ids; none only removes the lock.

        Returns:
            The conversation afterwards.

        Raises:
            Gone: the conversation was deleted.

        """
        name = held.lock or ""
        place, count, size = held.next, held.count, held.size
        while items:
            other = await self._put(held, place, name, items)
            place += 1
            if other is None:
                count, size = count + len(items), size + _size(items)
                break
            # The late entry of a writer that has lost its lock.
            count, size = count + len(other["ids"]), size + other["size"]
        changes: dict[str, Any] = {}
        if items:
            changes = {"next": place, "count": count, "size": size}
            now = self._now()
            changes["expires"] = max(held.expires, _expiry(now, self._days))
            if changes["expires"] > held.lasts:
                changes["lasts"] = _expiry(now, 2 * self._days)
                await self._move(held.id, changes["lasts"])
        try:
            return await self._release(held, changes)
        except Gone:
            if items:
                await hide_again(self._table, conversation_key(held.id), now=int(self._now()))
            raise

    async def settle(self, seen: Conversation) -> None:
        """Append what the holder of the lock has to append, and remove the lock.

        If the holder is a response, it must have ended. It may be repeated, and carried out by
        several at the same time.
        """
        items: list[msgspec.Raw] = []
        if seen.lock is not None and is_request_id(seen.lock):
            kept = await read_kept(self._table, seen.lock, now=self._now())
            if kept is not None and kept.head.status in ANSWERED:
                items = items_of(kept)
        await self.append(seen, items)

    async def add(
        self, conversation_id: str, key_id: str, items: Sequence[Mapping[str, Any]]
    ) -> Conversation:
        """Append items. Raises Locked, Full and Gone."""
        seen = await self.unlocked(conversation_id, key_id)
        data = encoded(items)
        check_room(seen, len(data), _size(data))
        return await self.append(await self._hold(seen), data)

    async def update(
        self, conversation_id: str, key_id: str, metadata: Mapping[str, str]
    ) -> Conversation:
        """Replace the metadata. Raises Gone."""
        update = Update(
            conversation_key(conversation_id),
            update="SET metadata = :metadata",
            condition="#owner = :owner AND attribute_not_exists(deleted) AND #expires > :now",
            names={"#owner": "owner", "#expires": "expires"},
            values={
                ":metadata": dict(metadata),
                ":owner": conversations_of(key_id),
                ":now": int(self._now()),
            },
        )
        try:
            item = await self._table.update(update, return_item=True)
        except ConditionFailed:
            raise Gone from None
        return self._parse(item, key_id)

    async def places(self, conversation_id: str) -> list[tuple[int, list[str]]]:
        """Return the places of the entries in their order, and the ids of their items."""
        query = entry_range(conversation_id, projection=("sk", "ids"))
        return [
            (entry_place(item), item["ids"])
            async for item in self._table.query_all(query, consistent=True)
        ]

    async def entry(self, conversation_id: str, place: int) -> Entry:
        """Return an entry. Raises Gone."""
        item = await self._table.get(entry_key(conversation_id, place))
        if item is None:
            raise Gone
        return await self._entry(conversation_id, item)

    async def entries(self, conversation_id: str) -> AsyncIterator[Entry]:
        """Yield all entries in their order; one page of them is in memory."""
        query = entry_range(conversation_id)
        async for item in self._table.query_all(query, consistent=True):
            yield await self._entry(conversation_id, item)

    async def remove(self, conversation_id: str, key_id: str, item_id: str) -> Conversation:
        """Remove an item for good. Raises Locked and Gone."""
        seen = await self.unlocked(conversation_id, key_id)
        held = await self._hold(seen)
        size = 0
        place = next(
            (at for at, names in await self.places(conversation_id) if item_id in names), None
        )
        if place is not None:
            size = await self._remove_from(held.id, place, item_id)
        changes = {"count": held.count - 1, "size": held.size - size} if size else {}
        after = await self._release(held, changes)
        if not size:
            raise Gone
        return after

    async def _hold(self, seen: Conversation) -> Conversation:
        return await self.acquire(seen, new_name(), until=self._now() + HOLD)

    async def _is_over(self, found: Conversation) -> bool:
        """Return whether the holder of a lock is gone. A response whose producer is dead ends."""
        now, name = self._now(), found.lock or ""
        if not is_request_id(name):
            return now >= found.until
        head = await read_head(self._table, name, now=now)
        if head is not None and head.is_overdue(now):
            head = await end_overdue(self._table, head, now=now)
        return head is None or head.is_final

    def _parse(self, item: Mapping[str, Any] | None, key_id: str) -> Conversation:
        if item is None or "deleted" in item or self._now() >= item["expires"]:
            raise Gone
        if item["owner"] != conversations_of(key_id):
            raise Gone
        check_version(item)
        fields = {name: item[name] for name in Conversation.__struct_fields__ if name in item}
        return Conversation(**fields | {"id": item["pk"].removeprefix("V#"), "owner": key_id})

    async def _entry(self, conversation_id: str, item: Mapping[str, Any]) -> Entry:
        check_version(item)
        place, data = entry_place(item), item.get("d")
        if data is None:
            query = entry_part_range(conversation_id, place, item["name"])
            parts = [it["d"] async for it in self._table.query_all(query, consistent=True)]
            if len(parts) != item["parts"]:
                raise Incomplete(f"an entry has {len(parts)} of {item['parts']} parts")
            data = b"".join(parts)
        found = _raws.decode(inflated(data))
        if len(found) != len(item["ids"]):
            raise Incomplete("an entry has another number of items")
        return Entry(place, item["ids"], found)

    async def _write(
        self,
        held: Conversation,
        place: int,
        writer: str,
        items: Sequence[msgspec.Raw],
        condition: str,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Put an entry, and its parts before it. Raises ConditionFailed."""
        item: Item = {
            **entry_key(held.id, place),
            **VERSIONED,
            "w": writer,
            "ids": [_named.decode(raw).id for raw in items],
            "size": _size(items),
            "expires": held.lasts,
        }
        parts = deflated(b"[" + b",".join(items) + b"]")
        named = sum(len(name) + 1 for name in item["ids"])
        if len(parts) == 1 and len(parts[0]) + named <= MAX_PART:  # both are in one item
            item["d"] = parts[0]
        else:
            item |= {"name": new_name(), "parts": len(parts)}
            for number, part in enumerate(parts):
                key = entry_part_key(held.id, place, item["name"], number)
                await self._table.put({**key, **VERSIONED, "d": part, "expires": held.lasts})
        await self._table.put(item, condition=condition, values=values)

    async def _put(
        self, held: Conversation, place: int, writer: str, items: Sequence[msgspec.Raw]
    ) -> Item | None:
        """Put an entry where no other is. Return None if it stands, or the other one."""
        try:
            await self._write(held, place, writer, items, "attribute_not_exists(sk)")
        except ConditionFailed as failed:
            if failed.item is None:  # the conversation was deleted in between
                raise Gone from None
            return None if failed.item["w"] == writer else failed.item
        return None

    async def _remove_from(self, conversation_id: str, place: int, item_id: str) -> int:
        """Write an entry without an item, and return the size of that; 0 if it has none.

        It keeps the name of its writer, so that this one can still tell its own entry.
        """
        old = await self._table.get(entry_key(conversation_id, place))
        if old is None or item_id not in old["ids"]:
            return 0
        found = await self._entry(conversation_id, old)
        at = found.ids.index(item_id)
        rest = [*found.items[:at], *found.items[at + 1 :]]
        held = Conversation(
            id=conversation_id,
            owner="",
            created=0,
            expires=0,
            next=0,
            count=0,
            size=0,
            rev=0,
            lasts=old["expires"],
        )
        try:
            await self._write(held, place, old["w"], rest, "ids = :ids", {":ids": old["ids"]})
        except ConditionFailed:
            return 0
        for number in range(old.get("parts", 0)):
            await self._table.delete(entry_part_key(conversation_id, place, old["name"], number))
        return len(found.items[at])

    async def _release(self, held: Conversation, changes: dict[str, Any]) -> Conversation:
        """Remove the lock, if `held` has it still, and change attributes."""
        if changes:
            changes["rev"] = held.rev + 1
        assigned = ", ".join(f"#{name} = :{name}" for name in changes)
        setting = f"SET {assigned} " if changes else ""
        update = Update(
            conversation_key(held.id),
            update=f"{setting}REMOVE #lock, #until",
            condition="#lock = :held",
            names={f"#{name}": name for name in (*changes, "lock", "until")},
            values={**{f":{name}": value for name, value in changes.items()}, ":held": held.lock},
        )
        try:
            await self._table.update(update)
        except ConditionFailed as failed:  # another one has settled it, or deleted it
            if failed.item is None or "deleted" in failed.item:
                raise Gone from None
        return msgspec.structs.replace(held, **changes, lock=None, until=0.0)

    async def _move(self, conversation_id: str, expires: int) -> None:
        """Move the expiry of all entries and their parts to `expires` (Unix seconds)."""
        partition = conversation_key(conversation_id)["pk"]
        query = Query("pk = :pk", {":pk": partition}, projection=("pk", "sk"))
        found = self._table.query_all(query, consistent=True)
        keys = [{"pk": it["pk"], "sk": it["sk"]} async for it in found if it["sk"] != "HEAD"]

        async def move(key: dict[str, str]) -> None:
            update = Update(
                key,
                update="SET expires = :expires",
                condition="attribute_exists(pk)",
                values={":expires": expires},
            )
            with contextlib.suppress(ConditionFailed):  # it was removed
                await self._table.update(update)

        for first in range(0, len(keys), _AT_ONCE):
            await asyncio.gather(*map(move, keys[first : first + _AT_ONCE]))


class _Named(msgspec.Struct):
    id: str


_named = msgspec.json.Decoder(_Named)


def encoded(items: Sequence[Mapping[str, Any]]) -> list[msgspec.Raw]:
    """Return items as JSON."""
    return [msgspec.Raw(msgspec.json.encode(item)) for item in items]


def items_of(kept: Kept) -> list[msgspec.Raw]:
    """Return the input and the output of a response that was completed, with their ids."""
    own = listed(kept.input.items, kept.head.response_id, own_ids=False)
    return [*encoded(own), *output_of(kept.head.head, kept.whole)]


def check_room(seen: Conversation, count: int, size: int) -> None:
    """Check that a conversation may have more items, `size` bytes together. Raises Full, UsedUp."""
    if seen.next >= MAX_ENTRIES:
        raise UsedUp
    if seen.count + count > MAX_ITEMS or seen.size + size > MAX_SIZE:
        raise Full


def _size(items: Sequence[msgspec.Raw]) -> int:
    return sum(map(len, items))


def _expiry(now: float, days: int) -> int:
    """Return when a conversation expires whose last item is added now: the end of a day."""
    return math.ceil((now + days * _DAY) / _DAY) * _DAY
