"""Kept responses over the application: what is kept, and conversations that go on from it."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterUnavailable, Table
from lambda_fn.encode.responses import output_of, snapshot
from lambda_fn.http.client import Client
from lambda_fn.ids import new_request_id
from lambda_fn.stream import history
from lambda_fn.stream_log.results import Input, Kept, read_kept, read_many, write_input
from tests.support.function import (
    CREDENTIALS,
    END,
    FINISH,
    FIRST,
    KEY_ID,
    START,
    Call,
    Reply,
    StandIn,
    lines,
    part,
)
from tests.support.replies import ledger_item
from tests.support.response_events import check_response, events_of, response_of

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/responses"
ASKED: dict[str, Any] = {"model": "m", "input": "Hi", "instructions": "Be brief."}
CALLED: list[dict[str, Any]] = [
    START,
    {
        "type": "delta",
        "index": 0,
        "delta": {
            "reasoning_content": "Hm.",
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_0",
                    "type": "function",
                    "function": {"name": "f", "arguments": "{}"},
                }
            ],
        },
        "tokens": 1,
    },
    {**FINISH, "finish_reason": "tool_calls"},
    END,
]
OUTPUT = {"type": "function_call_output", "call_id": "call_0", "output": "sunny"}


@pytest.fixture
def kept_table(moto_url: str, http: Client, streams: Any) -> Table:
    """Return StreamTable as the function sees it."""
    return Table(
        http, url=moto_url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


@pytest.fixture
def keeping(make_call: Callable[..., Call], streams: Any) -> Call:
    """Return an application that keeps responses."""
    return make_call(stream_table=streams.name)


def id_of(reply: Reply) -> str:
    """Return the id of a response, streamed or whole."""
    body = reply.body
    response = response_of(body) if body.startswith(b"event") else json.loads(body)
    return str(response["id"])


async def kept(table: Table, reply: Reply) -> Kept:
    """Return a response as it is kept."""
    found = await read_kept(table, id_of(reply).removeprefix("resp_"), now=0)
    assert found is not None
    return found


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_is_kept(
    keeping: Call, kept_table: Table, items: Any, stream: bool
) -> None:
    """A kept response has its own input, its output, and its state, whole and streamed."""
    reply = await keeping(path=PATH, body={**ASKED, "stream": stream, "metadata": {"a": "b"}})
    sent = response_of(reply.body) if stream else json.loads(reply.body)
    assert sent["store"] is True
    found = await kept(kept_table, reply)
    head = found.head
    assert (head.status, head.owner, head.kept) == ("completed", KEY_ID, "result")
    assert (head.prompt_tokens, head.completion_tokens) == (4, 2)
    assert head.metadata == {"a": "b"}
    assert head.expires == head.created + 30 * 86_400
    (item,) = found.input.items
    assert json.loads(bytes(item))["content"] == [{"type": "input_text", "text": "Hi"}]
    assert json.loads(snapshot(head.head, found.events)) == sent
    assert ledger_item(items, reply)["outcome"] == "complete"


@pytest.mark.parametrize(
    ("change", "options"),
    [({"store": False}, {}), ({}, {"store_default": False}), ({}, {"persistence": "off"})],
)
async def test_a_response_that_is_not_kept(
    make_call: Callable[..., Call],
    streams: Any,
    kept_table: Table,
    change: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """What is not asked for, or not by default, leaves nothing, and says so."""
    call = make_call(stream_table=streams.name, **options)
    reply = await call(path=PATH, body={**ASKED, **change})
    assert json.loads(reply.body)["store"] is False
    name = id_of(reply).removeprefix("resp_")
    assert await read_kept(kept_table, name, now=0) is None
    asked = await call(path=PATH, body={**ASKED, "store": True})
    assert asked.status == (400 if options.get("persistence") else 200)


async def test_a_conversation_goes_on(keeping: Call, kept_table: Table, sagemaker: StandIn) -> None:
    """The model gets all items of the conversation, but the instructions of the last request."""
    sagemaker.script = [part(lines(*CALLED))]
    first = await keeping(path=PATH, body={**ASKED, "input": [{"role": "user", "content": "Hi"}]})
    sagemaker.script = [FIRST, part(lines(FINISH, END))]
    second = await keeping(
        path=PATH,
        body={"model": "m", "input": [OUTPUT], "previous_response_id": id_of(first)},
    )
    third = await keeping(
        path=PATH,
        body={
            "model": "m",
            "input": "And?",
            "instructions": "Be long.",
            "previous_response_id": id_of(second),
            "stream": True,
            "store": False,
        },
    )
    call = {"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert [
        {name: it for name, it in message.items() if it is not None}
        for message in sagemaker.bodies[2]["messages"]
    ] == [
        {"role": "system", "content": "Be long."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "tool_calls": [call], "reasoning_content": "Hm."},
        {"role": "tool", "content": "sunny", "tool_call_id": "call_0"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
    ]
    assert response_of(third.body)["previous_response_id"] == id_of(second)
    found = await kept(kept_table, second)
    assert found.input.ancestors == [id_of(first).removeprefix("resp_")]
    assert len(found.input.items) == 1  # its own input, and not its parent's


async def test_items_that_are_referred_to(keeping: Call, sagemaker: StandIn) -> None:
    """An id of an item stands for the item, as the AI SDK sends texts of earlier responses."""
    first = json.loads((await keeping(path=PATH, body=ASKED)).body)
    items = [
        {"role": "user", "content": "Hi"},
        {"type": "item_reference", "id": first["output"][0]["id"]},
        {"role": "user", "content": "And?"},
    ]
    second = await keeping(path=PATH, body={"model": "m", "input": items})
    assert [message["content"] for message in sagemaker.bodies[1]["messages"]] == [
        "Hi",
        "Hello world",
        "And?",
    ]
    third = {"model": "m", "input": "So?", "previous_response_id": id_of(second)}
    await keeping(path=PATH, body=third)  # what was referred to is kept as the item
    assert [message["content"] for message in sagemaker.bodies[2]["messages"]][1] == "Hello world"


async def test_a_log_keeps_a_response_as_well(keeping: Call, kept_table: Table) -> None:
    """A response that is streamed with a log has one record, and can be gone on from."""
    durable = {**ASKED, "stream": True, "sluice": {"durable": True}}
    first = await keeping(path=PATH, body=durable)
    assert first.headers["x-sluice-stream"] == id_of(first).removeprefix("resp_")
    found = await kept(kept_table, first)
    assert (found.head.kept, len(found.input.items)) == ("segments", 1)
    second = {"model": "m", "input": "And?", "previous_response_id": id_of(first)}
    assert (await keeping(path=PATH, body=second)).status == 200


DURABLE: dict[str, Any] = {"sluice": {"durable": True}}
CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
NO_PARENTS = [
    (PATH, {**ASKED, **DURABLE, "store": False}),
    (PATH, {**ASKED, **DURABLE, "store": False, "stream": True}),
    ("/v1/chat/completions", {**CHAT, **DURABLE}),
    ("/v1/chat/completions", {**CHAT, "store": True}),
    ("/v1/chat/completions", {**CHAT, **DURABLE, "store": True, "stream": True}),
    ("/v1/completions", {"model": "m", "prompt": "Hi", **DURABLE}),
    ("/v1/messages", {**CHAT, **DURABLE, "max_tokens": 9}),
]


@pytest.mark.parametrize(("path", "body"), NO_PARENTS)
async def test_what_is_kept_without_the_input_of_a_response(
    keeping: Call, kept_table: Table, sagemaker: StandIn, path: str, body: dict[str, Any]
) -> None:
    """Nothing goes on from it, nor from a response behind it: the model would get half of it."""
    reply = await keeping(path=path, body=body)
    assert reply.status == 200
    name = reply.headers["x-request-id"].removeprefix("req_")
    assert await read_kept(kept_table, name, now=0) is not None
    child = id_of(await keeping(path=PATH, body=ASKED)).removeprefix("resp_")
    await write_input(kept_table, child, Input(ancestors=[name]), expires=2**32)
    calls = len(sagemaker.bodies)
    for parent in (name, child):
        asked = {**ASKED, "previous_response_id": f"resp_{parent}"}
        refused = await keeping(path=PATH, body=asked)
        assert (refused.status, refused.error["code"]) == (400, "previous_response_not_found")
    assert len(sagemaker.bodies) == calls


@pytest.mark.parametrize("change", [{}, DURABLE, {"stream": True}, {"background": True}])
@pytest.mark.parametrize("persistence", ["asked", "all"])
async def test_what_is_kept_with_its_input(
    make_call: Callable[..., Call],
    streams: Any,
    sagemaker: StandIn,
    persistence: str,
    change: dict[str, Any],
) -> None:
    """A response goes on from each, also where every response is logged."""
    call = make_call(stream_table=streams.name, persistence=persistence)
    parent = id_of(await call(path=PATH, body={**ASKED, **change}))
    asked = {"model": "m", "input": "And?", "previous_response_id": parent}
    assert (await call(path=PATH, body=asked)).status == 200
    roles = [message["role"] for message in sagemaker.bodies[-1]["messages"]]
    assert roles == ["user", "assistant", "user"]


async def test_a_response_that_is_cut_or_fails(
    keeping: Call, kept_table: Table, sagemaker: StandIn
) -> None:
    """The state says how a response ended. Nothing goes on from one that failed."""
    sagemaker.script = [FIRST, part(lines({**FINISH, "finish_reason": "length"}, END))]
    cut = await keeping(path=PATH, body=ASKED)
    found = await kept(kept_table, cut)
    assert found.head.status == "incomplete"
    assert [json.loads(bytes(it))["status"] for it in output_of(found.head.head, found.events)] == [
        "incomplete"
    ]
    sagemaker.script = [FIRST, None]
    failed = await keeping(path=PATH, body={**ASKED, "stream": True})
    assert (await kept(kept_table, failed)).head.status == "failed"
    asked = {"model": "m", "input": "And?", "previous_response_id": id_of(failed)}
    reply = await keeping(path=PATH, body=asked)
    assert (reply.status, reply.error["code"]) == (400, "previous_response_not_found")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"previous_response_id": "resp_x"}, "previous_response_not_found"),
        ({"previous_response_id": f"resp_{'0' * 26}"}, "previous_response_not_found"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "item_not_found"),
        ({"input": [{"id": f"msg_{'0' * 26}_0"}]}, "item_not_found"),
        ({"background": True, "store": False}, "unsupported_parameter"),
    ],
)
async def test_what_is_not_there(keeping: Call, change: dict[str, Any], code: str) -> None:
    """What was never kept is a 400 with the member."""
    reply = await keeping(path=PATH, body={**ASKED, **change})
    assert (reply.status, reply.error["code"]) == (400, code)
    assert reply.error["param"] == ("input[0]" if "input" in change else next(iter(change)))


async def test_another_keys_response_is_not_there(
    keeping: Call, kept_table: Table, streams: Any
) -> None:
    """A response of another key is answered as one that was never kept."""
    first = await keeping(path=PATH, body=ASKED)
    streams.update_item(
        Key={"pk": f"R#{id_of(first)[5:]}", "sk": "HEAD"},
        UpdateExpression="SET #owner = :other",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":other": "another"},
    )
    reply = await keeping(path=PATH, body={**ASKED, "previous_response_id": id_of(first)})
    assert reply.error["code"] == "previous_response_not_found"


async def test_a_conversation_is_bounded(keeping: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversation of too many responses is refused before all of them are read."""
    monkeypatch.setattr(history, "MAX_RESPONSES", 2)
    previous = None
    for _ in range(3):
        reply = await keeping(path=PATH, body={**ASKED, "previous_response_id": previous})
        assert reply.status == 200
        previous = id_of(reply)
    reply = await keeping(path=PATH, body={**ASKED, "previous_response_id": previous})
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")


async def test_a_chain_of_a_thousand_responses(
    keeping: Call, kept_table: Table, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response says how many came before it, so none of them is read, and no model is called."""
    first = await keeping(path=PATH, body=ASKED)
    name = id_of(first).removeprefix("resp_")
    chain = Input(ancestors=[new_request_id(number) for number in range(1_000)])
    await write_input(kept_table, name, chain, expires=2**32)
    read: list[str] = []

    async def note(table: Table, names: Sequence[str], *, now: float) -> list[Kept | None]:
        read.extend(names)
        return await read_many(table, names, now=now)

    monkeypatch.setattr(history, "read_many", note)
    calls = len(sagemaker.bodies)
    reply = await keeping(path=PATH, body={**ASKED, "previous_response_id": f"resp_{name}"})
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")
    assert f"more than {history.MAX_RESPONSES} responses" in reply.error["message"]
    assert (read, len(sagemaker.bodies)) == ([name], calls)


async def test_a_megabyte_of_input(keeping: Call, kept_table: Table) -> None:
    """An input of the largest size is kept, once for each response, and counts in what follows."""
    text = "word " * ((limits.MAX_BODY - 1_000) // 5)
    first = await keeping(path=PATH, body={**ASKED, "input": text})
    assert first.status == 200
    found = await kept(kept_table, first)
    assert found.head.bodies["input"] == 1  # deflated
    (item,) = found.input.items
    assert json.loads(bytes(item))["content"][0]["text"] == text
    more = {**ASKED, "input": "word " * 400}
    assert (await keeping(path=PATH, body=more)).status == 200
    again = await keeping(path=PATH, body={**more, "previous_response_id": id_of(first)})
    over = await keeping(path=PATH, body={**ASKED, "input": text + more["input"]})
    for reply in (again, over):
        assert (reply.status, reply.error["type"]) == (413, "invalid_request_error")


async def test_a_large_conversation_is_refused(
    keeping: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation of too many bytes is refused before all of it is read."""
    monkeypatch.setattr(history, "MAX_SIZE", 200)
    first = id_of(await keeping(path=PATH, body={**ASKED, "input": "x" * 120}))
    second = await keeping(path=PATH, body={**ASKED, "previous_response_id": first})
    assert second.status == 413


async def test_an_item_counts_as_often_as_it_is_referred_to(
    keeping: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A short request does not make a large one of an item that it names again and again."""
    first = json.loads((await keeping(path=PATH, body={**ASKED, "input": "x" * 100_000})).body)
    named = {"type": "item_reference", "id": f"msg_{first['id'].removeprefix('resp_')}_in0"}
    for most in (history.MAX_SIZE, 500_000):  # over what the model takes, and over what is read
        monkeypatch.setattr(history, "MAX_SIZE", most)
        reply = await keeping(path=PATH, body={**ASKED, "input": [named] * 20})
        assert reply.status == 413
    assert len(sagemaker.bodies) == 1
    assert (await keeping(path=PATH, body={**ASKED, "input": [named] * 2})).status == 200


@pytest.mark.parametrize("name", ["", "n" * 300])
async def test_a_call_that_cannot_be_sent_again(
    keeping: Call, sagemaker: StandIn, name: str
) -> None:
    """What a model has called does not always fit an input: then the conversation says so."""
    events = json.loads(json.dumps(CALLED).replace('"name": "f"', f'"name": "{name}"'))
    sagemaker.script = [part(lines(*events))]
    first = id_of(await keeping(path=PATH, body=ASKED))
    body = {"model": "m", "input": [OUTPUT], "previous_response_id": first}
    reply = await keeping(path=PATH, body=body)
    assert (reply.status, reply.error["param"]) == (400, "previous_response_id")
    assert "$.name" in reply.error["message"]


async def test_an_endpoint_that_is_not_reached(
    make_call: Callable[..., Call], streams: Any, kept_table: Table
) -> None:
    """A response whose model was never called has failed at once."""
    call = make_call(stream_table=streams.name, sagemaker_url="http://127.0.0.1:9")
    reply = await call(path=PATH, body=ASKED)
    assert reply.status >= 500
    name = reply.headers["x-request-id"].removeprefix("req_")
    found = await read_kept(kept_table, name, now=0)
    assert found is not None
    assert found.head.status == "failed"


async def test_the_table_is_down(
    make_call: Callable[..., Call], streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that cannot be kept says so, or is refused, as the setting says."""

    async def down(*_: object, **__: object) -> None:
        raise MeterUnavailable("down")

    monkeypatch.setattr("lambda_fn.stream_log.results.open_head", down)
    call = make_call(stream_table=streams.name)
    reply = await call(path=PATH, body={**ASKED, "stream": True})
    assert reply.headers["x-sluice-log"] == "off"
    assert {it["response"]["store"] for it in events_of(reply.body) if "response" in it} == {False}
    refusing = make_call(stream_table=streams.name, on_log_failure="refuse")
    reply = await refusing(path=PATH, body=ASKED)
    assert (reply.status, reply.error["code"]) == (503, "log_unavailable")


async def test_the_end_cannot_be_kept(
    keeping: Call, kept_table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client gets its response to the end even if that cannot be kept."""

    async def down(*_: object, **__: object) -> None:
        raise MeterUnavailable("down")

    monkeypatch.setattr("lambda_fn.stream_log.results.put_segment", down)
    reply = await keeping(path=PATH, body=ASKED)
    response = json.loads(reply.body)
    check_response(response)
    assert response["status"] == "completed"
    assert (await kept(kept_table, reply)).head.status == "in_progress"
