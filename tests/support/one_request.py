"""One key and one request, taken through each process step by step on a network that fails."""

import msgspec
import pytest

from lambda_fn import ids
from lambda_fn.auth import Caller
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import MeterUnavailable, Update
from lambda_fn.metering import accounts, settlements
from lambda_fn.metering.accounts import Correction, Spend
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.metering.windows import UNLIMITED, windows_of
from lambda_fn.stream.admit import Admission, Gate
from tests.support.function import KEY, KEY_ID
from tests.support.network import Fate, Network, create_table

CALLER = Caller(KEY_ID, ids.hash_key(KEY))
START = 1_795_219_185.0
"""Fifteen seconds before the end of a day, UTC."""
PRICES = Prices(10, 100)
TRUTH = Settlement("complete", 3, 5, "stop", 12, 40)
COST = 530


class Case:
    """One key and one request, with the table."""

    def __init__(self) -> None:
        """Create the table."""
        self.fates: list[Fate] = []
        self.network = Network(lambda _: self.fates.pop(0) if self.fates else Fate.WELL)
        self.table = self.network.table("leftovers")
        create_table("leftovers")
        self.opening = Opening(ids.new_request_id(START), KEY_ID, "m", 100, 5000, PRICES)
        self.request_id = self.opening.request_id

    async def begin(self, *fates: Fate) -> Admission:
        """Create the account and admit the request.

        The first fate is that of the account's write, the second that of the ledger's.
        """
        await self.table.put(accounts.new_account(KEY, name="n", now=1))
        return await self.admit(*fates)

    async def admit(self, *fates: Fate) -> Admission:
        """Admit the request in an environment that has verified the key."""
        gate = Gate(self.table)
        await gate.authenticate(CALLER)
        self.fates = list(fates)
        return await gate.admit(CALLER, self.opening)

    async def close(self, admission: Admission) -> None:
        """Settle the request and capture its hold."""
        assert admission.entry is not None
        await settlements.settle(self.table, self.opening, TRUTH, hold=admission.entry, now=START)

    async def try_once(self, update: Update) -> None:
        """Make a write once. It must fail, and may be carried out late."""
        with pytest.raises(MeterUnavailable):
            await self.table.update(update, max_attempts=1)

    async def recover(self) -> str | None:
        """Recover the request, as the sweeper does."""
        return await settlements.recover(self.table, KEY_ID, self.request_id, now=START)

    async def record(self) -> bool:
        """Replay the request's settlement."""
        return await settlements.replay(self.table, self.opening, TRUTH, now=START)

    async def item(self) -> Item:
        """Return the ledger item."""
        item = await self.table.get(ledger_key(self.request_id))
        assert item is not None
        return item

    async def booked(self) -> tuple[int, int, int, int, int]:
        """Return the account's totals and the number of requests in flight.

        The totals are requests, prompt tokens, completion tokens and cost.
        """
        item = await self.table.get(account_key(KEY_ID))
        assert item is not None
        account = accounts.Account.of(item)
        totals = (account.requests, account.prompt_tokens, account.completion_tokens, account.cost)
        day = windows_of(START)[2]
        if not account.in_flight:
            assert (
                UNLIMITED - account.remaining(day)
                == account.prompt_tokens + account.completion_tokens
            )
        return (*totals, len(account.in_flight))


def correction(booked: Spend) -> Correction:
    """Return a correction of `booked` to the true settlement."""
    return Correction(booked, PRICES, msgspec.structs.asdict(TRUTH))
