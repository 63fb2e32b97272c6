"""Alerts when 50, 80 and 100 % of a month's budget are spent.

The settlement of a request returns what its key's account has spent. For each level that is
reached, it puts an item (`keys.ALERT`), on condition that the item does not exist. The sweeper
sends a message for each item. An item names the level and the budget, so there are new messages
after a budget is raised.

A budget is seldom spent to its end, because a request that might exceed it is refused. So the first
refusal puts the item of 100 %, if the level before it is reached. Below that, it is the request
that is too large.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.holds import held_in
from lambda_fn.metering.keys import ALERT_OPEN, ALERT_PARTITION, VERSIONED
from lambda_fn.metering.rejections import LimitReached
from lambda_fn.metering.windows import UNLIMITED, windows_of

LEVELS = (50, 80, 100)
"""Percent of a budget."""
DEPLOYMENT = "deployment"
"""The `key` of an alert about the ceiling of the whole deployment."""
_KEPT = 400 * 86_400


class Alert(msgspec.Struct, frozen=True):
    """A level that a month's spending has reached."""

    month: str
    key_id: str
    what: str
    """`cost`, in nano-USD, or `tokens`."""
    level: int
    limit: int
    spent: int
    name: str = ""
    """What reports call the key."""
    owner: str = ""

    @property
    def key(self) -> dict[str, str]:
        """The primary key of its item."""
        names = (self.month, self.key_id, self.what, str(self.level), str(self.limit))
        return {"pk": ALERT_PARTITION, "sk": "#".join(names)}

    def item(self, *, now: float) -> Item:
        """Return its item, which the sweeper will find."""
        return {
            **self.key,
            **VERSIONED,
            "key": self.key_id,
            "spent": self.spent,
            "name": self.name,
            "owner": self.owner,
            "open": ALERT_OPEN,
            "due": int(now),
            "ttl": int(now) + _KEPT,
        }

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "Alert":
        """Read an alert from its item."""
        month, key_id, what, level, limit = item["sk"].split("#")
        return cls(
            month, key_id, what, int(level), int(limit), item["spent"], item["name"], item["owner"]
        )


def reached(account: Account, *, when: float) -> Iterator[Alert]:
    """Yield the levels that a key has reached in the month of a Unix time.

    What requests in flight hold is not spent.
    """
    for window in windows_of(when):
        limit: int = getattr(account.limits, window.limit)
        if not window.limit.endswith("_month") or limit >= UNLIMITED or window.ends < when:
            continue
        taken = limit - account.remaining(window)
        if taken * 100 < LEVELS[0] * limit:
            continue
        spent = taken - held_in(account, window)
        what, _, month = window.name.partition("#")
        for level in levels(spent, limit):
            yield Alert(
                month, account.key_id, what, level, limit, spent, account.name, account.owner
            )


def refused(reached: LimitReached) -> Alert | None:
    """Return the alert of a budget whose rest is too small for a request; None if there is none.

    Requests in flight that hold the rest may release it, so such a budget is not used up.
    """
    window, account = reached.window, reached.account
    if window is None or not window.limit.endswith("_month"):
        return None
    left = reached.remaining + held_in(account, window)
    spent = reached.maximum - left
    if reached.needed <= left or spent * 100 < LEVELS[-2] * reached.maximum:
        return None
    what, _, month = window.name.partition("#")
    names = (account.name, account.owner)
    return Alert(month, account.key_id, what, LEVELS[-1], reached.maximum, spent, *names)


def levels(spent: int, limit: int) -> list[int]:
    """Return the levels that a sum has reached."""
    return [level for level in LEVELS if spent * 100 >= level * limit]


async def note(table: Table, alert: Alert, *, now: float) -> bool:
    """Put an alert's item. Return False if it is there. Raises MeterUnavailable."""
    try:
        await table.put(alert.item(now=now), condition="attribute_not_exists(pk)")
    except ConditionFailed:
        return False
    return True


class Noted:
    """The alerts that this environment has put or seen, so that each is put once."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seen: set[str] = set()
        self._month = ""

    async def note(self, table: Table, account: Account, *, when: float, now: float) -> None:
        """Put the new alerts of an account. Raises MeterUnavailable."""
        for alert in reached(account, when=when):
            await self._once(table, alert, now=now)

    async def refused(self, table: Table, reached: LimitReached, *, now: float) -> None:
        """Put the alert of a refused request if it is new. Raises MeterUnavailable."""
        alert = refused(reached)
        if alert is not None:
            await self._once(table, alert, now=now)

    async def _once(self, table: Table, alert: Alert, *, now: float) -> None:
        if alert.month > self._month:
            self._month = alert.month
            self._seen.clear()
        name = alert.key["sk"]
        if name in self._seen:
            return
        self._seen.add(name)  # before the write, so that a flood of requests writes once
        try:
            await note(table, alert, now=now)
        except BaseException:
            self._seen.discard(name)
            raise
