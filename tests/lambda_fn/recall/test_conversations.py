"""`/v1/conversations`, and responses of the stream function that go on with them."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lambda_fn.ids import new_key_id, new_request_id
from lambda_fn.recall import conversations as module
from lambda_fn.seals import Seals
from lambda_fn.stream_log import conversations as stored
from lambda_fn.stream_log.keys import conversation_key, conversations_of
from tests.support.function import FIRST, KEY_ID, ORIGIN, REST, Call, Reply, StandIn
from tests.support.response_events import check_response, events_of, response_of

PATH = "/v1/conversations"
MESSAGE = {"role": "user", "content": "My name is Ada."}
ASKED: dict[str, Any] = {"model": "m", "input": "Who am I?"}
Make = Callable[..., Any]


@pytest.fixture
def make(recall: Call) -> Make:
    """Return a function that makes a conversation, and returns its id."""

    async def made(*items: dict[str, Any], **body: Any) -> str:
        reply = await recall("POST", PATH, {"items": list(items), **body})
        assert reply.status == 200
        return str(json.loads(reply.body)["id"])

    return made


@pytest.fixture
def ask(make_call: Callable[..., Call], streams: Any, account: dict[str, str]) -> Call:
    """Return a function that asks the stream function for a response of a conversation."""
    call = make_call(stream_table=streams.name)

    async def asked(name: Any, **body: Any) -> Reply:
        return await call(path="/v1/responses", body={**ASKED, "conversation": name, **body})

    return asked


async def items_of(recall: Call, name: str, query: str = "?order=asc&limit=100") -> Any:
    """Return a page of items."""
    reply = await recall("GET", f"{PATH}/{name}/items{query}")
    assert reply.status == 200
    return json.loads(reply.body)


def texts(items: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Return roles and texts of messages."""
    return [(item["role"], item["content"][0]["text"]) for item in items]


async def test_the_life_of_a_conversation(recall: Call, account: dict[str, str]) -> None:
    """It is made, read, changed and deleted, each in OpenAI's shape."""
    made = json.loads((await recall("POST", PATH, {"metadata": {"topic": "x"}})).body)
    assert made.keys() == {"id", "object", "created_at", "metadata"}
    assert (made["object"], made["metadata"]) == ("conversation", {"topic": "x"})
    path = f"{PATH}/{made['id']}"
    assert json.loads((await recall("GET", path)).body) == made
    changed = json.loads((await recall("POST", path, {"metadata": {"topic": "y"}})).body)
    assert changed == made | {"metadata": {"topic": "y"}}
    cleared = json.loads((await recall("POST", path, {"metadata": None})).body)
    assert cleared["metadata"] == {}
    gone = json.loads((await recall("DELETE", path)).body)
    assert gone == {"id": made["id"], "object": "conversation.deleted", "deleted": True}
    for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/items"), ("GET", "/items/msg_x")):
        reply = await recall(method, path + rest)
        assert (reply.status, reply.error["code"]) == (404, "conversation_not_found")


async def test_a_body_may_be_empty(recall: Call) -> None:
    """A conversation needs no members."""
    reply = await recall("POST", PATH, b"")
    assert (reply.status, json.loads(reply.body)["metadata"]) == (200, {})


async def test_items_in_pages(recall: Call, make: Make) -> None:
    """The newest come first; `after` and `order` lead through them, and each can be read."""
    name = await make(MESSAGE, {"role": "assistant", "content": "Hello Ada."})
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "c", "output": "1"}
    added = json.loads(
        (await recall("POST", f"{PATH}/{name}/items", {"items": [call, result]})).body
    )
    assert (added["object"], added["has_more"]) == ("list", False)
    assert [item["type"] for item in added["data"]] == ["function_call", "function_call_output"]
    whole = await items_of(recall, name)
    assert texts(whole["data"][:2]) == [("user", "My name is Ada."), ("assistant", "Hello Ada.")]
    assert whole["data"][2:] == added["data"]
    ids = [item["id"] for item in whole["data"]]
    assert len(set(ids)) == 4
    newest = await items_of(recall, name, "?limit=3&include[]=x")
    assert [item["id"] for item in newest["data"]] == [ids[3], ids[2], ids[1]]
    assert (newest["first_id"], newest["last_id"], newest["has_more"]) == (ids[3], ids[1], True)
    rest = await items_of(recall, name, f"?limit=3&after={ids[1]}")
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == ([ids[0]], False)
    for item in whole["data"]:
        assert json.loads((await recall("GET", f"{PATH}/{name}/items/{item['id']}")).body) == item
    left = await recall("DELETE", f"{PATH}/{name}/items/{ids[1]}")
    assert json.loads(left.body)["id"] == name
    assert [item["id"] for item in (await items_of(recall, name))["data"]] == [*ids[:1], *ids[2:]]
    for method in ("GET", "DELETE"):
        reply = await recall(method, f"{PATH}/{name}/items/{ids[1]}")
        assert (reply.status, reply.error["code"]) == (404, "item_not_found")


async def test_a_page_is_bounded(recall: Call, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of large items ends early, and says that there are more."""
    monkeypatch.setattr(module, "MAX_PAGE_BYTES", 100)
    name = await make(*[{"role": "user", "content": "x" * 60}] * 3)
    page = await items_of(recall, name)
    assert (len(page["data"]), page["has_more"]) == (1, True)
    rest = await items_of(recall, name, f"?order=asc&after={page['last_id']}")
    assert rest["data"][0]["id"] != page["last_id"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"items": [MESSAGE] * 21}, "items"),
        ({"items": [{"type": "item_reference", "id": "msg_x"}]}, "items[0]"),
        ({"items": [{"type": "web_search_call"}]}, "items[0].type"),
        ({"items": "x"}, "items"),
        (b"[]", None),
    ],
)
async def test_bodies_that_are_wrong(
    recall: Call, make: Make, body: Any, param: str | None
) -> None:
    """They are a 400 with the path of the member, for a new conversation and for more items."""
    name = await make()
    for path in (
        PATH,
        *([f"{PATH}/{name}/items"] if b"items" in json.dumps(str(body)).encode() else ()),
    ):
        reply = await recall("POST", path, body)
        assert reply.status == 400
        if param is not None:
            assert reply.error["param"] == param
    assert (await items_of(recall, name))["data"] == []


async def test_a_compaction_in_a_conversation(
    recall: Call, make: Make, ask: Call, sagemaker: StandIn
) -> None:
    """A conversation takes compactions of its key, and no others: none could go on with it."""
    sealed = Seals((ORIGIN,), KEY_ID).seal("It is sunny.")
    compaction = {"type": "compaction", "encrypted_content": sealed}
    name = await make(compaction)
    assert (await ask(name)).status == 200
    said = [it["content"] for it in sagemaker.bodies[-1]["messages"]]
    assert said == ["Summary of the conversation until here:\n\nIt is sunny.", "Who am I?"]
    other = {**compaction, "encrypted_content": Seals((ORIGIN,), "other").seal("x")}
    for path in (PATH, f"{PATH}/{name}/items"):
        refused = await recall("POST", path, {"items": [compaction, other]})
        assert (refused.status, refused.error["param"]) == (400, "items[1]")


async def test_another_keys_conversation(recall: Call, make: Make, streams: Any, ask: Call) -> None:
    """It does not exist, nor does an id that is none, for any call."""
    name = await make(MESSAGE)
    item = (await items_of(recall, name))["data"][0]["id"]
    streams.update_item(
        Key=conversation_key(name.removeprefix("conv_")),
        UpdateExpression="SET #owner = :other",
        ExpressionAttributeNames={"#owner": "owner"},
        ExpressionAttributeValues={":other": conversations_of(new_key_id())},
    )
    for other in (name, f"conv_{new_request_id()}", "conv_x", "%F0%9F%98%80"):
        for method, rest, body in (
            ("GET", "", None),
            ("POST", "", {"metadata": {}}),
            ("DELETE", "", None),
            ("POST", "/items", {"items": [MESSAGE]}),
            ("GET", "/items", None),
            ("GET", f"/items/{item}", None),
            ("DELETE", f"/items/{item}", None),
        ):
            reply = await recall(method, f"{PATH}/{other}{rest}", body)
            assert (reply.status, reply.error["code"]) == (404, "conversation_not_found")
    refused = await ask(name)
    assert (refused.status, refused.error["param"]) == (404, "conversation")


@pytest.mark.parametrize(
    "more", [{}, {"stream": True}, {"stream": True, "sluice": {"durable": True}}]
)
async def test_responses_go_on_with_a_conversation(
    recall: Call, make: Make, ask: Call, sagemaker: StandIn, more: dict[str, Any]
) -> None:
    """The model gets what stands in it; input and output are appended when it is completed."""
    name = await make(MESSAGE)
    for number, form in enumerate((name, {"id": name})):
        reply = await ask(form, **more)
        assert reply.status == 200
        sent = response_of(reply.body) if more else json.loads(reply.body)
        check_response({key: value for key, value in sent.items() if key != "conversation"})
        assert sent["conversation"] == {"id": name}
        asked = [message["content"] for message in sagemaker.bodies[number]["messages"]]
        said = ["Who am I?", "Hello world"]
        assert asked == ["My name is Ada.", *said * number, "Who am I?"]
        items = (await items_of(recall, name))["data"]
        assert texts(items) == [
            ("user", "My name is Ada."),
            *[("user", "Who am I?"), ("assistant", "Hello world")] * (number + 1),
        ]
        assert items[-1] == sent["output"][0] | {
            "content": [{**sent["output"][0]["content"][0], "logprobs": []}]
        }


async def test_a_response_that_is_not_kept_only_reads(
    recall: Call, make: Make, ask: Call, sagemaker: StandIn
) -> None:
    """With `store: false` the model gets the items, and nothing is appended."""
    name = await make(MESSAGE)
    assert (await ask(name, store=False)).status == 200
    assert len(sagemaker.bodies[0]["messages"]) == 2
    assert len((await items_of(recall, name))["data"]) == 1


async def test_a_response_that_failed_adds_nothing(
    recall: Call, make: Make, ask: Call, sagemaker: StandIn
) -> None:
    """It leaves the conversation as it was, and unlocked."""
    name = await make(MESSAGE)
    sagemaker.script = [FIRST, None]
    broken = await ask(name, stream=True)
    assert events_of(broken.body)[-1]["type"] == "response.failed"
    sagemaker.status, sagemaker.script = 500, []
    assert (await ask(name)).status == 503
    assert len((await items_of(recall, name))["data"]) == 1
    assert (await recall("POST", f"{PATH}/{name}/items", {"items": [MESSAGE]})).status == 200


async def test_two_responses_at_once(
    recall: Call, make: Make, ask: Call, sagemaker: StandIn
) -> None:
    """The second one, and whoever would add or delete an item, is told that it is locked."""
    name = await make(MESSAGE)
    item = (await items_of(recall, name))["data"][0]["id"]
    answers, running, go = list(sagemaker.script), asyncio.Event(), asyncio.Event()

    def slowly() -> Iterator[Any]:
        yield FIRST
        running.set()
        yield go
        yield REST

    sagemaker.script = slowly()
    first = asyncio.ensure_future(ask(name, stream=True))
    async with asyncio.timeout(60):
        await running.wait()
    for change in (
        ask(name),
        recall("POST", f"{PATH}/{name}/items", {"items": [MESSAGE]}),
        recall("DELETE", f"{PATH}/{name}/items/{item}"),
    ):
        reply = await change
        assert (reply.status, reply.error["code"]) == (400, "conversation_locked")
        assert reply.error["param"] == "conversation"
    assert len(sagemaker.bodies) == 1
    assert (await recall("POST", f"{PATH}/{name}", {"metadata": {"a": "b"}})).status == 200
    sagemaker.script = answers
    assert (await ask(name, store=False)).status == 200
    go.set()
    assert (await first).status == 200
    assert len((await items_of(recall, name))["data"]) == 3


async def test_many_writers_at_once(recall: Call, make: Make) -> None:
    """Calls that add items wait for each other, and none is lost."""
    name = await make()
    bodies = [{"items": [{"role": "user", "content": str(number)}]} for number in range(3)]
    replies = await asyncio.gather(
        *(recall("POST", f"{PATH}/{name}/items", body) for body in bodies)
    )
    done = [number for number, reply in enumerate(replies) if reply.status == 200]
    assert done
    assert all(reply.status in (200, 400) for reply in replies)
    found = texts((await items_of(recall, name))["data"])
    assert sorted(found) == [("user", str(number)) for number in done]


async def test_a_conversation_and_a_response_before(make: Make, ask: Call) -> None:
    """Only one of them may say what came before, and a response of a conversation is not one."""
    name = await make(MESSAGE)
    one = json.loads((await ask(name)).body)
    both = await ask(name, previous_response_id=one["id"])
    assert (both.status, both.error["code"]) == (400, "mutually_exclusive_parameters")
    alone = await ask(None, previous_response_id=one["id"])
    assert (alone.status, alone.error["code"]) == (400, "response_in_conversation")
    assert name in alone.error["message"]


async def test_no_cache_of_a_conversation(make: Make, ask: Call) -> None:
    """The same request means something else when the conversation has gone on."""
    refused = await ask(await make(MESSAGE), sluice={"cache": 60})
    assert (refused.status, refused.error["param"]) == (400, "sluice.cache")


async def test_a_repeat_of_a_request(
    recall: Call, make_call: Callable[..., Call], make: Make, streams: Any, sagemaker: StandIn
) -> None:
    """It gets the response that exists, and nothing is appended twice."""
    call, name = make_call(stream_table=streams.name), await make(MESSAGE)
    replies = [
        await call(
            path="/v1/responses",
            body={**ASKED, "conversation": name},
            more={"idempotency-key": "k"},
        )
        for _ in range(2)
    ]
    assert [reply.status for reply in replies] == [200, 200]
    assert json.loads(replies[0].body)["id"] == json.loads(replies[1].body)["id"]
    assert len(sagemaker.bodies) == 1
    assert len((await items_of(recall, name))["data"]) == 3


@pytest.mark.parametrize("limit", ["MAX_ITEMS", "MAX_ENTRIES"])
async def test_a_full_conversation(
    make: Make, ask: Call, recall: Call, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    """Neither a call nor a response can add to it, however it is full."""
    name = await make(MESSAGE)
    monkeypatch.setattr(stored, limit, 1)
    for reply in (
        await ask(name),
        await recall("POST", f"{PATH}/{name}/items", {"items": [MESSAGE]}),
    ):
        assert (reply.status, reply.error["code"]) == (400, "conversation_full")


async def test_without_persistence(make_call: Callable[..., Call], account: dict[str, str]) -> None:
    """The setting is named, for the parameter and for the path."""
    call = make_call()
    reply = await call(path="/v1/responses", body={**ASKED, "conversation": "conv_x"})
    assert (reply.status, reply.error["param"]) == (400, "conversation")
    absent = await call(path=PATH, body={})
    assert (absent.status, "persistence" in absent.error["message"]) == (404, True)
