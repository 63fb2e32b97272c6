"""Bounds how many calls of a key follow running responses at once.

Such a call keeps an environment of the recall function, up to its time limit, and a repeat keeps
one of the stream function. Without a bound, one key could keep all of them. Each call takes a slot
of its key: an item, until it ends. Whoever takes a slot guesses a free one first, so calls do not
compete for one item.

If StreamTable does not answer, nobody is refused here.
"""

import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Query, Table
from lambda_fn.errors import RateLimited
from lambda_fn.log import log
from lambda_fn.stream_log.heads import StoredHead, new_name
from lambda_fn.stream_log.keys import following_key
from lambda_fn.stream_log.reading import release_slot, slot_item

_LONGEST = 900.0
"""Seconds that a call of unlimited time has a slot, if its process is killed."""
_ATTEMPTS = 5
_FREE = "attribute_not_exists(pk) OR tail_until < :now OR reader = :own"


class Readers:
    """The slots of all keys. Each key has `maximum`."""

    def __init__(self, table: Table, maximum: int, *, now: Callable[[], float] = time.time) -> None:
        """Take StreamTable."""
        self._table = table
        self._now = now
        self._maximum = maximum

    @asynccontextmanager
    async def following(self, head: StoredHead, seconds: float | None) -> AsyncIterator[None]:
        """Take a slot of the key while a response is followed. One that has ended needs none.

        `seconds` is how long the call may take, None if that is not limited.

        Raises:
            RateLimited: the key follows as many responses as it may.

        """
        if head.is_final or seconds == 0:
            yield
            return
        name, slot = new_name(), None
        try:
            slot = await self._take(head.owner, name, _LONGEST if seconds is None else seconds)
        except MeterUnavailable as error:
            log("fault", request_id=head.response_id, error=type(error).__name__)
        try:
            yield
        finally:
            if slot is not None:
                await release_slot(self._table, following_key(head.owner, slot), name)

    async def _take(self, key_id: str, name: str, seconds: float) -> int | None:
        """Take a free slot. Return None if other calls were faster each time."""
        slot = random.randrange(self._maximum)  # noqa: S311 (spreads load)
        for _ in range(_ATTEMPTS):
            now = self._now()
            item = slot_item(following_key(key_id, slot), name, now=now, seconds=seconds)
            values = {":now": round(now, 3), ":own": name}
            try:
                await self._table.put(item, condition=_FREE, values=values)
            except ConditionFailed:
                slot = await self._free(key_id)
            else:
                return slot
        return None

    async def _free(self, key_id: str) -> int:
        """Return a free slot. Raises RateLimited."""
        now, taken = self._now(), set[str]()
        query = Query("pk = :pk", {":pk": following_key(key_id, 0)["pk"]})
        async for item in self._table.query_all(query, consistent=True):
            if item["tail_until"] >= now:
                taken.add(item["sk"])
        every = range(self._maximum)
        free = [slot for slot in every if following_key(key_id, slot)["sk"] not in taken]
        if not free:
            raise RateLimited(
                f"This key has {self._maximum} calls that follow running responses, by 'wait', as "
                "streams or by repeats of their requests. End one of these calls first, or ask for the state "
                "without 'wait'.",
                code="readers_limit_reached",
                retry_after=5,
            )
        return random.choice(free)  # noqa: S311 (spreads load)
