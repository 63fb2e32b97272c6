"""Tickets: each is spent once, in time, whoever asks first."""

import asyncio

import pytest

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.stream_log.keys import UnknownVersion
from lambda_fn.stream_log.tickets import PREFIX, SECONDS, make_ticket, spend_ticket
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground

CALLER = Caller(key_id="key", key_hash="hash", address="192.0.2.1")


async def test_a_ticket_is_spent_once(ground: Ground) -> None:
    """A ticket stands for the key and the hash that asked for it. It does so once."""
    ticket, expires = await make_ticket(ground.table, CALLER, now=NOW)
    assert ticket.startswith(PREFIX)
    assert expires == NOW + SECONDS
    [item] = ground.items()
    assert ticket not in str(item)
    found = await spend_ticket(ground.table, ticket, address="192.0.2.9", now=NOW + SECONDS - 1)
    assert found == Caller(key_id="key", key_hash="hash", address="192.0.2.9")
    assert ground.items() == []
    assert await spend_ticket(ground.table, ticket, address="", now=NOW) is None


async def test_of_two_at_once_one_has_it(ground: Ground) -> None:
    """Two sockets with the same ticket at once: one is opened."""
    ticket, _ = await make_ticket(ground.table, CALLER, now=NOW)
    found = await asyncio.gather(
        *(spend_ticket(ground.table, ticket, address="", now=NOW) for _ in range(5))
    )
    assert sum(one is not None for one in found) == 1


async def test_a_ticket_whose_time_is_over(ground: Ground) -> None:
    """A ticket is worth nothing after its time, although DynamoDB deletes it days later."""
    ticket, expires = await make_ticket(ground.table, CALLER, now=NOW)
    assert await spend_ticket(ground.table, ticket, address="", now=expires) is None


@pytest.mark.parametrize("ticket", ["", "wst_", "wst_unknown", "sk-other", "wst_" + "x" * 1000])
async def test_what_is_no_ticket(ground: Ground, ticket: str) -> None:
    """A text that is no ticket opens nothing."""
    assert await spend_ticket(ground.table, ticket, address="", now=NOW) is None


async def test_a_ticket_of_a_later_deployment(ground: Ground) -> None:
    """A ticket that this code cannot read is not spent."""
    ticket, _ = await make_ticket(ground.table, CALLER, now=NOW)
    [item] = ground.items()
    await ground.table.put({**item, "v": 99})
    with pytest.raises(UnknownVersion):
        await spend_ticket(ground.table, ticket, address="", now=NOW)


async def test_a_ticket_is_never_spent_twice_by_a_lost_answer(ground: Ground) -> None:
    """The answer to the delete is lost: the repeated call finds nothing, and nobody has it."""
    ticket, _ = await make_ticket(ground.table, CALLER, now=NOW)
    ground.fates[:] = [Fate.WELL, Fate.UNANSWERED]
    assert await spend_ticket(ground.table, ticket, address="", now=NOW) is None
    other, _ = await make_ticket(ground.table, CALLER, now=NOW)
    ground.fates[:] = [Fate.WELL, *[Fate.LOST] * 20]
    with pytest.raises(MeterUnavailable):
        await spend_ticket(ground.table, other, address="", now=NOW)
