"""The meter over the whole application.

These tests cover limits under concurrency, its cost and delay, and an outage.
"""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from boto3.dynamodb.conditions import Key

from lambda_fn import ids, limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import ConditionFailed, MeterUnavailable, Table, Update
from lambda_fn.aws.signing import Credentials
from lambda_fn.errors import Unavailable
from lambda_fn.http.client import Client
from lambda_fn.metering import accounts, ledger, settlements
from lambda_fn.metering.keys import ALERT_PARTITION, SERVICE_KEY, account_key
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.schema import parse_chat
from lambda_fn.settings import Model
from lambda_fn.stream.admit import Gate, Switch
from lambda_fn.stream.rate_limit_errors import duration
from lambda_fn.stream.token_bounds import Bounds
from tests.support.function import (
    END,
    FINISH,
    FIRST,
    HELLO,
    KEY,
    KEY_ID,
    REST,
    START,
    USAGE,
    WORLD,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.replies import STREAM, ledger_item
from tests.support.units import item_size, read_units, write_units

pytestmark = pytest.mark.usefixtures("account")


def limited(items: Any, **most: int) -> None:
    """Set the key's limits."""
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, limits=accounts.Limits(**most)))


async def test_a_key_cannot_be_checked_without_the_table(http: Client) -> None:
    """If no process listens at the table's address, the response is a 503.

    It is neither a hang nor the error for a wrong key.
    """
    table = Table(
        http,
        url="http://127.0.0.1:9",
        region="eu-west-1",
        name="t",
        credentials=lambda: Credentials("a", "b", ""),
    )
    with pytest.raises(Unavailable):
        await Gate(table).check_key(Caller(KEY_ID, ids.hash_key(KEY)))


async def begun(reply: Reply) -> None:
    """Wait until a response has begun."""
    while not reply.chunks:
        reply.grown.clear()
        await reply.grown.wait()


async def test_two_hundred_at_once_on_a_budget_for_fifty(
    call: Call,
    sagemaker: StandIn,
    items: Any,
    account: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 200 concurrent requests on a budget for 50, exactly 50 are served.

    The budget is spent to the last token.
    """
    # Until all 200 have been admitted or rejected, the model says nothing to the first ones.
    monkeypatch.setattr(limits, "UPSTREAM_SILENCE", 3600.0)
    monkeypatch.setattr(limits, "STREAM_DEADLINE", 3600.0)
    model = Model(endpoint="e", context_tokens=100)
    body = {**STREAM, "max_tokens": 2}
    each = Bounds.of(parse_chat(json.dumps(body).encode()), model, size=len(json.dumps(body)))
    assert each.prompt == 100
    assert each.completion == 2
    limited(items, tokens_day=50 * 102)
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    replies = [Reply() for _ in range(200)]
    running = [asyncio.ensure_future(call(body=body, reply=reply)) for reply in replies]
    await asyncio.gather(*(begun(reply) for reply in replies))
    # no hold has been captured yet: every admitted request is still being served
    assert Counter(reply.status for reply in replies) == {200: 50, 429: 150}
    assert {reply.error["code"] for reply in replies if reply.status == 429} == {
        "rate_limit_exceeded"
    }
    balance = items.get_item(Key=account)["Item"]["balance"]
    assert min(left for name, left in balance.items() if name.startswith("tokens")) == 0
    go_on.set()
    await asyncio.gather(*running)
    booked = items.get_item(Key=account)["Item"]
    assert (booked["requests"], booked["completion_tokens"], booked["in_flight"]) == (50, 100, {})
    assert min(booked["balance"].values()) == 50 * 102 - 50 * 6


async def test_settlements_at_once_lose_nothing(
    table: Table, items: Any, account: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Concurrent settlements of one key are each booked once (`make meter-bench` does 10,000)."""
    gate, done = Gate(table), ledger.Settlement("complete", 1, 2, "stop", 1, 1)

    async def one() -> None:
        opening = Opening(ids.new_request_id(), KEY_ID, "m", 10, 30, Prices(1, 1))
        admission = await gate.admit(Caller(KEY_ID, ids.hash_key(KEY)), opening)
        assert admission.entry is not None
        for _ in range(2):
            await settlements.settle(
                table, opening, done, hold=admission.entry, now=time.time(), expired=admission.stale
            )

    await asyncio.gather(*(one() for _ in range(60)))
    item = items.get_item(Key=account)["Item"]
    assert (item["in_flight"], item["requests"], item["completion_tokens"], item["cost"]) == (
        {},
        60,
        120,
        180,
    )


class Spy:
    """Records the calls of the application's table, and their times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, sagemaker: StandIn) -> None:
        """Watch every table that is created from now on."""
        self.calls: list[tuple[str, bool]] = []
        """The operation, and whether the model had been invoked by then."""
        self.at_once = 0
        self.most_at_once = 0
        inner = Table._call

        async def spied(table: Table, operation: str, *args: Any, **options: Any) -> Any:
            self.calls.append((operation, bool(sagemaker.bodies)))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                return await inner(table, operation, *args, **options)
            finally:
                self.at_once -= 1

        monkeypatch.setattr(Table, "_call", spied)


async def test_four_writes_and_no_read(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request makes two concurrent writes before the model is invoked, and two after its end.

    It makes no read. Only the first request with a key in an environment reads the account.
    """
    monkeypatch.setattr(Switch, "is_due", False)
    spy = Spy(monkeypatch, sagemaker)
    await call(body=STREAM)
    assert [operation for operation, _ in spy.calls[:1]] == ["GetItem"]
    assert len(spy.calls) == 5
    spy.calls.clear()
    sagemaker.bodies.clear()
    await call(body=STREAM)
    assert spy.calls == [
        ("UpdateItem", False),
        ("PutItem", False),
        ("UpdateItem", True),
        ("UpdateItem", True),
    ]
    assert spy.most_at_once == 2  # so admission takes the time of one round trip


async def test_a_stopped_service_refuses(
    call: Call, sagemaker: StandIn, items: Any, account: dict[str, str], http: Client
) -> None:
    """A stop is seen by an environment that serves already: a clear 503, and nothing is held.

    While it lasts, a request writes nothing. After its end, the next request is served.
    """
    await call(body=STREAM)
    served = len(sagemaker.bodies)
    items.put_item(Item={**SERVICE_KEY, "stopped": 1, "reason": "A test."})
    for calls in (1, 2):
        with pytest.MonkeyPatch.context() as patch:
            # The first one reads the switch beside its writes, as after five seconds.
            patch.setattr(Switch, "is_due", calls == 1)
            spy = Spy(patch, sagemaker)
            reply = await call(body=STREAM)
        assert reply.status == 503
        error = json.loads(reply.body)["error"]
        assert (error["code"], "A test." in error["message"]) == ("service_stopped", True)
        writes = [operation for operation, _ in spy.calls if operation != "GetItem"]
        assert bool(writes) == (calls == 1)
    item = items.get_item(Key=account)["Item"]
    assert (item["in_flight"], item["requests"]) == ({}, 1)
    assert len(sagemaker.bodies) == served
    items.put_item(Item={**SERVICE_KEY})
    assert (await call(body=STREAM)).status == 200


async def test_an_unreadable_switch_stays(monkeypatch: pytest.MonkeyPatch, http: Client) -> None:
    """When the switch cannot be read, the state that was read last stays."""

    async def unavailable(*_: object, **__: object) -> None:
        raise MeterUnavailable

    switch = Switch(Table(http, url="http://127.0.0.1:1", region="r", name="t", credentials=None))  # type: ignore[arg-type]
    monkeypatch.setattr(Table, "get", unavailable)
    for reason in (None, "A test."):
        switch.reason = reason
        await switch.read()
        assert switch.reason == reason
        assert not switch.is_due


Units = tuple[list[tuple[str, int, int]], list[tuple[str, int]]]
"""The units of writes, in the table and in its indexes, and those of reads."""


@pytest.fixture
def weighed(items: Any, monkeypatch: pytest.MonkeyPatch) -> Units:
    """Return lists that get the units of each call.

    They follow from the items before and after it.
    """
    monkeypatch.setattr(Switch, "is_due", False)
    inner = Table._call
    units: list[tuple[str, int, int]] = []
    reads: list[tuple[str, int]] = []

    async def weigh(
        table: Table, operation: str, call: Any, plain: Any = None, **options: Any
    ) -> Any:
        key = {name: value["S"] for name, value in call["Key"].items()} if "Key" in call else None
        key = key or {name: plain["Item"][name] for name in ("pk", "sk")}
        before = items.get_item(Key=key).get("Item")
        answer = await inner(table, operation, call, plain, **options)
        after = items.get_item(Key=key)["Item"]
        if operation == "GetItem":
            reads.append((key["pk"].partition("#")[0], read_units(after)))
            return answer
        units.append((key["pk"].partition("#")[0], *write_units(before, after)))
        return answer

    monkeypatch.setattr(Table, "_call", weigh)
    return units, reads


async def test_what_a_request_costs(
    call: Call, items: Any, account: dict[str, str], weighed: Units
) -> None:
    """The units of a request's writes are those of docs/explanation/metering.md."""
    units, reads = weighed
    await call(body=STREAM)
    writes = [("KEY", 1), ("LEDGER", 1), ("LEDGER", 1), ("KEY", 1)]
    # The first request of a quiet key also sets the time at which the sweeper looks, and the
    # sweeper removes it again. The two writes of an admission are concurrent, so their order
    # varies.
    assert sorted(units) == sorted(
        (*write, index) for write, index in zip(writes, [1, 1, 1, 0], strict=True)
    )
    assert reads == [("KEY", 1)]  # of the first request with a key in an environment
    units.clear()
    await call(body=STREAM)
    assert len(reads) == 1
    assert sorted(units) == sorted(
        (*write, index) for write, index in zip(writes, [0, 1, 1, 0], strict=True)
    )
    one = item_size(items.get_item(Key=account)["Item"])
    assert one < 1024 - 2 * 80  # an account with two requests in flight still fits into one unit


async def test_what_a_long_answer_costs(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any, weighed: Units
) -> None:
    """Each extension costs one unit, if the key has a budget. Otherwise there is none."""
    many = [{**WORLD, "tokens": 100}] * 40  # 4,000 tokens: 1,024, 2,048 and 4,096
    sagemaker.script = [
        part(lines(START, *many, FINISH, {**USAGE, "completion_tokens": 4000}, END))
    ]
    call = make_call(models={"m": Model(endpoint="e", context_tokens=100_000)})
    units, _ = weighed
    costs = {}
    for name, most in (("no budget", {}), ("a budget", {"tokens_month": 10**6})):
        limited(items, **most)
        await call(body=STREAM)
        units.clear()
        await call(body=STREAM)
        costs[name] = sum(table + index for _, table, index in units)
    assert costs == {"no budget": 6, "a budget": 6 + 2}


async def test_a_checkpoint_delays_nothing(
    call: Call, sagemaker: StandIn, items: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a checkpoint hangs, tokens are sent and the request is settled."""
    monkeypatch.setattr(limits, "CHECKPOINT", 0.01)
    stuck, inner = asyncio.Event(), Table.update

    async def update(table: Table, update: Update, **options: Any) -> Any:
        if "checkpointed = :now" in update.update:
            await inner(table, update, **options)
            stuck.set()
            await asyncio.Event().wait()
        return await inner(table, update, **options)

    monkeypatch.setattr(Table, "update", update)
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    async with asyncio.timeout(60):
        await stuck.wait()
        await reply.until(lambda: b"Hello" in reply.body)
        item = ledger_item(items, reply)
        assert (item["state"], item["prompt_tokens"], item["completion_tokens"]) == ("OPEN", 4, 1)
        go_on.set()
        await running
    item = ledger_item(items, reply)
    assert (item["state"], item["completion_tokens"], "checkpointed" in item) == (
        "SETTLED",
        2,
        False,
    )


async def test_rate_limit_headers(call: Call, items: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Responses have what remains of the minute in OpenAI's headers, also rejections.

    A key without limits gets no such headers.
    """
    assert not any(name.startswith("x-ratelimit") for name in (await call(body=STREAM)).headers)
    now = time.time() // 60 * 60 + 42.75
    monkeypatch.setattr(time, "time", lambda: now)
    limited(items, requests_minute=1, tokens_minute=500)
    served, refused = await call(body={**STREAM, "max_tokens": 2}), await call(body=STREAM)
    headers = {
        name: value for name, value in served.headers.items() if name.startswith("x-ratelimit")
    }
    assert headers == {
        "x-ratelimit-reset-requests": "17.25s",
        "x-ratelimit-reset-tokens": "17.25s",
        "x-ratelimit-limit-requests": "1",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-limit-tokens": "500",
        "x-ratelimit-remaining-tokens": "398",
    }
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "18"
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    assert ledger_item(items, refused)["outcome"] == "refused"


def test_durations() -> None:
    """Durations are written as OpenAI writes them."""
    assert [duration(seconds) for seconds in (0.0, 0.204, 1.0, 17.2041, 60.0, 61.5)] == [
        "0ms",
        "204ms",
        "1s",
        "17.205s",
        "1m0s",
        "1m1.5s",
    ]


async def test_a_request_that_can_never_fit_is_not_retried(call: Call, items: Any) -> None:
    """If a request exceeds the whole limit of a minute, the response tells clients not to retry."""
    limited(items, tokens_minute=50)
    over = await call(body=STREAM)
    assert (over.status, over.error["code"], over.headers["x-should-retry"]) == (
        429,
        "rate_limit_exceeded",
        "false",
    )


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("requests_minute", "0 requests per minute"),
        ("tokens_minute", "0 tokens per minute"),
        ("max_streams", "0 streams at once"),
    ],
)
async def test_a_key_with_a_limit_of_nothing(
    limit: str, words: str, call: Call, items: Any
) -> None:
    """A limit of 0 refuses each request, says so, and tells clients not to retry."""
    limited(items, **{limit: 0})
    refused = await call(body=STREAM)
    assert (refused.status, refused.error["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["x-should-retry"] == "false"
    assert "retry-after" not in refused.headers
    assert f"its limit is {words}. Ask its operator" in refused.error["message"]


async def test_a_used_up_budget_is_told_once(call: Call, items: Any, sagemaker: StandIn) -> None:
    """The first refusal writes the alert of 100 %, and those after it write nothing more."""
    limited(items, tokens_month=1000)
    await call(body=STREAM)
    items.update_item(
        Key=account_key(KEY_ID),
        UpdateExpression="SET balance.#month = :left",
        ExpressionAttributeNames={"#month": f"tokens#{time.strftime('%Y-%m', time.gmtime())}"},
        ExpressionAttributeValues={":left": 1},
    )
    served = len(sagemaker.bodies)
    replies = await asyncio.gather(*(call(body=STREAM) for _ in range(10)))
    assert {reply.error["code"] for reply in replies} == {"insufficient_quota"}
    assert len(sagemaker.bodies) == served
    alerts = items.query(KeyConditionExpression=Key("pk").eq(ALERT_PARTITION))["Items"]
    assert [item["sk"].split("#")[2:] for item in alerts] == [["tokens", "100", "1000"]]
    assert alerts[0]["spent"] == 999


async def test_a_budget_of_cost_needs_prices(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """A key with a budget of cost is rejected if the model has no price.

    A price of 0 is a price.
    """
    for limit in ("cost_day", "cost_month"):
        limited(items, **{limit: 0})
        for prompt, completion in ((None, None), (1, None), (None, 1)):
            model = Model(
                "endpoint-1", context_tokens=100, prompt_price=prompt, completion_price=completion
            )
            reply = await make_call(models={"m": model})(body=STREAM)
            assert (reply.status, reply.error["code"]) == (403, "model_without_price")
            assert "prompt_price" in reply.error["message"]
            assert ledger_item(items, reply)["outcome"] == "refused"
        assert sagemaker.bodies == []
        model = Model("endpoint-1", context_tokens=100, prompt_price=0, completion_price=0)
        assert (await make_call(models={"m": model})(body=STREAM)).status == 200
        sagemaker.bodies.clear()
    limited(items, tokens_day=10**6)
    assert (await make_call()(body=STREAM)).status == 200


async def test_the_default_answer_length_is_reserved_and_enforced(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """Without `max_tokens` the model's default is sent to the container, if it has one.

    The upper bound of the prompt's tokens always is. An answer reserves 1,024 tokens at most.
    """
    models = {
        "m": Model(endpoint="e", context_tokens=5000),
        "limited": Model(endpoint="e", context_tokens=5000, default_max_tokens=9),
    }
    call = make_call(models=models)
    reserved = [
        ledger_item(items, await call(body={**STREAM, **changes}))["reserved"]
        for changes in (
            {},
            {"model": "limited"},
            {"max_completion_tokens": 7, "n": 2},
            {"max_tokens": 3000},
        )
    ]
    asked = [body.get("max_tokens") for body in sagemaker.bodies]
    assert asked == [None, 9, 7, 3000]
    prompts = [body["sluice"]["max_prompt_tokens"] for body in sagemaker.bodies]
    completions = [all_of - prompt for all_of, prompt in zip(reserved, prompts, strict=True)]
    assert completions == [1024, 9, 14, 3000]


async def test_a_cut_answer_without_usage_counts_its_deltas(
    call: Call, sagemaker: StandIn, items: Any
) -> None:
    """The tokens of a broken response are counted from its deltas and booked."""
    sagemaker.script = [part(lines(START, HELLO, WORLD)), None]
    item = ledger_item(items, await call(body=STREAM))
    assert (item["outcome"], item["prompt_tokens"], item["completion_tokens"], item["cost"]) == (
        "cut",
        4,
        2,
        0,
    )


async def test_models_that_a_key_may_use(call: Call, items: Any) -> None:
    """A key can list, retrieve and use only the models that it is allowed."""
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, models=["other"]))
    assert json.loads((await call("GET", "/v1/models")).body)["data"] == []
    for reply in (await call("GET", "/v1/models/m"), await call(body=STREAM)):
        assert (reply.status, reply.error["code"]) == (404, "model_not_found")


async def test_a_meter_that_fails_open_serves_recent_keys(
    make_call: Callable[..., Call],
    items: Any,
    account: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With fail-open metering, a recently used key is served while DynamoDB is down.

    The request is booked at its end.
    """
    monkeypatch.setattr(limits, "META_MAX_ATTEMPTS", 1)
    call = make_call(meter_open=True)
    stranger = ids.new_key()
    down = True
    inner = Table._call

    async def failing(table: Table, operation: str, *args: Any, **options: Any) -> Any:
        if down:
            raise MeterUnavailable(operation)
        return await inner(table, operation, *args, **options)

    monkeypatch.setattr(Table, "_call", failing)
    assert (await call(body=STREAM)).status == 503  # this environment has not seen it
    down = False
    assert (await call(body=STREAM)).status == 200
    down = True
    assert (await call(body=STREAM, key=stranger)).status == 503

    inner_record = settlements.replay

    async def record(*args: Any, **options: Any) -> bool:
        nonlocal down
        down = False  # DynamoDB is back when the response ends
        return await inner_record(*args, **options)

    monkeypatch.setattr(settlements, "replay", record)
    reply = await call(body=STREAM)
    assert reply.status == 200
    assert ledger_item(items, reply)["completion_tokens"] == 2
    booked = items.get_item(Key=account)["Item"]
    assert (booked["requests"], booked["completion_tokens"], booked["in_flight"]) == (2, 4, {})


async def test_an_unsaved_settlement_can_be_replayed(
    call: Call,
    table: Table,
    items: Any,
    account: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If a settlement cannot be written, its log line has all that a replay needs."""
    inner = Table.update

    async def update(table: Table, update: Update, **options: Any) -> Any:
        if "settled" in update.update:
            raise MeterUnavailable("down")
        return await inner(table, update, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Table, "update", update)
        reply = await call(body=STREAM)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert line["event"] == "settlement_unsaved"
    opening = Opening(
        line["request_id"], line["key"], line["model"], line["reserved"], line["reserved_cost"],
        Prices(line["prompt_price"], line["completion_price"]),
    )  # fmt: skip
    settlement = ledger.Settlement(
        **{name: line[name] for name in ledger.Settlement.__struct_fields__ if name in line}
    )
    for changed in (True, False):
        assert await settlements.replay(table, opening, settlement, now=line["settled"]) is changed
    assert ledger_item(items, reply)["outcome"] == "complete"
    assert items.get_item(Key=account)["Item"]["completion_tokens"] == 2
    with pytest.raises(ConditionFailed):
        await table.put(ledger.opening_item(opening), condition=ledger.NEW)


@pytest.mark.parametrize("failure", [KeyError("recovered"), asyncio.CancelledError()])
async def test_no_settlement_is_lost(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    failure: BaseException,
) -> None:
    """If a settlement fails for any reason, its figures go to the log.

    The reason may be a damaged item, or the end of the process.
    """

    async def close(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(settlements, "settle", close)
    with contextlib.suppress(asyncio.CancelledError):
        await call(body=STREAM)
    line = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (line["event"], line["completion_tokens"]) == ("settlement_unsaved", 2)
    assert line["reason"] == type(failure).__name__
