"""The audit trail: what was done through the admin API, in partitions in which nothing is changed or removed.

    pk    AUDIT#<UTC day of the request>
    sk    <request id>#asked   put before a change is made
          <request id>#done    put after it, or after its failure
          <minute>#refused#<actor>#<code>   who was not let in: of each kind one a minute, so that no flood fills the
                               table and none of another kind hides what it did
    ttl   Unix seconds, after which DynamoDB removes the item
    asked     at, action, key, actor, address, invocation, asked: the fields of the request
    done      at, outcome, code, before, after: the fields that changed
    refused   at, action, actor, address, invocation, request, code, attempts

Each is put on condition that it is not there. A change without its `#done` was cut off: it may have been made or not,
and the key tells which. No secret and no hash is in any of them.
"""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Query, Table
from lambda_fn.errors import APIError
from lambda_fn.ids import new_request_id, request_time
from lambda_fn.log import log

_NEW = "attribute_not_exists(pk)"


@dataclass(frozen=True)
class Who:
    """Who makes a request, as far as it is known."""

    request_id: str
    actor: str
    """`secret:<version>` of the admin secret, `iam:<right>`, or `unknown`."""
    address: str | None
    """Where it came from; of IAM's callers nothing is told."""
    invocation: str | None
    """Lambda's id of the invocation, by which CloudTrail's data events name IAM's caller."""


@dataclass
class Change:
    """What a change came to; whoever makes it fills it in."""

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Refusals:
    """Those of one kind: the last minute in which an entry was tried, and how many no entry counts so far."""

    minute: int = -1
    attempts: int = 0


class Trail:
    """Writes and reads the trail."""

    def __init__(self, table: Table, *, days: int, now: Callable[[], float] = time.time) -> None:
        """Take the usage table; items are kept for so many `days`."""
        self._table = table
        self._days = days
        self._now = now
        self._refusals: dict[str, _Refusals] = {}

    @asynccontextmanager
    async def change(
        self, who: Who, action: str, *, key: str | None = None, asked: Mapping[str, Any] | None = None
    ) -> AsyncIterator[Change]:
        """Record what the block does: that it is going to, and what came of it.

        Raises:
            MeterUnavailable: the record cannot be made, and so nothing is to be done.

        """
        said = {"action": action, "key": key, **_caller(who), "asked": dict(asked or {})}
        await self._put(who.request_id, "asked", said)
        made = Change()
        outcome, code = "unknown", None
        try:
            yield made
            outcome = "done"
        except APIError as error:
            outcome, code = "refused" if error.status < 500 else "unknown", error.code
            raise
        finally:
            figures = {"outcome": outcome, "code": code, "before": made.before, "after": made.after}
            try:
                await self._put(who.request_id, "done", figures)
            except MeterUnavailable:  # the change was made, and its caller is to have the answer
                log("audit_incomplete", request_id=who.request_id, action=action, key=key, outcome=outcome)

    async def refused(self, who: Who, action: str, code: str | None) -> None:
        """Record that somebody was not let in, at most once a minute by actor and code; the log has every such request.

        What was not put, because another environment had the minute or the table did not answer, the next entry counts.
        """
        minute = int(self._now() // 60)
        kind = f"{who.actor}#{code}"
        so_far = self._refusals.setdefault(kind, _Refusals())
        so_far.attempts += 1
        if minute == so_far.minute:
            return
        so_far.minute, attempts = minute, so_far.attempts
        said = {"action": action, **_caller(who), "request": who.request_id, "code": code, "attempts": attempts}
        with suppress(MeterUnavailable):  # the log has it
            if await self._put(new_request_id(minute * 60)[:10] + "0" * 16, f"refused#{kind}", said):
                so_far.attempts -= attempts  # others may have come meanwhile

    async def entries(self, day: str, *, before: str | None = None) -> AsyncIterator[tuple[str, Item]]:
        """Give a day's entries, the newest first, each with its position; `before` is that of an earlier one."""
        condition, values = "pk = :pk", {":pk": f"AUDIT#{day}"}
        if before is not None:
            condition, values = f"{condition} AND sk < :before", {**values, ":before": before}
        done: Item = {}
        found = self._table.query_all(Query(condition, values, backward=True), consistent=True)
        async for item in found:
            request_id, _, kind = item["sk"].partition("#")
            if kind == "done":
                done = item
                continue
            outcome = done if done.get("sk") == f"{request_id}#done" else {}
            yield item["sk"], {"request": request_id, "outcome": "unknown", **outcome, **item}

    async def _put(self, request_id: str, kind: str, said: Mapping[str, Any]) -> bool:
        """Put an item, and return whether it is there: another one may be in its place, which stays."""
        day = time.strftime("%Y-%m-%d", time.gmtime(request_time(request_id)))
        now = self._now()
        item = {
            "pk": f"AUDIT#{day}",
            "sk": f"{request_id}#{kind}",
            "at": round(now, 3),
            "ttl": int(now) + self._days * 86_400,
            **{name: value for name, value in said.items() if value is not None},
        }
        try:
            await self._table.put(item, condition=_NEW)
        except ConditionFailed as failed:  # another one's minute; or our own write, of a try whose answer was lost
            return failed.item is not None and failed.item.get("request") == item.get("request")
        return True


def _caller(who: Who) -> dict[str, Any]:
    return {"actor": who.actor, "address": who.address, "invocation": who.invocation}
