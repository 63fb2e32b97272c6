"""Embeddings of a model on vLLM's server, metered by the tokens that the server counts."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import ids
from lambda_fn.schema.embeddings import MAX_INPUTS, parse_embeddings
from lambda_fn.settings import Model
from tests.support.function import Call, StandIn, part
from tests.support.replies import ledger_item

pytestmark = pytest.mark.usefixtures("account")
MODEL = Model(
    endpoint="endpoint-1",
    context_tokens=100,
    dialect="openai",
    embeddings=True,
    prompt_price=2,
    completion_price=0,
)
PATH = "/v1/embeddings"


def answer(count: int, *, tokens: int = 5, embedding: Any = (0.5, -1.25)) -> bytes:
    """Return vLLM's response, after its `EmbeddingResponse`."""
    data = [{"index": it, "object": "embedding", "embedding": embedding} for it in range(count)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens, "completion_tokens": 0}
    head = {"id": "embd-1", "object": "list", "created": 1, "model": "default"}
    return json.dumps({**head, "data": data, "usage": usage}).encode()


@pytest.fixture
def ask(make_call: Callable[..., Call]) -> Call:
    """Return a function that calls an application whose model makes embeddings."""
    return make_call(models={"e": MODEL}, aliases={"text-embedding-3-small": "e"})


@pytest.mark.parametrize(
    ("given", "count"),
    [("Hi", 1), (["Hi", "you"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)],
    ids=str,
)
async def test_inputs_of_every_kind(
    ask: Call, sagemaker: StandIn, items: Any, given: Any, count: int
) -> None:
    """Texts and tokens have embeddings, and what the server counted is booked at its price."""
    whole = answer(count)
    sagemaker.script = [part(whole[:30]), part(whole[30:])]
    body = {"model": "text-embedding-3-small", "input": given, "dimensions": 2, "user": "u"}
    reply = await ask(path=PATH, body=body)
    found = json.loads(reply.body)
    assert found["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    assert (found["object"], found["model"]) == ("list", "e")
    assert [it["index"] for it in found["data"]] == list(range(count))
    assert found["data"][0]["embedding"] == [0.5, -1.25]
    assert sagemaker.bodies == [{"input": given, "dimensions": 2}]
    item = ledger_item(items, reply)
    assert (item["outcome"], item["prompt_tokens"], item["cost"]) == ("complete", 5, 10)


async def test_base64_is_passed_on(ask: Call, sagemaker: StandIn) -> None:
    """The form that the stock Python client asks for is the server's."""
    sagemaker.script = [part(answer(1, embedding="AAAAPwAAoL8="))]
    reply = await ask(path=PATH, body={"model": "e", "input": "a", "encoding_format": "base64"})
    assert json.loads(reply.body)["data"][0]["embedding"] == "AAAAPwAAoL8="
    assert sagemaker.bodies[0]["encoding_format"] == "base64"


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"input": ""}, 400, "input"),
        ({"input": []}, 400, "input"),
        ({"input": ["a", 5]}, 400, "input"),
        ({"input": [""]}, 400, "input[0]"),
        ({"input": ["a"] * (MAX_INPUTS + 1)}, 400, "input"),
        ({"input": [-1]}, 400, "input[0]"),
        ({"dimensions": 0}, 400, "dimensions"),
        ({"encoding_format": "int8"}, 400, "encoding_format"),
        ({"model": "none"}, 404, "model"),
        ({"model": "m"}, 400, "model"),
    ],
    ids=lambda it: str(it)[:40],
)
async def test_refusals(
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    change: dict[str, Any],
    status: int,
    param: str,
) -> None:
    """What is wrong is named, and nothing is asked of the server."""
    chats = Model(endpoint="endpoint-2", context_tokens=100)
    ask = make_call(models={"e": MODEL, "m": chats})
    reply = await ask(path=PATH, body={"model": "e", "input": "a", **change})
    assert (reply.status, reply.error["param"]) == (status, param)
    assert sagemaker.bodies == []
    assert (await ask(path=PATH, body={"model": "e"}, key=ids.new_key())).status == 401


@pytest.mark.parametrize("sent", [b"{", answer(2), b'{"data":[]}'], ids=["cut", "two", "none"])
async def test_an_answer_in_another_form(ask: Call, sagemaker: StandIn, sent: bytes) -> None:
    """A server that answers something else has failed."""
    sagemaker.script = [part(sent)]
    reply = await ask(path=PATH, body={"model": "e", "input": "a"})
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")


async def test_a_response_that_is_too_large(
    make_call: Callable[..., Call], sagemaker: StandIn, items: Any
) -> None:
    """It is not kept in memory, and its tokens are booked all the same."""
    ask = make_call(models={"e": MODEL}, max_whole=10_000)
    whole = answer(1, embedding=[0.5] * 5000)
    sagemaker.script = [part(whole[at : at + 1000]) for at in range(0, len(whole), 1000)]
    reply = await ask(path=PATH, body={"model": "e", "input": "a"})
    assert (reply.status, reply.error["code"]) == (400, "answer_too_large")
    assert ledger_item(items, reply)["prompt_tokens"] == 5


def test_the_reservation_is_an_upper_bound() -> None:
    """It is one token for each byte and a few more for each input, within the context."""
    for given, bound in (
        ("é", 2 + 16),
        (["a" * 500, "b"], 100 + 17),
        ([1, 2], 18),
        ([[1], [2]], 34),
    ):
        body = json.dumps({"model": "e", "input": given}).encode()
        assert parse_embeddings(body).max_tokens(100) == bound
