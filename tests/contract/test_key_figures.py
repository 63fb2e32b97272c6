"""The rules of Contributor Insights find their members in the lines that functions write."""

import json
from typing import Any

import pytest

from infra.constructs.key_figures import COST, TOKENS, definition
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.log import log
from lambda_fn.metering import settlements
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.stream.admit import Admission
from lambda_fn.stream.settle import settle
from lambda_fn.stream.usage_counter import UsageCounter
from local.moto.insight_rules import entries, fault

KEY_ID = "abcdefghijkl"


@pytest.mark.parametrize("saved", [True, False])
@pytest.mark.parametrize(("value", "figure"), [(None, 1), (TOKENS, 7), (COST, 7 * 2000)])
async def test_a_settled_request_is_one_entry_of_its_key(
    saved: bool,
    value: str | None,
    figure: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its line counts for the key's id, also if the settlement is in the log only."""

    async def replay(*_: object, **__: object) -> None:
        if not saved:
            raise MeterUnavailable("down")

    monkeypatch.setattr(settlements, "replay", replay)
    opening = Opening("0" * 26, KEY_ID, "m", 1000, 1000, Prices(1000, 2000), 600.0, True)
    counter = UsageCounter()
    counter.complete, counter.completion_tokens = True, 7
    table: Any = None  # nothing of it is used
    await settle(table, Admission(opening), counter)
    log("unread", key=KEY_ID, cost=5, completion_tokens=5)
    written = capsys.readouterr().out.splitlines()
    rule = json.dumps(definition(["group"], value))
    assert fault(rule) == ""
    [entry] = entries(rule, [(0.0, line) for line in written])
    assert (entry.keys, entry.value) == ((KEY_ID,), figure)
