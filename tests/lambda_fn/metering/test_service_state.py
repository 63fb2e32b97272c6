"""The switch that stops the service, and the end of what runs."""

import pytest

from lambda_fn import ids
from lambda_fn.metering import ledger, service_state
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening, opening_item
from lambda_fn.metering.money import Prices
from tests.support.ground import Ground

SETTLED = ledger.Settlement("complete", 1, 2, "stop", 1, 2)


@pytest.mark.parametrize("count", [0, 1, 40])
async def test_open_requests_of_all_keys_are_cancelled(ground: Ground, count: int) -> None:
    """Each OPEN request is cancelled once, and a settled one stays as it is."""
    table = ground.table
    requests = [ids.new_request_id() for _ in range(count)]
    for number, request_id in enumerate(requests):
        opening = Opening(request_id, f"key{number}", "m", 10, 30, Prices(1, 1))
        await table.put(opening_item(opening))
    if requests:
        await table.update(
            ledger.settle(requests[0], SETTLED, prices=Prices(1, 1), attempt=None, now=5)
        )
    assert await service_state.cancel_running(table, now=10) == max(0, count - 1)
    for number, request_id in enumerate(requests):
        item = await table.get(ledger_key(request_id))
        assert item is not None
        assert ("cancel" in item) == (number > 0)


async def test_the_switch(ground: Ground) -> None:
    """A stopped service has a reason; one that serves, or was never stopped, has none."""
    assert await service_state.state(ground.table) == {}
    await service_state.stop(ground.table, reason="A test.", now=7)
    state = await service_state.state(ground.table)
    assert (state["stopped"], state["reason"]) == (7, "A test.")
    await service_state.resume(ground.table)
    assert "stopped" not in await service_state.state(ground.table)
