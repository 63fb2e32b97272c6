"""The tokenizer of a model, for keys: requests without tokens, in vLLM's and llama.cpp's forms."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import ids
from lambda_fn.schema.tokenize import MAX_TOKENS
from lambda_fn.settings import Model
from tests.support.function import Call, StandIn, part
from tests.support.replies import ledger_item

pytestmark = pytest.mark.usefixtures("account")
TOKENS = part(b'{"tokens":[1,2,3]}')


@pytest.mark.parametrize("path", ["/tokenize", "/v1/tokenize"])
@pytest.mark.parametrize(
    ("body", "asked"),
    [
        ({"model": "m", "prompt": "Hi"}, {"tokenize": "Hi", "special": True}),
        ({"prompt": "Hi", "add_special_tokens": False}, {"tokenize": "Hi", "special": False}),
        ({"content": "Hi", "add_special": False}, {"tokenize": "Hi", "special": False}),
        ({"content": ""}, {"tokenize": "", "special": True}),
    ],
)
async def test_tokenize(
    call: Call, sagemaker: StandIn, items: Any, path: str, body: dict[str, Any], asked: Any
) -> None:
    """A text has a count and tokens. The request is in the ledger, without tokens or cost."""
    sagemaker.script = [TOKENS[:9], TOKENS[9:]]
    reply = await call(path=path, body=body)
    assert json.loads(reply.body) == {"count": 3, "max_model_len": 100, "tokens": [1, 2, 3]}
    assert sagemaker.bodies == [{"sluice": {"v": 1, **asked}}]
    item = ledger_item(items, reply)
    assert (item["outcome"], item["prompt_tokens"], item["cost"]) == ("complete", 0, 0)


async def test_detokenize(call: Call, sagemaker: StandIn) -> None:
    """Tokens have a text, under the names of both servers."""
    sagemaker.script = [part(b'{"text":"Hi"}')]
    reply = await call(path="/detokenize", body={"model": "m", "tokens": [1, 2]})
    assert json.loads(reply.body) == {"prompt": "Hi", "content": "Hi"}
    assert sagemaker.bodies == [{"sluice": {"v": 1, "detokenize": [1, 2]}}]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/tokenize", {}, 400, "prompt"),
        ("/tokenize", {"prompt": 5}, 400, "prompt"),
        ("/tokenize", {"messages": []}, 400, "messages"),
        ("/tokenize", {"prompt": "a", "with_pieces": True}, 400, "with_pieces"),
        ("/tokenize", {"prompt": "a", "model": "none"}, 404, "model"),
        ("/tokenize", {"prompt": "a", "model": "their"}, 400, "model"),
        ("/tokenize", {"prompt": "a"}, 400, "model"),
        ("/detokenize", {"model": "m"}, 400, "tokens"),
        ("/detokenize", {"model": "m", "tokens": [-1]}, 400, "tokens[0]"),
        ("/detokenize", {"model": "m", "tokens": [1] * (MAX_TOKENS + 1)}, 400, "tokens"),
    ],
    ids=str,
)
async def test_refusals(
    make_call: Callable[..., Call],
    sagemaker: StandIn,
    path: str,
    body: dict[str, Any],
    status: int,
    param: str,
) -> None:
    """What is wrong is named, and nothing is asked of the container."""
    ours = Model(endpoint="endpoint-1", context_tokens=100)
    theirs = Model(endpoint="endpoint-2", context_tokens=100, dialect="openai")
    ask = make_call(models={"m": ours, "their": theirs})
    reply = await ask(path=path, body=body)
    assert (reply.status, reply.error["param"]) == (status, param)
    assert sagemaker.bodies == []


async def test_it_needs_a_key(call: Call, sagemaker: StandIn) -> None:
    """Without a key, or with a wrong one, nothing is asked of the container."""
    for key in (None, ids.new_key()):
        assert (await call(path="/tokenize", body={"prompt": "a"}, key=key)).status == 401
    assert sagemaker.bodies == []


@pytest.mark.parametrize("answer", [b"{", b"{}", b'{"tokens":"a"}', b'{"text":"a"}'])
async def test_an_answer_in_another_form(
    call: Call, sagemaker: StandIn, items: Any, answer: bytes
) -> None:
    """A container that answers something else has failed, and the request is settled."""
    sagemaker.script = [part(answer)]
    reply = await call(path="/tokenize", body={"prompt": "a"})
    assert (reply.status, reply.error["code"]) == (502, "upstream_error")
    assert "outcome" in ledger_item(items, reply)


async def test_a_refusal_of_the_container(call: Call, sagemaker: StandIn) -> None:
    """A text that no prompt could hold is refused by the container, in its words."""
    message = {
        "error": {"code": "context_length_exceeded", "message": "Too long.", "param": "prompt"}
    }
    sagemaker.status = 424
    sagemaker.script = [
        json.dumps({"OriginalStatusCode": 400, "OriginalMessage": json.dumps(message)}).encode()
    ]
    reply = await call(path="/tokenize", body={"prompt": "a" * 9000})
    assert (reply.status, reply.error["code"], reply.error["param"]) == (
        400,
        "context_length_exceeded",
        "prompt",
    )
