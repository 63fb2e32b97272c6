"""The model is asked before a response is opened in StreamTable. Nothing is sent before it is."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.http.client import Client
from lambda_fn.stream import keeping
from lambda_fn.stream_log import results, table_log
from lambda_fn.stream_log.heads import cancel_head, end_segment, open_head
from tests.support.function import CREDENTIALS, Call, Reply, StandIn
from tests.support.replies import STREAM, ledger_item

pytestmark = pytest.mark.usefixtures("account")
DURABLE_ALONE = {"sluice": {"durable": True}}
DURABLE = {**STREAM, **DURABLE_ALONE}
KEYED = {"idempotency-key": "k-1"}
RESPONSE = {"model": "m", "input": "Hi", "stream": True}


@pytest.fixture
def logging(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return an application that logs what asks for it."""
    return make_call(stream_table=streams.name)


@pytest.fixture
def log_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


class Opening:
    """The write of a head. It `began`, and waits until it `may` be done or `fails`."""

    def __init__(self) -> None:
        """Begin before it."""
        self.began, self.may = asyncio.Event(), asyncio.Event()
        self.fails = False

    async def open(self, *args: Any, **more: Any) -> None:
        """Write a head in place of `open_head`."""
        self.began.set()
        await self.may.wait()
        if self.fails:
            raise MeterUnavailable("down")
        await open_head(*args, **more)


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Opening:
    """Return what writes the heads."""
    opening = Opening()
    for module in (table_log, results):
        monkeypatch.setattr(module, "open_head", opening.open)
    return opening


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", DURABLE),
        ("/v1/chat/completions", {**STREAM, "store": True}),
        ("/v1/responses", RESPONSE),
        ("/v1/responses", {**RESPONSE, "stream": False}),
        ("/v1/responses", {**RESPONSE, **DURABLE_ALONE}),
        ("/v1/completions", {"model": "m", "prompt": "Hi", "echo": True, **DURABLE_ALONE}),
    ],
)
async def test_the_model_is_asked_while_the_head_is_written(
    logging: Call, sagemaker: StandIn, items: Any, opening: Opening, path: str, body: Any
) -> None:
    """The whole answer may come meanwhile. Nothing is sent before the head is written."""
    reply = Reply()
    running = asyncio.ensure_future(logging(path=path, body=body, reply=reply))
    await opening.began.wait()
    await asyncio.wait_for(sagemaker.asked.wait(), 30)
    await asyncio.wait_for(sagemaker.closed.wait(), 30)
    assert (reply.status, reply.chunks) == (0, [])
    opening.may.set()
    await running
    assert (reply.status, reply.whole) == (200, True)
    assert "x-sluice-log" not in reply.headers
    assert ledger_item(items, reply)["outcome"] == "complete"


@pytest.mark.parametrize(
    ("path", "body", "more"),
    [
        ("/v1/chat/completions", DURABLE, KEYED),
        ("/v1/chat/completions", DURABLE, {"x-stainless-retry-count": "1"}),
        ("/v1/chat/completions", {**STREAM, "sluice": {"durable": True, "cache": 60}}, {}),
        ("/v1/responses", {**RESPONSE, "background": True}, {}),
    ],
)
async def test_the_model_is_asked_after_the_head(
    logging: Call, sagemaker: StandIn, opening: Opening, path: str, body: Any, more: Any
) -> None:
    """So it is if another response may be the request's own, or if it may wait for capacity."""
    running = asyncio.ensure_future(logging(path=path, body=body, more=more))
    await opening.began.wait()
    for _ in range(20):
        await asyncio.sleep(0.001)
    assert sagemaker.bodies == []
    opening.may.set()
    assert (await running).status == 200
    assert len(sagemaker.bodies) == 1


async def test_a_durable_response_that_cannot_be_opened(
    logging: Call, sagemaker: StandIn, items: Any, opening: Opening
) -> None:
    """Its run is cancelled, and costs nothing. The model is not asked again until one is opened."""
    sagemaker.script = [sagemaker.closed]  # it is still at work
    opening.fails = True
    running = asyncio.ensure_future(logging(body=DURABLE))
    await asyncio.wait_for(sagemaker.asked.wait(), 30)
    opening.may.set()
    reply = await running
    assert (reply.status, reply.error["code"]) == (503, "log_unavailable")
    assert "billed" in reply.error["message"]
    item = ledger_item(items, reply)
    assert (item["outcome"], item["cost"], item["prompt_tokens"]) == ("refused", 0, 0)
    assert sagemaker.cancelled == [sagemaker.bodies[0]["sluice"]["request_id"]]
    sagemaker.closed.set()
    assert (await logging(body=DURABLE)).status == 503
    assert len(sagemaker.bodies) == 1
    opening.fails, sagemaker.script = False, ()
    for times in (2, 3):
        await logging(body=DURABLE)
        assert len(sagemaker.bodies) == times


async def test_a_client_that_leaves_while_the_head_is_written(
    logging: Call, sagemaker: StandIn, opening: Opening
) -> None:
    """The call of the model is closed."""
    held = asyncio.Event()
    sagemaker.script = [held]
    running = asyncio.ensure_future(logging(body=DURABLE))
    await opening.began.wait()
    await asyncio.wait_for(sagemaker.asked.wait(), 30)
    running.cancel()
    await asyncio.wait([running])
    await asyncio.wait_for(sagemaker.closed.wait(), 30)
    held.set()


async def test_a_model_that_refuses_while_the_head_is_written(
    make_call: Callable[..., Call], sagemaker: StandIn, streams: Any, opening: Opening
) -> None:
    """The client gets the model's error, and its head has the same."""
    sagemaker.busy.add("endpoint-1")
    running = asyncio.ensure_future(make_call(stream_table=streams.name)(body=DURABLE))
    await asyncio.wait_for(sagemaker.asked.wait(), 30)
    opening.may.set()
    reply = await running
    assert reply.status == 429
    [head] = [it for it in streams.scan()["Items"] if it["sk"] == "HEAD"]
    assert head["status"] == "failed"


@pytest.mark.parametrize(("more", "asked"), [({}, 1), (KEYED, 0)])
async def test_a_response_that_is_cancelled_before_its_producer_begins(
    logging: Call,
    log_table: Table,
    items: Any,
    streams: Any,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    more: Any,
    asked: int,
) -> None:
    """It ends as cancelled, and no token of it is billed. A model that was not asked is not."""
    monkeypatch.setattr(limits, "LOG_WATCH", 0.01)
    sagemaker.script = [sagemaker.closed]
    told, is_over, name = asyncio.Event(), table_log.TableLog._is_over, keeping.name

    def noted(*args: Any) -> bool:
        told.set()
        return is_over(*args)

    async def cancel(*args: Any) -> None:
        await name(*args)
        [found] = [it["pk"][2:] for it in streams.scan()["Items"] if it["sk"] == "HEAD"]
        head = await cancel_head(log_table, found, now=time.time())
        assert head is not None
        await end_segment(log_table, head)
        await told.wait()

    monkeypatch.setattr(table_log.TableLog, "_is_over", noted)
    monkeypatch.setattr(keeping, "name", cancel)
    reply = await logging(body=DURABLE, more=more)
    assert (reply.status, reply.error["code"]) == (499, "cancelled")
    assert (len(sagemaker.bodies), len(sagemaker.cancelled)) == (asked, asked)
    item = ledger_item(items, reply)
    assert (item["outcome"], item.get("completion_tokens", 0)) == ("cancelled", 0)
    sagemaker.closed.set()
