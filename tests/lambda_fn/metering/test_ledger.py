"""Checkpoints and cancellations of a ledger item."""

import pytest

from lambda_fn.aws.dynamodb import ConditionFailed
from lambda_fn.metering import accounts, ledger, settlements
from tests.support.function import KEY, KEY_ID
from tests.support.one_request import START, TRUTH, Case


async def test_a_checkpoint_without_prompt_tokens_is_one(case: Case) -> None:
    """A checkpoint without prompt tokens books the completion tokens.

    That happens with fail-open metering and a backend that counts the prompt only at its end.
    """
    await case.table.put(accounts.new_account(KEY, name="n", now=1))
    await case.table.put(ledger.opening_item(case.opening))
    await case.table.update(
        ledger.checkpoint(case.request_id, prompt_tokens=0, completion_tokens=4, now=START)
    )
    assert await case.recover() == "settled"
    assert await case.booked() == (1, 0, 4, 400, 0)


async def test_a_settled_request_is_watched_until_that_is_ended(case: Case) -> None:
    """A settlement may leave its item in the index of the sweeper, who takes it out."""
    admission = await case.begin()
    assert admission.entry is not None
    watched = {name: (await case.item())[name] for name in ("open", "due")}
    with pytest.raises(ConditionFailed):  # it is OPEN
        await case.table.update(ledger.unwatch(case.request_id))
    await settlements.settle(
        case.table, case.opening, TRUTH, hold=admission.entry, now=START, watched=True
    )
    item = await case.item()
    assert item["state"] == "SETTLED"
    assert watched.items() <= item.items()
    for _ in range(2):
        await case.table.update(ledger.unwatch(case.request_id))
        assert not watched.keys() & (await case.item()).keys()


async def test_the_end_of_what_runs_is_asked_for(case: Case) -> None:
    """Only the request's own key can cancel it, and only until it is settled."""
    admission = await case.begin()
    with pytest.raises(ConditionFailed):
        await case.table.update(ledger.cancel(case.request_id, key_id="a" * 12, now=START))
    assert await settlements.cancel_all(case.table, "a" * 12, now=START) == []
    assert await settlements.cancel_all(case.table, KEY_ID, now=START) == [case.request_id]
    assert await settlements.cancel_all(case.table, KEY_ID, now=START + 1) == [case.request_id]
    assert (await case.item())["cancel"] == START
    await case.close(admission)
    assert "cancel" not in await case.item()
    with pytest.raises(ConditionFailed):
        await case.table.update(ledger.cancel(case.request_id, key_id=KEY_ID, now=START))
    assert await settlements.cancel_all(case.table, KEY_ID, now=START) == []
