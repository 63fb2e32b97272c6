"""A usage table for one test, a table whose caller is killed at a chosen call, and a request."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lambda_fn.aws.dynamodb import Table
from lambda_fn.http.client import Client
from lambda_fn.ids import hash_key, key_id_of, new_request_id
from lambda_fn.metering import accounts, holds, hours, ledger, settlements
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices, Tokens
from lambda_fn.metering.windows import windows_of
from lambda_fn.reporting.reconcile import reconcile
from lambda_fn.sweep.run import Sweep, sweep
from tests.support.function import CREDENTIALS

T = hours.begins("2026-11-21T06") + 45 * 60 + 30
"""The time of all events, unless a test says otherwise."""
LONGEST = 600.0
LATER = T + 2 * LONGEST
"""A time at which no request of a test can still be running."""
CLOSED = hours.begins("2026-11-21T07") + LONGEST
"""A time at which the hour of `T` is closed."""
PRICES = Prices(3, 5)
DONE = Settlement("complete", 7, 11, "stop", 12, 400)
MODEL = "demo"
LIMITS = accounts.Limits(
    requests_minute=1000, tokens_minute=10**6, tokens_day=10**7, cost_day=10**9, cost_month=10**10
)


class Killed(BaseException):
    """The process ends at this point."""


class Mortal(Table):
    """A table whose caller is killed before or after its `at`-th call."""

    calls = 0
    at = -1
    after = False

    async def _call(self, *given: Any, **named: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if number == self.at and not self.after:
            raise Killed
        try:
            return await super()._call(*given, **named)
        finally:
            if number == self.at:
                raise Killed


@dataclass
class Ground:
    """A usage table with a key, and ways to reach it."""

    url: str
    http: Client
    name: str
    boto: Any
    key: str

    @property
    def table(self) -> Table:
        """The table as the function sees it."""
        return Table(
            self.http,
            url=self.url,
            region="eu-west-1",
            name=self.name,
            credentials=lambda: CREDENTIALS,
        )

    def mortal(self, at: int, *, after: bool = False) -> Mortal:
        """Return the table for a caller that is killed at call `at`, counted from 0. -1 is never.

        The caller is killed before the call, or after it with `after`.
        """
        table = Mortal(
            self.http,
            url=self.url,
            region="eu-west-1",
            name=self.name,
            credentials=lambda: CREDENTIALS,
        )
        table.at, table.after = at, after
        return table

    @property
    def key_id(self) -> str:
        """The id of the key."""
        found = key_id_of(self.key)
        assert found is not None
        return found

    def items(self, begin: str = "") -> list[dict[str, Any]]:
        """Return the items whose partition begins with `begin`, as stock boto3 reads them."""
        return sorted(
            (
                item
                for item in self.boto.scan(ConsistentRead=True)["Items"]
                if item["pk"].startswith(begin)
            ),
            key=lambda item: (item["pk"], item["sk"]),
        )

    def item(self, request_id: str) -> dict[str, Any]:
        """Return a request's ledger item."""
        found: dict[str, Any] = self.boto.get_item(Key=ledger_key(request_id))["Item"]
        return found

    def account(self) -> dict[str, Any]:
        """Return the account item."""
        found: dict[str, Any] = self.boto.get_item(Key=account_key(self.key_id))["Item"]
        return found

    def bytes(self, begin: str = "") -> str:
        """Return the items as one text, in which any difference shows."""
        return json.dumps(self.items(begin), sort_keys=True, default=str)


def opening(ground: Ground, request_id: str) -> Opening:
    """Return the opening of a request."""
    return Opening(request_id, ground.key_id, MODEL, 100, 400, PRICES)


async def reserve(table: Table, ground: Ground, request_id: str, *, now: int = T) -> accounts.Hold:
    """Place a hold for a request. Return the hold."""
    reservation = holds.HoldRequest(request_id, 100, 400, MODEL)
    update = holds.place(ground.key_id, hash_key(ground.key), reservation, now=now)
    item = await table.update(update, return_item=True)
    return accounts.Hold.parse(item["in_flight"][request_id])


async def live(
    table: Table,
    ground: Ground,
    request_id: str,
    settlement: Settlement | None = DONE,
    *,
    checkpoint: int = 0,
    watched: bool = False,
) -> None:
    """Do what the stream function does for one request: admit, checkpoint, settle.

    Without a `settlement` the request stays open. `checkpoint` is the number of tokens in a
    checkpoint; with 0 there is none. `watched` is as in `ledger.settle`.
    """
    opened = opening(ground, request_id)
    entry = await reserve(table, ground, request_id)
    await table.put(ledger.opening_item(opened), condition=ledger.NEW)
    if checkpoint:
        await table.update(
            ledger.checkpoint(request_id, prompt_tokens=7, completion_tokens=checkpoint, now=T + 5)
        )
    if settlement is not None:
        await settlements.settle(table, opened, settlement, hold=entry, now=T + 8, watched=watched)


def request_ids(count: int, *, at: float = T) -> Iterator[str]:
    """Return new request ids of one time."""
    return (new_request_id(at) for _ in range(count))


def never() -> bool:
    """Return that there is always time."""
    return False


async def swept(table: Table, *, now: float = LATER) -> Sweep:
    """Sweep once. Return the counts."""
    return await sweep(table, now=now, longest=LONGEST, stop=never)


async def prove(ground: Ground) -> list[dict[str, Any]]:
    """Check that accounts, balances, ledger and rollups agree to the token.

    Return the ledger's items.
    """
    # The hour is closed by then, and gets rollups.
    await swept(ground.table, now=CLOSED + 2 * LONGEST)
    account, items = ground.account(), ground.items("LEDGER#")
    assert [item["state"] for item in items] == ["SETTLED"] * len(items)
    assert account["in_flight"] == {}
    assert not {"open", "due"} & {name for item in items for name in item}
    report = await reconcile(ground.table, now=lambda: CLOSED)
    assert report.differences == []
    spent = [item for item in items if item["outcome"] != "refused"]
    for name in ("prompt_tokens", "completion_tokens", "cost"):
        assert account.get(name, 0) == sum(item[name] for item in items)
    assert account.get("requests", 0) == len(spent)
    assert all(
        item["cost"]
        == PRICES.cost(Tokens(int(item["prompt_tokens"]), int(item["completion_tokens"])))
        for item in items
        if item["prompt_tokens"]
    )
    for window in windows_of(T):
        if window.name in account["balance"] and window.ends > LATER:
            kind = window.name.partition("#")[0]
            taken = sum(
                item["cost"]
                if kind == "cost"
                else item["prompt_tokens"] + item["completion_tokens"]
                for item in items
            )
            assert account["balance"][window.name] == getattr(LIMITS, window.limit) - taken
    return items
