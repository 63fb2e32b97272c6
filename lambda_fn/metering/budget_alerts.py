"""Alerts when 50, 80 and 100 % of a month's budget are spent.

The settlement of a request returns what its key's account has spent. For each level that is
reached, it puts an item (`keys.ALERT`), on condition that the item does not exist. The sweeper
sends a message for each item. An item names the level and the budget, so there are new messages
after a budget is raised.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, Table
from lambda_fn.ids import request_time
from lambda_fn.metering.accounts import Account
from lambda_fn.metering.holds import amount_in
from lambda_fn.metering.keys import ALERT_OPEN, ALERT_PARTITION, VERSIONED
from lambda_fn.metering.windows import UNLIMITED, Window, windows_of

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
        spent = taken - _held(account, window)
        what, _, month = window.name.partition("#")
        for level in levels(spent, limit):
            yield Alert(
                month, account.key_id, what, level, limit, spent, account.name, account.owner
            )


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
            if alert.month > self._month:
                self._month = alert.month
                self._seen.clear()
            if alert.key["sk"] not in self._seen:
                await note(table, alert, now=now)
                self._seen.add(alert.key["sk"])


def _held(account: Account, window: Window) -> int:
    held = 0
    for request_id, hold in account.in_flight.items():
        if window in windows_of(request_time(request_id)):
            held += amount_in(window, 1, hold.tokens, hold.cost)
    return held
