"""A running response is cancelled by the key that owns it."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.aws.dynamodb import MeterUnavailable, Table, Update
from lambda_fn.ids import new_key_id, new_request_id
from lambda_fn.metering import ledger
from lambda_fn.metering.keys import ledger_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.settings import Model
from lambda_fn.stream_log import places
from lambda_fn.stream_log.heads import StoredHead, read_head
from lambda_fn.stream_log.keys import head_key
from lambda_fn.stream_log.queued import claim, start
from lambda_fn.stream_log.reading import read_all
from tests.support.function import KEY_ID, Call, StandIn
from tests.support.kept import Kept, events

PRICES = Prices(0, 0)


def path(name: str) -> str:
    """Return the path that cancels a response."""
    return f"/v1/sluice/streams/{name}/cancel"


def opened(request_id: str, key_id: str = KEY_ID) -> dict[str, Any]:
    """Return the ledger item of a request that runs."""
    opening = Opening(request_id, key_id, "m", 10, 0, PRICES)
    return ledger.opening_item(opening)


async def test_the_head_decides_and_the_container_is_told(
    recall: Call, kept: Kept, sagemaker: StandIn
) -> None:
    """The state is final at once, the container's sequence is freed, and the log has its end."""
    stored = await kept.begin()
    await kept.flush(stored, 0, events("Hello"))
    reply = json.loads((await recall("POST", path(stored.response_id))).body)
    assert (reply["status"], reply["error"]["code"]) == ("cancelled", "cancelled")
    assert sagemaker.cancelled == [stored.response_id]
    head = await read_head(kept.table, stored.response_id, now=stored.created)
    assert head is not None
    segments = await read_all(kept.table, head)
    assert [it.is_end for it in segments] == [False, True]
    # To follow it ends with the error, and never as if the model had stopped.
    body = (await recall("GET", f"/v1/sluice/streams/{stored.response_id}")).body
    assert b'"code":"cancelled"' in body
    assert b"stop" not in body


async def test_cancelling_twice_changes_nothing(recall: Call, kept: Kept) -> None:
    """The second answer is the first one."""
    stored = await kept.begin()
    first, second = [await recall("POST", path(stored.response_id)) for _ in "12"]
    assert (first.status, first.body) == (200, second.body)


async def test_its_usage_becomes_what_is_billed(recall: Call, kept: Kept, table: Table) -> None:
    """The head has none of the last tokens. Its producer settles them after the cancel."""
    stored = await kept.begin()
    await table.put(opened(stored.response_id))
    renewed = Update(
        head_key(stored.response_id),
        update="SET prompt_tokens = :p, completion_tokens = :c",
        condition="attribute_exists(pk)",
        names={},
        values={":p": 4, ":c": 1},
    )
    await kept.table.update(renewed)
    await recall("POST", path(stored.response_id))

    async def usage() -> dict[str, int]:
        reply = await recall("GET", f"/v1/sluice/streams/{stored.response_id}?wait=0")
        return dict(json.loads(reply.body)["usage"])

    assert (await usage())["total_tokens"] == 0
    settled = {"state": "SETTLED", "prompt_tokens": 4, "completion_tokens": 2}
    await table.put(opened(stored.response_id) | settled)
    assert await usage() == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


async def test_what_has_ended_stays_as_it_is(recall: Call, kept: Kept, sagemaker: StandIn) -> None:
    """The answer is the state, and the container is not called."""
    stored = await kept.whole()
    reply = await recall("POST", path(f"chatcmpl-{stored.response_id}"))
    assert (reply.status, json.loads(reply.body)["status"]) == (200, "completed")
    assert sagemaker.cancelled == []


async def test_many_cancellers_and_the_end_have_one_outcome(recall: Call, kept: Kept) -> None:
    """Whoever wins the head decides, and each caller is told the same."""
    stored = await kept.begin()
    replies = await asyncio.gather(*(recall("POST", path(stored.response_id)) for _ in range(4)))
    assert {json.loads(it.body)["status"] for it in replies} == {"cancelled"}
    head = await read_head(kept.table, stored.response_id, now=stored.created)
    assert head is not None
    assert [it.is_end for it in await read_all(kept.table, head)] == [True]


async def test_an_unlogged_request_gets_the_flag_of_its_ledger_item(
    recall: Call, table: Table, items: Any, sagemaker: StandIn
) -> None:
    """Its producer sees that with its next checkpoint, and our container at once."""
    name = new_request_id()
    await table.put(opened(name))
    reply = json.loads((await recall("POST", path(name))).body)
    assert (reply["status"], reply["logged"], reply["model"]) == ("cancelling", False, "m")
    assert "cancel" in items.get_item(Key=ledger_key(name))["Item"]
    assert sagemaker.cancelled == [name]
    flag = items.get_item(Key=ledger_key(name))["Item"]["cancel"]
    assert (await recall("POST", path(name))).status == 200
    assert items.get_item(Key=ledger_key(name))["Item"]["cancel"] == flag


async def test_a_foreign_server_has_no_cancel_of_its_own(
    make_recall: Callable[..., Call], account: Any, table: Table, items: Any, sagemaker: StandIn
) -> None:
    """Its producer closes the connection when it sees the flag."""
    models = {"m": Model(endpoint="endpoint-1", context_tokens=100, dialect="vllm")}
    name = new_request_id()
    await table.put(opened(name))
    assert (await make_recall(models=models)("POST", path(name))).status == 200
    assert "cancel" in items.get_item(Key=ledger_key(name))["Item"]
    assert sagemaker.cancelled == []


async def test_another_keys_request_cannot_be_cancelled(
    recall: Call, table: Table, items: Any, kept: Kept, sagemaker: StandIn
) -> None:
    """Neither a logged one nor one without a log. Nothing of it changes."""
    theirs = new_request_id()
    await table.put(opened(theirs, new_key_id()))
    stored = await kept.begin(owner=new_key_id())
    for name in (theirs, stored.response_id):
        assert (await recall("POST", path(name))).status == 404
    assert "cancel" not in items.get_item(Key=ledger_key(theirs))["Item"]
    assert sagemaker.cancelled == []


@pytest.mark.parametrize(("outcome", "status"), [("complete", "completed"), ("cut", "failed")])
async def test_an_unlogged_request_that_has_ended(
    recall: Call, table: Table, outcome: Any, status: str
) -> None:
    """Its ledger item says how."""
    name = new_request_id()
    settled = ledger.Settlement(outcome, 4, 2, "stop", 1, 2)
    item = opened(name)
    item |= {"state": "SETTLED", "settled": 5, "outcome": settled.outcome, "completion_tokens": 2}
    await table.put(item)
    reply = json.loads((await recall("POST", path(name))).body)
    assert (reply["status"], reply["usage"]["completion_tokens"]) == (status, 2)


async def test_a_cancel_whose_answer_was_lost_is_finished_by_the_next(
    recall: Call, kept: Kept, sagemaker: StandIn
) -> None:
    """The container is called once more, because nobody knows whether it was."""
    stored = await kept.begin()
    await recall("POST", path(stored.response_id))
    await recall("POST", path(stored.response_id))
    assert sagemaker.cancelled == [stored.response_id] * 2


async def test_without_the_meter_nobody_knows(
    recall: Call, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told to try again."""
    name = new_request_id()
    await table.put(opened(name))

    async def down(*_: Any, **__: Any) -> Any:
        raise MeterUnavailable("throttled")

    monkeypatch.setattr(Table, "update", down)
    reply = await recall("POST", path(name))
    assert (reply.status, reply.headers["retry-after"]) == (503, "5")


async def queued(kept: Kept) -> StoredHead:
    """Put a response that waits, with the place of its key."""
    stored = await kept.begin(status="queued", starter="s", until=time.time() + 60, kept="result")
    await places.take(
        kept.table, KEY_ID, stored.response_id, "f", maximum=9, expires=9, now=time.time()
    )
    return stored


async def test_one_that_waits(recall: Call, kept: Kept, sagemaker: StandIn) -> None:
    """It is final at once, no container is called, and its key has the place back."""
    stored = await queued(kept)
    shown = await recall("GET", f"/v1/sluice/streams/{stored.response_id}?wait=0")
    assert json.loads(shown.body)["status"] == "queued"
    kept_on = await recall("DELETE", f"/v1/sluice/streams/{stored.response_id}")
    assert (kept_on.status, kept_on.error["code"]) == (400, "response_in_progress")
    reply = await recall("POST", path(stored.response_id))
    assert json.loads(reply.body)["status"] == "cancelled"
    assert sagemaker.cancelled == []
    assert [it async for it in places.every(kept.table)] == []
    gone = await recall("DELETE", f"/v1/sluice/streams/{stored.response_id}")
    assert gone.status == 200


async def test_one_that_is_run(recall: Call, kept: Kept, sagemaker: StandIn) -> None:
    """The container knows a queued response by the id of its run."""
    stored = await queued(kept)
    started = await start(kept.table, stored, now=time.time())
    assert started is not None
    run = new_request_id()
    assert await claim(kept.table, started, run=run, by="run", now=time.time())
    await recall("POST", path(stored.response_id))
    assert sagemaker.cancelled == [run]
