"""Counts of prompts, in both APIs that have them, before our container and other servers."""

import asyncio
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import limits
from lambda_fn.metering import accounts
from lambda_fn.settings import Model
from lambda_fn.stream import remote_images
from tests.support import pictures
from tests.support.function import KEY, START, Call, Reply, StandIn, lines, part
from tests.support.model_answers import chunk, sse
from tests.support.replies import ledger_item

pytestmark = pytest.mark.usefixtures("account")
PATH = "/v1/messages/count_tokens"
TOOL = {"name": "f", "input_schema": {"type": "object"}}
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [TOOL]}


async def test_our_container_counts(
    call: Call, sagemaker: StandIn, items: Any, account: dict[str, str]
) -> None:
    """A count is the container's. It is one request of the key, and costs no tokens."""
    sagemaker.script = [part(lines(START, {"type": "end"}))]
    reply = await call(path=PATH, body=ASKED)
    assert (reply.status, json.loads(reply.body)) == (200, {"input_tokens": 4})
    (body,) = sagemaker.bodies
    assert (body["sluice"]["count"], body["tools"][0]["function"]["name"]) == (True, "f")
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"], item["prompt_tokens"]) == ("SETTLED", "complete", 0)
    booked = items.get_item(Key=account)["Item"]
    assert (booked["requests"], booked["prompt_tokens"], booked["in_flight"]) == (1, 0, {})


@pytest.mark.parametrize("first", [{"prompt_tokens": 7, "completion_tokens": 0}, None])
async def test_other_servers_count_an_answer_of_one_token(
    make_call: Callable[..., Call], sagemaker: StandIn, first: Any
) -> None:
    """Another server tells its count with its first record, or at its end."""
    last = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 1}}
    begun = chunk({"content": "x"}) | ({"usage": first} if first else {})
    sagemaker.script = [part(sse(begun, chunk({}, "length"), last) + b"data: [DONE]\n\n")]
    call = make_call(models={"m": Model("endpoint-1", context_tokens=1000, dialect="openai")})
    reply = await call(path=PATH, body=ASKED)
    assert json.loads(reply.body) == {"input_tokens": 7}
    assert sagemaker.bodies[0]["max_tokens"] == 1


@pytest.mark.parametrize(
    ("script", "status"),
    [
        ([part(b"\n")], 502),
        ([part(lines({"type": "error", "code": "overloaded", "message": "Full."}))], 429),
        ([None], 502),
    ],
)
async def test_a_count_that_fails(
    call: Call, sagemaker: StandIn, items: Any, script: Any, status: int
) -> None:
    """A server that does not tell its count is an error, never a guess."""
    sagemaker.script = script
    reply = await call(path=PATH, body=ASKED)
    assert reply.status == status
    assert ledger_item(items, reply)["outcome"] == "failed"


async def test_a_count_that_no_record_has(
    make_call: Callable[..., Call], sagemaker: StandIn
) -> None:
    """An empty prompt has 0 tokens for our container. For another server 0 is no count."""
    sagemaker.script = [part(lines({**START, "prompt_tokens": 0}, {"type": "end"}))]
    reply = await make_call()(path=PATH, body=ASKED)
    assert json.loads(reply.body) == {"input_tokens": 0}
    sagemaker.script = [part(sse(chunk({"content": "x"}), chunk({}, "stop")) + b"data: [DONE]\n\n")]
    call = make_call(models={"m": Model("endpoint-1", context_tokens=1000, dialect="openai")})
    assert (await call(path=PATH, body=ASKED)).status == 502


async def test_a_count_that_takes_too_long(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A count has less time than the edge gives it."""
    monkeypatch.setattr(limits, "COUNT_TIMEOUT", 0.02)
    sagemaker.script = [(hold := asyncio.Event())]
    reply = await call(path=PATH, body=ASKED)
    hold.set()
    assert (reply.status, json.loads(reply.body)["error"]["type"]) == (504, "timeout_error")


async def test_images_are_counted_as_they_are_answered(
    make_call: Callable[..., Call], sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server gets the image itself and never its URL, also in a body that only images fill."""

    async def fetch(url: str, hosts: Any, max_bytes: int) -> bytes:
        return pictures.gif()

    monkeypatch.setattr(remote_images, "fetch", fetch)
    eyes = Model("endpoint-1", 100_000, max_images=2, image_hosts=("i.example.com",))
    call = make_call(models={"eyes": eyes, "blind": Model("endpoint-1", 100_000)})
    large = base64.b64encode(pictures.png() + bytes(900_000)).decode()
    images = [
        {"type": "image", "source": {"type": "url", "url": "https://i.example.com/a.gif"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": large}},
    ]
    body = {"model": "eyes", "messages": [{"role": "user", "content": images}]}
    sagemaker.script = [part(lines(START, {"type": "end"}))]
    assert (await call(path=PATH, body=body)).status == 200
    sent = sagemaker.bodies[0]["messages"][0]["content"]
    assert [it["image_url"]["url"] for it in sent] == [
        pictures.data_url(pictures.gif(), "gif"),
        f"data:image/png;base64,{large}",
    ]
    assert (await call(path=PATH, body={**body, "model": "blind"})).status == 413


class Gone(list[bytes]):
    """The body of a response whose client has left."""

    def append(self, _: bytes) -> None:
        """Fail as a closed connection does."""
        raise ConnectionResetError


async def test_a_client_that_leaves_is_settled(call: Call, sagemaker: StandIn, items: Any) -> None:
    """A request is settled also if its response cannot be sent."""
    sagemaker.script = [part(lines(START, {"type": "end"}))]
    reply = Reply()
    reply.chunks = Gone()
    with pytest.raises(ConnectionResetError):
        await call(path=PATH, body=ASKED, reply=reply)
    item = ledger_item(items, reply)
    assert (item["state"], item["outcome"]) == ("SETTLED", "complete")


@pytest.mark.parametrize(
    ("path", "body"),
    [(PATH, ASKED), ("/v1/embeddings", {"input": "a"}), ("/tokenize", {"prompt": "a"})],
)
async def test_a_model_whose_settings_cannot_be_read(
    make_call: Callable[..., Call], items: Any, path: str, body: dict[str, Any]
) -> None:
    """Only a key that may use it learns of it, as it does of a completion."""
    ask = make_call(unreadable={"big": "context_tokens: must be a whole number"})
    body = {**body, "model": "big"}
    reply = await ask(path=path, body=body)
    assert (reply.status, "context_tokens" in reply.body.decode()) == (503, True)
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, models=["m"]))
    assert (await ask(path=path, body=body)).status == 404


RESPONSES = "/v1/responses/input_tokens"
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


async def test_a_responses_prompt_is_counted(call: Call, sagemaker: StandIn, items: Any) -> None:
    """The Responses API counts by the same model, in its own form."""
    sagemaker.script = [part(lines(START, {"type": "end"}))]
    asked = {"model": "m", "input": "Hi", "instructions": "Be brief.", "tools": [FUNCTION]}
    reply = await call(path=RESPONSES, body=asked)
    assert json.loads(reply.body) == {"object": "response.input_tokens", "input_tokens": 4}
    (body,) = sagemaker.bodies
    assert (body["sluice"]["count"], body["tools"][0]["function"]["name"]) == (True, "f")
    assert [message["role"] for message in body["messages"]] == ["system", "user"]
    assert ledger_item(items, reply)["prompt_tokens"] == 0


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": []}, "input"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": 5}}}},
         "text.format.schema.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:"}]}]},
         "input[0].content[0].type"),
    ],
)  # fmt: skip
async def test_a_responses_prompt_that_is_wrong(
    call: Call, change: dict[str, Any], param: str
) -> None:
    """A refusal has OpenAI's form, and the path of the member in the body as it was sent."""
    reply = await call(path=RESPONSES, body={"model": "m", "input": "Hi", **change})
    assert (reply.status, reply.error["param"]) == (400, param)
