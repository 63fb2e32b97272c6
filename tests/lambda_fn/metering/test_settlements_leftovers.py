"""What a function can leave behind, each case made step by step: how it is repaired, and that it is booked once."""

import asyncio
import time

import msgspec
import pytest

from lambda_fn import ids, limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Update
from lambda_fn.errors import InsufficientQuota, Unavailable
from lambda_fn.metering import accounts, ledger, reservations, settlements
from lambda_fn.metering.accounts import Correction, Entry, Spend
from lambda_fn.metering.ledger import Opening, Prices, Settlement
from lambda_fn.metering.windows import UNLIMITED, windows_of
from lambda_fn.stream.admit import Admission, Gate
from tests.lambda_fn.metering.test_settlements import CALLER, KEY, KEY_ID, START
from tests.support.network import Fate, Network, create_table

PRICES = Prices(10, 100)
TRUTH = Settlement("complete", 3, 5, "stop", 12, 40)
COST = 530


class Case:
    """One key, one request."""

    def __init__(self) -> None:
        """Make the table."""
        self.fates: list[Fate] = []
        self.network = Network(lambda _: self.fates.pop(0) if self.fates else Fate.WELL)
        self.table = self.network.table("leftovers")
        create_table("leftovers")
        self.opening = Opening(ids.new_request_id(START), KEY_ID, "m", 100, 5000, PRICES)
        self.request_id = self.opening.request_id

    async def begin(self, *fates: Fate) -> Admission:
        """Admit the request: the first fate is that of the account's write, the second of the ledger's."""
        await self.table.put(accounts.new_account(KEY, name="n", now=1))
        return await self.admit(*fates)

    async def admit(self, *fates: Fate) -> Admission:
        """Admit the request in an environment that knows the key."""
        gate = Gate(self.table)
        await gate.authenticate(CALLER)
        self.fates = list(fates)
        return await gate.admit(CALLER, self.opening)

    async def close(self, admission: Admission) -> None:
        """Settle and release it."""
        assert admission.entry is not None
        await settlements.close(self.table, self.opening, TRUTH, entry=admission.entry, now=START)

    async def try_once(self, update: Update) -> None:
        """Make a write that nobody hears of again."""
        with pytest.raises(MeterUnavailable):
            await self.table.update(update, tries=1)

    async def recover(self) -> str | None:
        """Let the sweeper look at it."""
        return await settlements.recover(self.table, KEY_ID, self.request_id, now=START)

    async def record(self) -> bool:
        """Replay its settlement."""
        return await settlements.record(self.table, self.opening, TRUTH, now=START)

    async def item(self) -> Item:
        """Give the ledger item."""
        item = await self.table.get(ledger.ledger_key(self.request_id))
        assert item is not None
        return item

    async def booked(self) -> tuple[int, int, int, int, int]:
        """Give the account's totals, and how many requests are in flight."""
        item = await self.table.get(accounts.account_key(KEY_ID))
        assert item is not None
        account = accounts.Account.of(item)
        totals = (account.requests, account.prompt_tokens, account.completion_tokens, account.cost)
        day = windows_of(START)[2]
        if not account.in_flight:
            assert UNLIMITED - account.left(day) == account.prompt_tokens + account.completion_tokens
        return (*totals, len(account.in_flight))


ONCE = (1, 3, 5, COST, 0)
NEVER = (0, 0, 0, 0, 0)


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    """Give a case, at a time that stands still."""
    monkeypatch.setattr(time, "time", lambda: START)
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    return Case()


async def test_a_late_reservation_is_not_booked_again(case: Case) -> None:
    """A try of the reservation that is carried out when all is over is taken out of flight, and books nothing."""
    await case.close(await case.begin(Fate.LATE))
    case.network.deliver(0)
    assert await case.booked() == (1, 3, 5, COST, 1)
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE
    assert await case.recover() is None


async def test_a_late_reservation_of_a_refused_request(case: Case) -> None:
    """The same of a request that was refused meanwhile."""
    await case.table.put(accounts.new_account(KEY, name="n", now=1, most=accounts.Limits(tokens_day=50)))
    with pytest.raises(InsufficientQuota):
        await case.admit(Fate.LATE)
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    case.network.deliver(0)
    assert await case.recover() == "dropped"
    assert await case.booked() == NEVER
    assert (await case.item())["outcome"] == "refused"


async def test_killed_before_anything_was_settled(case: Case) -> None:
    """A: OPEN and in flight. It is settled from its last checkpoint, however late an earlier one arrives."""
    await case.begin()
    case.fates = [Fate.LATE]
    for number, tokens in ((1, 2), (2, 4)):
        noted = ledger.checkpoint(case.request_id, prompt_tokens=3, completion_tokens=tokens, now=START + number)
        if number == 1:
            await case.try_once(noted)
        else:
            await case.table.update(noted)
    case.network.deliver(0)
    assert await case.recover() == "settled"
    item = await case.item()
    assert (item["outcome"], item["completion_tokens"], item["recovered"]) == ("cut", 4, True)
    assert await case.booked() == (1, 3, 4, 430, 0)


async def test_killed_within_admission(case: Case) -> None:
    """B: OPEN and never in flight. It is settled as refused, and a late reservation does not change that."""
    with pytest.raises(Unavailable):
        await case.begin(Fate.LATE, Fate.WELL, *[Fate.LOST] * 9)
    case.fates = []
    assert await case.recover() == "refused"
    case.network.deliver(0)
    assert await case.recover() == "dropped"
    assert await case.booked() == NEVER


async def test_a_refusal_that_could_not_be_closed(case: Case) -> None:
    """A request that was never in flight is settled as refused; when the truth comes after all, it counts."""
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    await case.table.put(ledger.opening_item(case.opening))
    assert await case.recover() == "refused"
    item = await case.item()
    assert (item["key"], item["outcome"], item["recovered"]) == (KEY_ID, "refused", True)
    assert await case.record()
    assert await case.booked() == ONCE
    item = await case.item()
    assert (item["key"], item["outcome"], "recovered" in item) == (KEY_ID, "complete", False)


async def test_a_ledger_that_does_not_answer(case: Case) -> None:
    """A reservation whose ledger item could not be opened is given back at once: it holds no stream and no budget."""
    with pytest.raises(Unavailable):
        await case.begin(Fate.WELL, *[Fate.LOST] * limits.META_MAX_ATTEMPTS)
    assert await case.booked() == NEVER


async def test_killed_between_settlement_and_release(case: Case) -> None:
    """C: SETTLED and in flight. It is released with the ledger's counts, once."""
    admission = await case.begin()
    assert admission.entry is not None
    settle = ledger.settle(case.request_id, TRUTH, prices=PRICES, entry=admission.entry.number, now=START)
    await case.table.update(settle)
    assert await case.recover() == "released"
    await case.close(admission)
    assert await case.booked() == ONCE


async def test_in_flight_without_a_ledger_item(case: Case) -> None:
    """D: never begun. The ledger gets an item with nothing spent, and one that arrives late is not put over it."""
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    reservation = reservations.Reservation(case.request_id, 100, 5000, "m")
    await case.table.update(reservations.reserve(KEY_ID, CALLER.key_hash, reservation, now=int(START)))
    assert await case.recover() == "found"
    item = await case.item()
    assert (item["state"], item["outcome"], item["recovered"], item["cost"]) == ("SETTLED", "failed", True, 0)
    assert await case.booked() == (1, 0, 0, 0, 0)
    # and when the truth comes after all, it counts
    assert await case.record()
    assert await case.booked() == ONCE
    assert (await case.item())["cost"] == COST


async def test_the_truth_after_the_sweeper(case: Case) -> None:
    """A settlement that is replayed after the sweeper replaces what was recovered, once; the next replay finds it."""
    admission = await case.begin()
    assert await case.recover() == "settled"
    assert await case.booked() == (1, 0, 0, 0, 0)
    assert await case.record()
    assert not await case.record()
    assert await case.booked() == ONCE
    item = await case.item()
    assert (item["outcome"], item["completion_tokens"], "recovered" in item) == ("complete", 5, False)
    await case.close(admission)
    assert await case.booked() == ONCE


async def test_a_function_that_wakes_after_the_sweeper(case: Case) -> None:
    """A function that was taken for lost, and settles after all, corrects what was recovered."""
    admission = await case.begin()
    assert await case.recover() == "settled"
    await case.close(admission)
    assert await case.booked() == ONCE


async def test_two_replays_at_once(case: Case) -> None:
    """A replay that stalled before its first write, while another did everything, changes nothing when it goes on."""
    await case.begin()
    await case.recover()
    stalled = correction(Spend(1, 0, 0, 0))
    assert await case.record()
    await case.table.update(reservations.enter(KEY_ID, case.request_id, model="m", now=START, correction=stalled))
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE


async def test_a_replay_that_is_killed(case: Case) -> None:
    """A correction that stopped after its first write is finished by whoever comes by."""
    await case.begin()
    await case.recover()
    begun = correction(Spend(1, 0, 0, 0))
    await case.table.update(reservations.enter(KEY_ID, case.request_id, model="m", now=START, correction=begun))
    assert await case.recover() == "corrected"
    assert await case.booked() == ONCE
    assert not await case.record()


async def test_served_while_the_meter_was_open(case: Case) -> None:
    """A request of which nothing was written is recorded whole; the sweeper, from a checkpoint alone, too."""
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    assert await case.record()
    assert await case.booked() == ONCE
    other = Case()
    await other.table.put(accounts.new_account(KEY, name="n", now=1))
    await other.table.put(ledger.opening_item(other.opening))
    await other.table.update(ledger.checkpoint(other.request_id, prompt_tokens=3, completion_tokens=4, now=START))
    assert await other.recover() == "settled"
    assert await other.booked() == (1, 3, 4, 430, 0)


@pytest.mark.parametrize("corrects", [False, True])
async def test_a_late_try_of_a_replay_is_not_booked_again(case: Case, corrects: bool) -> None:
    """A try of noting a replayed request as in flight, carried out when all is over, books nothing."""
    if corrects:  # the sweeper took it for lost first
        await case.begin()
        assert await case.recover() == "settled"
        case.fates = [Fate.WELL, Fate.WELL, Fate.LATE]
    else:  # it was served while the meter was open
        await case.table.put(accounts.new_account(KEY, name="n", now=1))
        case.fates = [Fate.WELL] * 5 + [Fate.LATE]
    assert await case.record()
    assert len(case.network.late) == 1
    assert await case.booked() == ONCE
    case.network.deliver(0)
    assert await case.booked() == (*ONCE[:4], 1)
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE


async def test_a_checkpoint_without_prompt_tokens_is_one(case: Case) -> None:
    """A request served while the meter was open by a server that tells its prompt's tokens at the end only is booked
    with what it generated.
    """
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    await case.table.put(ledger.opening_item(case.opening))
    await case.table.update(ledger.checkpoint(case.request_id, prompt_tokens=0, completion_tokens=4, now=START))
    assert await case.recover() == "settled"
    assert await case.booked() == (1, 0, 4, 400, 0)


async def test_nothing_is_given_back_to_windows_that_ended(case: Case) -> None:
    """A release of the next day changes what is left of the month, and not what was left of the day before."""
    admission = await case.begin()
    assert admission.entry is not None
    tomorrow = START + 3600
    await settlements.close(case.table, case.opening, TRUTH, entry=admission.entry, now=tomorrow)
    item = await case.table.get(accounts.account_key(KEY_ID))
    assert item is not None
    account = accounts.Account.of(item)
    left = {window.limit: UNLIMITED - account.left(window) for window in windows_of(START)}
    assert (left["tokens_day"], left["tokens_month"], left["cost_month"]) == (100, 8, COST)


async def test_stale_windows_are_removed(case: Case) -> None:
    """Windows that ended long ago go with the next release, and those that run stay."""
    await case.close(await case.begin())
    later = msgspec.structs.replace(case.opening, request_id=ids.new_request_id(START + 90_000))
    case.opening, case.request_id = later, later.request_id
    admission = await Gate(case.table).admit(CALLER, later)
    assert admission.account is not None
    old = set(admission.account.balance) - {window.name for window in windows_of(START + 90_000)}
    assert len(old) == 4
    entry = admission.entry
    assert entry is not None
    release = reservations.release(KEY_ID, later.request_id, entry, None, now=START + 90_000, stale=sorted(old))
    item = await case.table.update(release, returns=True)
    assert set(item["balance"]) == {window.name for window in windows_of(START + 90_000)}


def test_a_release_is_never_too_long(case: Case) -> None:
    """However many windows are stale, a release stays within DynamoDB's 4 kB and leaves the rest to the next one."""
    minutes = [window.name for minute in range(150) for window in windows_of(START - 60 * minute)[:2]]
    spend = Spend(1, 10**9, 10**9, 10**15)
    release = reservations.release(
        KEY_ID, case.request_id, Entry(1, 9, 9, "", "m"), spend, now=START, stale=sorted(minutes)
    )
    assert len(release.update) < 2000
    assert min(minutes) in release.names.values()


def correction(booked: Spend) -> Correction:
    """Make a correction to the truth."""
    return Correction(booked, (PRICES.prompt, PRICES.completion), msgspec.structs.asdict(TRUTH))


async def test_the_end_of_what_runs_is_asked_for(case: Case) -> None:
    """What a key has in flight can be marked for its end, by nobody but that key, and only until it is settled."""
    admission = await case.begin()
    with pytest.raises(ConditionFailed):
        await case.table.update(ledger.cancel(case.request_id, key_id="a" * 12, now=START))
    assert await settlements.cancel(case.table, "a" * 12, now=START) == []
    assert await settlements.cancel(case.table, KEY_ID, now=START) == [case.request_id]
    assert await settlements.cancel(case.table, KEY_ID, now=START + 1) == [case.request_id]
    assert (await case.item())["cancel"] == START
    await case.close(admission)
    assert "cancel" not in await case.item()
    with pytest.raises(ConditionFailed):
        await case.table.update(ledger.cancel(case.request_id, key_id=KEY_ID, now=START))
    assert await settlements.cancel(case.table, KEY_ID, now=START) == []


async def test_the_end_of_what_is_being_admitted_is_asked_for(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that is in flight, and whose ledger item comes a moment later, is marked too; one without is left."""
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    reservation = reservations.Reservation(case.request_id, 100, 5000, "m")
    await case.table.update(reservations.reserve(KEY_ID, CALLER.key_hash, reservation, now=int(START)))
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:  # the last look of the second call
            await case.table.put(ledger.opening_item(case.opening))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await settlements.cancel(case.table, KEY_ID, now=START) == []
    assert await settlements.cancel(case.table, KEY_ID, now=START) == [case.request_id]


def test_an_entry_reads_as_it_was_written() -> None:
    """An entry is short text, and is read back the same, with and without a correction."""
    plain = Entry(1, 100, 5000, "f" * 16, "m")
    assert plain.text == '[1,100,5000,"ffffffffffffffff","m"]'
    for entry in (plain, Entry(7, 0, 0, "", "m", correction(Spend(1, 2, 3, 4)))):
        assert Entry.read(entry.text) == entry
