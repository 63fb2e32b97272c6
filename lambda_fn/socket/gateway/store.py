"""The items of sockets in StreamTable: states, messages, and the open sockets of each key.

An item counts its changes, and each change is conditional on that count. A writer that loses reads
the item again, and decides again. Each write has a random name, by which a writer finds out that a
write with a lost answer was carried out.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import msgspec

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table, Update
from lambda_fn.errors import RateLimited
from lambda_fn.socket.core import Rate
from lambda_fn.socket.gateway.state import State
from lambda_fn.stream_log.heads import new_name
from lambda_fn.stream_log.keys import (
    VERSION,
    VERSIONED,
    check_version,
    connection_key,
    frame_key,
    messages_of,
    sockets_key,
    span_key,
)

SECONDS = 7_200
"""How long a connection can last. API Gateway's limit."""
_KEPT = SECONDS + 600
MAX_SOCKETS = 20
"""Open sockets of a key."""
FLOODED = 60
"""Seconds for which a socket that was closed because of a flood counts as an open one of its key.

So a key can send at most `MAX_FLOODS` floods in this time, and the functions are there for others.
"""
MAX_FLOODS = 3
"""Sockets of a key that were closed because of floods, within `FLOODED` seconds. Then the key opens
no other socket.
"""
SPAN = 4
"""Seconds of messages that are counted together."""
_COUNTED = 600
"""Seconds for which such a count is kept: longer than Lambda keeps an event."""
_HELD = "!"
"""What stands before the name of such a socket in the item of its key."""
ATTEMPTS, FEW = 40, 6
"""Attempts of a change. `FEW` are for a socket that sends many messages at once."""
_PAUSE = 0.01
"""Seconds, for each attempt before, within which a change is attempted again."""
_T = TypeVar("_T")
_state = msgspec.json.Decoder(State)
_sockets = msgspec.json.Decoder(dict[str, int])


class Contended(MeterUnavailable):
    """Others changed the item at each attempt."""


class Gone(Exception):
    """There is no such socket: it was never opened, or its time is over."""


class _Held(RateLimited):
    """A key opens no socket, however many of its sockets are still there."""


class Socket(msgspec.Struct, frozen=True):
    """A socket as it was read: who opened it, its state, and its item."""

    connection_id: str
    caller: Caller
    state: State
    item: dict[str, Any]


class Frame(msgspec.Struct, frozen=True):
    """A message that makes a response. `sent` is in Unix seconds."""

    name: str
    body: bytes
    sent: float


class Store:
    """The sockets of a deployment. Methods raise MeterUnavailable if DynamoDB does not answer."""

    def __init__(self, table: Table, *, now: Callable[[], float] = time.time) -> None:
        """Take StreamTable."""
        self._table = table
        self._now = now

    async def open(self, connection_id: str, caller: Caller) -> None:
        """Add a socket."""
        now = self._now()
        state = State(Rate(now))
        await self._table.put(
            {
                **connection_key(connection_id),
                **VERSIONED,
                "n": 0,
                "w": new_name(),
                "owner": caller.key_id,
                "hash": caller.key_hash,
                "address": caller.address,
                "state": msgspec.json.encode(state).decode(),
                "expires": int(now) + _KEPT,
            }
        )

    async def find(self, connection_id: str) -> Socket:
        """Return a socket. Raises Gone, UnknownVersion."""
        return self._socket(connection_id, await self._table.get(connection_key(connection_id)))

    def _socket(self, connection_id: str, item: dict[str, Any] | None) -> Socket:
        if item is None or self._now() >= item["expires"]:
            raise Gone
        check_version(item)
        caller = Caller(key_id=item["owner"], key_hash=item["hash"], address=item["address"])
        return Socket(connection_id, caller, _state.decode(item["state"]), item)

    async def change(
        self, connection_id: str, decide: Callable[[State], _T], *, read: Socket | None = None
    ) -> _T:
        """Change the state of a socket, and return what `decide` returns.

        `decide` changes the state that it gets. It is called again if somebody else was faster,
        even after its own change: then the answer to that was lost. If it raises, nothing is
        written. `read` is the socket as it was read before, which saves the
        first read.

        Raises:
            Gone: there is no such socket.
            UnknownVersion: a later deployment wrote it.

        """
        decided, _ = await self.changed(connection_id, decide, read=read)
        return decided

    async def changed(
        self,
        connection_id: str,
        decide: Callable[[State], _T],
        *,
        read: Socket | None = None,
        attempts: int = ATTEMPTS,
    ) -> tuple[_T, Socket]:
        """Change the state of a socket as `change`. Return also the socket as it is then.

        Raises:
            Contended: somebody else was faster at each of the attempts.

        """
        return await self._change(
            connection_key(connection_id),
            lambda item: self._changed(connection_id, item, decide),
            None if read is None else read.item,
            attempts,
        )

    def _changed(
        self, connection_id: str, item: dict[str, Any] | None, decide: Callable[[State], _T]
    ) -> tuple[dict[str, Any], tuple[_T, Socket]]:
        socket = self._socket(connection_id, item)
        assert item is not None  # noqa: S101 (there is a socket)
        decided = decide(socket.state)
        changed = {**item, "state": msgspec.json.encode(socket.state).decode()}
        after = msgspec.structs.replace(socket, item={**changed, "n": item["n"] + 1})
        return changed, (decided, after)

    async def _change(
        self,
        key: dict[str, str],
        decide: Callable[[dict[str, Any] | None], tuple[dict[str, Any], _T]],
        read: dict[str, Any] | None = None,
        attempts: int = ATTEMPTS,
    ) -> _T:
        """Read an item, decide, and write it on condition that it is what was read."""
        for attempt in range(attempts):
            if attempt:
                # One of those who meet has won, so a next one can soon.
                await asyncio.sleep(random.uniform(0, _PAUSE * attempt))  # noqa: S311 (spreads load)
            item = read if read is not None and not attempt else await self._table.get(key)
            changed, decided = decide(item)
            name, number = new_name(), 0 if item is None else item["n"]
            try:
                await self._table.put(
                    {**changed, "n": number + 1, "w": name},
                    condition="attribute_not_exists(pk)" if item is None else "n = :n",
                    values=None if item is None else {":n": number},
                )
            except ConditionFailed as failed:
                if failed.item is None or failed.item.get("w") != name:
                    continue
            return decided
        raise Contended("the item of a socket is changed all the time")

    async def count(self, connection_id: str, sent: float) -> int:
        """Count a message, and return how many were sent in its `SPAN`. It may count twice.

        Raises:
            UnknownVersion: a newer version of this code has counted.

        """
        update = Update(
            key=span_key(connection_id, int(sent // SPAN)),
            update="SET v = :v, expires = :expires ADD #count :one",
            condition="attribute_not_exists(v) OR v = :v",
            names={"#count": "count"},
            values={":v": VERSION, ":expires": int(self._now()) + _COUNTED, ":one": 1},
        )
        try:
            item = await self._table.update(update, return_item=True)
        except ConditionFailed as failed:
            check_version(failed.item or {})
            raise
        return int(item["count"])

    async def claim(self, socket: Socket, frame: Frame) -> bool:
        """Store a message. Return whether it is new: it may come more than once."""
        writer, now = new_name(), int(self._now())
        try:
            await self._table.put(
                {
                    **frame_key(socket.connection_id, frame.name),
                    **VERSIONED,
                    "w": writer,
                    "owner": messages_of(socket.caller.key_id),
                    "created": now,
                    "body": frame.body.decode(errors="replace"),
                    "sent": frame.sent,
                    "expires": now + _KEPT,
                },
                condition="attribute_not_exists(pk)",
            )
        except ConditionFailed as failed:
            return failed.item is not None and failed.item.get("w") == writer
        return True

    async def forget(self, connection_id: str, name: str) -> None:
        """Remove the content of a message. What is left tells a repeat of it from a new one."""
        await self._table.put(
            {
                **frame_key(connection_id, name),
                **VERSIONED,
                "w": new_name(),
                "expires": int(self._now()) + _KEPT,
            }
        )

    async def admit(
        self, key_id: str, connection_id: str, is_open: Callable[[str], Awaitable[bool]]
    ) -> None:
        """Count a socket of a key.

        `is_open` tells whether a connection exists. It is asked if the key has its maximum, because
        API Gateway does not promise a `$disconnect` for each.

        Raises:
            RateLimited: the key has as many open sockets as it may have.

        """
        try:
            await self._count(key_id, connection_id, frozenset())
        except _Held:
            raise
        except RateLimited:
            item = await self._table.get(sockets_key(key_id))
            names = [] if item is None else list(_sockets.decode(item["state"]))
            names = [name for name in names if not name.startswith(_HELD)]
            there = await asyncio.gather(*(is_open(name) for name in names))
            lost = frozenset(name for name, one in zip(names, there, strict=True) if not one)
            await self._count(key_id, connection_id, lost)

    async def _count(self, key_id: str, connection_id: str, lost: frozenset[str]) -> None:
        now = int(self._now())

        def decide(item: dict[str, Any] | None) -> tuple[dict[str, Any], None]:
            sockets = {} if item is None else _sockets.decode(item["state"])
            sockets = {
                name: ends for name, ends in sockets.items() if ends > now and name not in lost
            }
            held = sorted(ends for name, ends in sockets.items() if name.startswith(_HELD))
            if len(held) >= MAX_FLOODS:
                raise _Held(
                    f"{MAX_FLOODS} sockets of this key were closed within {FLOODED} seconds, because "
                    "each sent too many messages. Wait before you open another.",
                    code="websocket_limit_reached",
                    retry_after=held[-MAX_FLOODS] - now,
                )
            if len(sockets) >= MAX_SOCKETS and connection_id not in sockets:
                raise RateLimited(
                    f"This key has {MAX_SOCKETS} open sockets. Close one of them first. One that was "
                    f"closed because it sent too many messages counts for {FLOODED} seconds.",
                    code="websocket_limit_reached",
                    retry_after=10,
                )
            return _item(key_id, {**sockets, connection_id: now + SECONDS}, now), None

        await self._change(sockets_key(key_id), decide)

    async def leave(self, key_id: str, connection_id: str, *, held: bool = False) -> None:
        """Remove a socket from the count of its key, or hold its place for `FLOODED` seconds."""
        now = int(self._now())

        def decide(item: dict[str, Any] | None) -> tuple[dict[str, Any], None]:
            sockets = {} if item is None else _sockets.decode(item["state"])
            sockets.pop(connection_id, None)
            if held:
                sockets[f"{_HELD}{connection_id}"] = now + FLOODED
            return _item(key_id, sockets, now), None

        await self._change(sockets_key(key_id), decide)

    async def frame(self, connection_id: str, name: str) -> Frame | None:
        """Return the message that makes a response, None if there is none."""
        item = await self._table.get(frame_key(connection_id, name))
        if item is None or "body" not in item:
            return None
        return Frame(name, item["body"].encode(), float(item["sent"]))


def _item(key_id: str, sockets: dict[str, int], now: int) -> dict[str, Any]:
    return {
        **sockets_key(key_id),
        **VERSIONED,
        "state": msgspec.json.encode(sockets).decode(),
        "expires": now + _KEPT,
    }
