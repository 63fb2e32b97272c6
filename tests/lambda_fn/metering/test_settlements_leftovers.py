"""Each case of leftovers of a function, step by step.

Each is repaired, and the request is booked once.
"""

import asyncio
from typing import Any

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import ConditionFailed, Update
from lambda_fn.errors import InsufficientQuota, Unavailable
from lambda_fn.metering import accounts, holds, ledger, settlements
from lambda_fn.metering.accounts import Hold, Spend
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.stream.admit import Gate
from tests.support.function import KEY, KEY_ID
from tests.support.network import Answer, Fate, Killed
from tests.support.one_request import CALLER, COST, PRICES, START, TRUTH, Case, correction

ONCE = (1, 3, 5, COST, 0)
NEVER = (0, 0, 0, 0, 0)


async def test_a_late_reservation_is_not_booked_again(case: Case) -> None:
    """A hold that is placed late, after the request ended, is voided and books nothing."""
    await case.close(await case.begin(Fate.LATE))
    case.network.deliver(0)
    assert await case.booked() == (1, 3, 5, COST, 1)
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE
    assert await case.recover() is None


async def test_a_late_reservation_of_a_refused_request(case: Case) -> None:
    """The same holds if the request was rejected meanwhile."""
    await case.table.put(
        accounts.new_account(KEY, name="n", now=1, limits=accounts.Limits(tokens_day=50))
    )
    with pytest.raises(InsufficientQuota):
        await case.admit(Fate.LATE)
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    case.network.deliver(0)
    assert await case.recover() == "dropped"
    assert await case.booked() == NEVER
    assert (await case.item())["outcome"] == "refused"


async def test_killed_before_anything_was_settled(case: Case) -> None:
    """Case A: OPEN and in flight. The request is settled from its last checkpoint.

    An earlier checkpoint may arrive late.
    """
    await case.begin()
    case.fates = [Fate.LATE]
    for number, tokens in ((1, 2), (2, 4)):
        noted = ledger.checkpoint(
            case.request_id, prompt_tokens=3, completion_tokens=tokens, now=START + number
        )
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
    """Case B: OPEN and never in flight. The request is settled as refused.

    A late hold does not change that.
    """
    with pytest.raises(Unavailable):
        await case.begin(Fate.LATE, Fate.WELL, *[Fate.LOST] * 9)
    case.fates = []
    assert await case.recover() == "refused"
    case.network.deliver(0)
    assert await case.recover() == "dropped"
    assert await case.booked() == NEVER


async def test_a_refusal_that_could_not_be_closed(case: Case) -> None:
    """A request that was never in flight is settled as refused.

    If its true settlement arrives later, that one counts.
    """
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    await case.table.put(ledger.opening_item(case.opening))
    assert await case.recover() == "refused"
    item = await case.item()
    assert (item["key"], item["outcome"], item["recovered"]) == (KEY_ID, "refused", True)
    assert await case.record()
    assert await case.booked() == ONCE
    item = await case.item()
    assert (item["key"], item["outcome"], "recovered" in item) == (KEY_ID, "complete", False)


async def test_a_hold_of_a_later_deployment(case: Case) -> None:
    """A hold with an element that this code does not know is claimed and captured, because its
    whole text is kept and compared.
    """
    await case.begin()
    later = '[1,100,5000,"","m",null,false,"new"]'
    await case.table.update(
        Update(
            account_key(KEY_ID),
            "SET in_flight.#request = :later",
            "attribute_exists(pk)",
            {"#request": case.request_id},
            {":later": later},
        )
    )
    assert await case.recover() == "settled"
    assert await case.booked() == (1, 0, 0, 0, 0)


async def test_a_step_that_changes_nothing_is_not_repeated(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When no condition holds and the items stay the same, recovery and replay stop."""
    await case.begin()

    async def fail(*_: object, **__: object) -> None:
        raise ConditionFailed(None)

    monkeypatch.setattr(case.table, "update", fail)
    with pytest.raises(settlements.Stuck, match=case.request_id):
        await case.recover()
    with pytest.raises(settlements.Stuck, match=case.request_id):
        await case.record()


async def test_a_ledger_that_does_not_answer(case: Case) -> None:
    """If the ledger item cannot be opened, the hold is voided at once.

    It takes neither a stream nor budget.
    """
    with pytest.raises(Unavailable):
        await case.begin(Fate.WELL, *[Fate.LOST] * limits.META_MAX_ATTEMPTS)
    assert await case.booked() == NEVER


@pytest.mark.parametrize("ledger_item", [Fate.LOST, Fate.UNANSWERED])
async def test_a_late_void_wherever_the_sweeper_is_killed(case: Case, ledger_item: Fate) -> None:
    """Account and ledger agree if an admission's void is carried out late, in the midst of a sweep.

    The admission did not learn whether its ledger item was put. The sweeper is killed after each of
    its calls in turn.
    """
    for calls in range(20):
        case = Case()  # with an empty table, at the same time
        no_answer = [ledger_item, *[Fate.LOST] * (limits.META_MAX_ATTEMPTS - 1)]
        with pytest.raises(Unavailable):
            await case.begin(Fate.WELL, *no_answer, Fate.LATE)
        case.fates = [*[Fate.WELL] * calls, Fate.KILLED_AFTER]
        try:
            await case.recover()
        except Killed:
            case.network.revive()
        finished = bool(case.fates)
        case.fates = []
        case.network.deliver(0)
        await case.recover()
        item = await case.table.get(ledger_key(case.request_id))
        counted = int(item is not None and item["outcome"] != "refused")
        assert await case.booked() == (counted, 0, 0, 0, 0), calls
        if finished:
            break
    assert finished
    assert counted


async def test_a_function_that_wakes_within_a_sweep(case: Case) -> None:
    """If the sweeper was killed with a claimed hold, a function that wakes settles its request.

    The hold is captured by the next sweep.
    """
    admission = await case.begin()
    assert admission.entry is not None
    await case.table.update(holds.claim(KEY_ID, case.request_id, admission.entry))
    await case.close(admission)
    assert await case.booked() == (0, 0, 0, 0, 1)
    assert await case.recover() == "released"
    assert await case.booked() == ONCE


async def test_an_admission_that_finds_its_hold_claimed(case: Case) -> None:
    """An admission that stalled until the sweeper claimed its hold does not void it."""
    hold = Hold(1, case.opening.reserved, case.opening.reserved_cost, "", "m")
    case.fates = [Fate.LATE]
    await case.try_once(holds.claim(KEY_ID, case.request_id, hold))
    calls = 0

    def claimed_meanwhile(target: str) -> Fate:
        nonlocal calls
        if target.endswith("PutItem"):
            return Fate.LOST
        calls += 1
        if calls == 1:
            return Fate.UNANSWERED
        if calls == 2:  # the second attempt to place the hold
            case.network.deliver(0)
        return Fate.WELL

    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    gate = Gate(case.table)
    await gate.authenticate(CALLER)
    case.network.fate = claimed_meanwhile
    with pytest.raises(Unavailable):
        await gate.admit(CALLER, case.opening)
    assert calls == 2
    case.network.fate = lambda _: Fate.WELL
    assert await case.booked() == (*NEVER[:4], 1)
    assert await case.recover() == "found"
    assert await case.booked() == (1, 0, 0, 0, 0)


async def test_a_late_reservation_for_other_networks(case: Case) -> None:
    """A late attempt to place a hold for networks that were changed and restored books nothing."""
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    gate = Gate(case.table)
    caller = msgspec.structs.replace(CALLER, address="203.0.113.5")
    await gate.authenticate(caller)
    await set_networks(case, "203.0.113.0/24")
    case.fates = [Fate.LATE]
    await case.close(await gate.admit(caller, case.opening))
    assert await case.booked() == ONCE
    await set_networks(case, None)
    case.network.deliver(0)
    assert await case.booked() == (*ONCE[:4], 1)
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE


async def set_networks(case: Case, networks: str | None) -> None:
    """Set or remove the networks of the key."""
    change = "REMOVE networks" if networks is None else "SET networks = :networks"
    values = {} if networks is None else {":networks": networks}
    await case.table.update(
        Update(account_key(KEY_ID), change, "attribute_exists(pk)", values=values)
    )


async def test_killed_between_settlement_and_release(case: Case) -> None:
    """Case C: SETTLED and in flight. The hold is captured once, with the ledger's counts."""
    admission = await case.begin()
    assert admission.entry is not None
    settle = ledger.settle(
        case.request_id, TRUTH, prices=PRICES, attempt=admission.entry.attempt, now=START
    )
    await case.table.update(settle)
    assert await case.recover() == "released"
    await case.close(admission)
    assert await case.booked() == ONCE


async def test_in_flight_without_a_ledger_item(case: Case) -> None:
    """Case D: in flight without a ledger item. The ledger gets an item with nothing spent.

    A late item does not replace it.
    """
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    reservation = holds.HoldRequest(case.request_id, 100, 5000, "m")
    await case.table.update(holds.place(KEY_ID, CALLER.key_hash, reservation, now=int(START)))
    assert await case.recover() == "found"
    item = await case.item()
    assert (item["state"], item["outcome"], item["recovered"], item["cost"]) == (
        "SETTLED",
        "failed",
        True,
        0,
    )
    assert await case.booked() == (1, 0, 0, 0, 0)
    # if the true settlement still arrives, it counts
    assert await case.record()
    assert await case.booked() == ONCE
    assert (await case.item())["cost"] == COST


async def test_the_truth_after_the_sweeper(case: Case) -> None:
    """A settlement that is replayed after the sweeper replaces the recovered one, once.

    A further replay changes nothing.
    """
    admission = await case.begin()
    assert await case.recover() == "settled"
    assert await case.booked() == (1, 0, 0, 0, 0)
    assert await case.record()
    assert not await case.record()
    assert await case.booked() == ONCE
    item = await case.item()
    assert (item["outcome"], item["completion_tokens"], "recovered" in item) == (
        "complete",
        5,
        False,
    )
    await case.close(admission)
    assert await case.booked() == ONCE


async def test_a_function_that_wakes_after_the_sweeper(case: Case) -> None:
    """If a function settles after the sweeper, it corrects the recovered settlement."""
    admission = await case.begin()
    assert await case.recover() == "settled"
    await case.close(admission)
    assert await case.booked() == ONCE


async def test_two_replays_at_once(case: Case) -> None:
    """A replay that stalled before its first write has no effect, once another one has finished."""
    await case.begin()
    await case.recover()
    stalled = correction(Spend(1, 0, 0, 0))
    assert await case.record()
    await case.table.update(
        holds.place_unchecked(KEY_ID, case.request_id, model="m", now=START, correction=stalled)
    )
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE


@pytest.mark.parametrize("recovered", [False, True])
async def test_a_replay_that_stalls_while_the_sweeper_works(case: Case, recovered: bool) -> None:
    """A replay that stalls before any of its calls, until a sweep is over, continues to its end."""
    for calls in range(20):
        case = Case()  # with an empty table, at the same time
        await case.table.put(accounts.new_account(KEY, name="n", now=1))
        await case.table.put(ledger.opening_item(case.opening))
        if recovered:
            await case.recover()
        made, request = 0, case.network.request

        async def stalled(*arguments: Any, **options: Any) -> Answer:
            nonlocal made
            made += 1
            if made == calls + 1:  # noqa: B023 (it is called within this round)
                await case.recover()  # noqa: B023
            return await request(*arguments, **options)  # noqa: B023

        case.network.request = stalled  # type: ignore[method-assign]
        assert await case.record()
        finished = made <= calls
        await case.recover()
        assert await case.booked() == ONCE, calls
        if finished:
            break
    assert finished


async def test_a_replay_that_is_killed(case: Case) -> None:
    """A correction that was killed after its first write is finished by the next process."""
    await case.begin()
    await case.recover()
    update = correction(Spend(1, 0, 0, 0))
    await case.table.update(
        holds.place_unchecked(KEY_ID, case.request_id, model="m", now=START, correction=update)
    )
    assert await case.recover() == "corrected"
    assert await case.booked() == ONCE
    assert not await case.record()


async def test_served_while_the_meter_was_open(case: Case) -> None:
    """With fail-open metering a request may have no write at all. It is replayed whole.

    The sweeper books it from a checkpoint alone, too.
    """
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    assert await case.record()
    assert await case.booked() == ONCE
    other = Case()
    await other.table.put(accounts.new_account(KEY, name="n", now=1))
    await other.table.put(ledger.opening_item(other.opening))
    await other.table.update(
        ledger.checkpoint(other.request_id, prompt_tokens=3, completion_tokens=4, now=START)
    )
    assert await other.recover() == "settled"
    assert await other.booked() == (1, 3, 4, 430, 0)


@pytest.mark.parametrize("corrects", [False, True])
async def test_a_late_try_of_a_replay_is_not_booked_again(case: Case, corrects: bool) -> None:
    """A late attempt to place the hold of a replayed request books nothing."""
    if corrects:  # the sweeper treated it as lost first
        await case.begin()
        assert await case.recover() == "settled"
        case.fates = [Fate.WELL, Fate.WELL, Fate.LATE]
    else:  # it was served with fail-open metering
        await case.table.put(accounts.new_account(KEY, name="n", now=1))
        case.fates = [Fate.WELL] * 5 + [Fate.LATE]
    assert await case.record()
    assert len(case.network.late) == 1
    assert await case.booked() == ONCE
    case.network.deliver(0)
    assert await case.booked() == (*ONCE[:4], 1)
    assert await case.recover() == "dropped"
    assert await case.booked() == ONCE


async def test_the_end_of_what_is_being_admitted_is_asked_for(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request can be cancelled while it is admitted, before its ledger item exists.

    A request without an item is left alone.
    """
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    reservation = holds.HoldRequest(case.request_id, 100, 5000, "m")
    await case.table.update(holds.place(KEY_ID, CALLER.key_hash, reservation, now=int(START)))
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 6:  # the last read of the second call
            await case.table.put(ledger.opening_item(case.opening))

    monkeypatch.setattr(asyncio, "sleep", sleep)
    assert await settlements.cancel_all(case.table, KEY_ID, now=START) == []
    assert await settlements.cancel_all(case.table, KEY_ID, now=START) == [case.request_id]
