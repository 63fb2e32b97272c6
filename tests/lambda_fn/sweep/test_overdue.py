"""The sweeper's queries for overdue requests and accounts."""

from lambda_fn.ids import new_request_id
from lambda_fn.metering.keys import account_key, ledger_key
from lambda_fn.sweep import overdue
from tests.support.ground import LATER, Ground, T, live


async def test_what_is_open_is_found_once_it_is_due(ground: Ground) -> None:
    """An OPEN request and its account are found after `due`, and not once it is settled."""
    request_id = new_request_id(T)
    await live(ground.table, ground, request_id, None)
    assert [key async for key in overdue.requests(ground.table, now=T)] == []
    assert [key async for key in overdue.requests(ground.table, now=LATER)] == [
        ledger_key(request_id)
    ]
    assert [key async for key in overdue.accounts(ground.table, now=LATER)] == [
        account_key(ground.key_id)
    ]
    await live(ground.table, ground, new_request_id(T))
    assert len([key async for key in overdue.requests(ground.table, now=LATER)]) == 1
