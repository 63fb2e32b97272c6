"""The audit trail of the admin API. An item is put once and never changed.

    <request id>#asked                put before a change is made: who requested what
    <request id>#done                 put after it, or after its failure: the outcome, and the
                                      fields that changed
    <minute>#refused#<actor>#<code>   a denied caller: one item a minute for each actor and code, so
                                      that no flood fills the table, and a flood of one kind does
                                      not hide others

`keys.AUDIT` lists the attributes. DynamoDB removes an item after its `ttl`. A change without its
`#done` was interrupted: it may have been made or not, and the key shows which. No item has a secret
or a hash.
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
from lambda_fn.metering.keys import VERSIONED, audit_partition

_NEW = "attribute_not_exists(pk)"


@dataclass(frozen=True)
class Identity:
    """The caller of a request, as far as it is known."""

    request_id: str
    actor: str
    """`secret:<version>` of the admin secret, `iam:<right>`, or `unknown`."""
    address: str | None
    """The client's address; None for callers through IAM, whose address Lambda does not tell."""
    invocation: str | None
    """Lambda's id of the invocation; CloudTrail's data events name its caller."""


@dataclass
class Change:
    """The fields that a change changed. The block that makes the change sets them."""

    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


@dataclass
class _Refusals:
    """The refusals of one actor and code.

    `minute` is the last minute with an entry. `attempts` are the refusals that no entry counts yet.
    """

    minute: int = -1
    attempts: int = 0


class Trail:
    """Writes and reads the trail."""

    def __init__(self, table: Table, *, days: int, now: Callable[[], float] = time.time) -> None:
        """Set the usage table and the days for which items are kept."""
        self._table = table
        self._days = days
        self._now = now
        self._refusals: dict[str, _Refusals] = {}

    @asynccontextmanager
    async def change(
        self,
        identity: Identity,
        action: str,
        *,
        key: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> AsyncIterator[Change]:
        """Record the change that the block makes, before and after it.

        Raises:
            MeterUnavailable: the record cannot be written, and the block does not run.

        """
        request = {"action": action, "key": key, **_caller(identity), "asked": dict(fields or {})}
        await self._put(identity.request_id, "asked", request)
        change = Change()
        outcome, code = "unknown", None
        try:
            yield change
            outcome = "done"
        except APIError as error:
            outcome, code = "refused" if error.status < 500 else "unknown", error.code
            raise
        finally:
            result = {
                "outcome": outcome,
                "code": code,
                "before": change.before,
                "after": change.after,
            }
            try:
                await self._put(identity.request_id, "done", result)
            except MeterUnavailable:  # the change was made, and its caller must get the response
                log(
                    "audit_incomplete",
                    request_id=identity.request_id,
                    action=action,
                    key=key,
                    outcome=outcome,
                )

    async def refused(self, identity: Identity, action: str, code: str | None) -> None:
        """Record a denied caller, at most once a minute for each actor and code.

        The log has each request. If a refusal gets no entry, because another environment had the
        minute's entry or the table did not answer, the next entry counts it.
        """
        minute = int(self._now() // 60)
        kind = f"{identity.actor}#{code}"
        so_far = self._refusals.setdefault(kind, _Refusals())
        so_far.attempts += 1
        if minute == so_far.minute:
            return
        so_far.minute, attempts = minute, so_far.attempts
        entry = {
            "action": action,
            **_caller(identity),
            "request": identity.request_id,
            "code": code,
            "attempts": attempts,
        }
        with suppress(MeterUnavailable):  # the log has it
            if await self._put(
                new_request_id(minute * 60)[:10] + "0" * 16, f"refused#{kind}", entry
            ):
                so_far.attempts -= attempts  # more may have come meanwhile

    async def entries(
        self, day: str, *, before: str | None = None
    ) -> AsyncIterator[tuple[str, Item]]:
        """Yield a day's entries, newest first, each with its position; start after `before`."""
        condition, values = "pk = :pk", {":pk": audit_partition(day)}
        if before is not None:
            condition, values = f"{condition} AND sk < :before", {**values, ":before": before}
        done: Item = {}
        items = self._table.query_all(Query(condition, values, backward=True), consistent=True)
        async for item in items:
            request_id, _, kind = item["sk"].partition("#")
            if kind == "done":
                done = item
                continue
            outcome = done if done.get("sk") == f"{request_id}#done" else {}
            yield item["sk"], {"request": request_id, "outcome": "unknown", **outcome, **item}

    async def _put(self, request_id: str, kind: str, attributes: Mapping[str, Any]) -> bool:
        """Put an item if there is none. Return whether the stored item is this one."""
        day = time.strftime("%Y-%m-%d", time.gmtime(request_time(request_id)))
        now = self._now()
        item = {
            "pk": audit_partition(day),
            "sk": f"{request_id}#{kind}",
            **VERSIONED,
            "at": round(now, 3),
            "ttl": int(now) + self._days * 86_400,
            **{name: value for name, value in attributes.items() if value is not None},
        }
        try:
            await self._table.put(item, condition=_NEW)
        except ConditionFailed as failed:
            # The minute has its entry, or this is our own write, whose response was lost.
            return failed.item is not None and failed.item.get("request") == item.get("request")
        return True


def _caller(identity: Identity) -> dict[str, Any]:
    return {"actor": identity.actor, "address": identity.address, "invocation": identity.invocation}
