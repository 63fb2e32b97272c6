"""The application over all its stages, called as its server calls it.

These tests cover responses, rejections and documents.
"""

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import ids, limits
from lambda_fn.metering import accounts
from lambda_fn.settings import Settings, SettingsError
from lambda_fn.stream.middleware import HEALTH
from tests.support.function import FIRST, KEY, REST, WHOLE, Call, Reply, StandIn, part
from tests.support.replies import CHAT, STREAM, events, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")


async def test_whole_way(
    call: Call, sagemaker: StandIn, items: Any, account: dict[str, str]
) -> None:
    """A stream is whole, and the container gets what it needs.

    The ledger and the account have the usage.
    """
    reply = await call(body=STREAM)
    assert (reply.status, text(reply), events(reply)[-1]) == (200, "Hello world", "[DONE]")
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "content-encoding" not in reply.headers
    assert reply.headers["openai-processing-ms"].isdigit()
    request_id = reply.headers["x-request-id"].removeprefix("req_")
    assert events(reply)[0]["id"] == f"chatcmpl-{request_id}"
    assert sagemaker.bodies[0]["sluice"]["request_id"] == request_id
    assert sagemaker.bodies[0]["sluice"]["deadline_ms"] == limits.STREAM_DEADLINE * 1000
    item = ledger_item(items, reply)
    found = {
        name: item[name]
        for name in ("state", "outcome", "finish_reason", "prompt_tokens", "completion_tokens")
    }
    assert found == {
        "state": "SETTLED",
        "outcome": "complete",
        "finish_reason": "stop",
        "prompt_tokens": 4,
        "completion_tokens": 2,
    }
    assert 0 <= item["ttft_ms"] <= item["duration_ms"]
    booked = items.get_item(Key=account)["Item"]
    assert (booked["in_flight"], booked["requests"], booked["completion_tokens"]) == ({}, 1, 2)


async def test_one_json_body(call: Call) -> None:
    """Without `stream` the response is one object."""
    reply = await call(body=CHAT)
    body = json.loads(reply.body)
    assert reply.status == 200
    assert body["choices"][0]["message"]["content"] == "Hello world"
    assert body["usage"]["total_tokens"] == 6


async def test_other_shapes(call: Call) -> None:
    """Text completions and bare text pass the same stages."""
    reply = await call(path="/v1/completions", body={"model": "m", "prompt": "Hi", "stream": True})
    assert "".join(event["choices"][0]["text"] for event in events(reply)[:-1]) == "Hello world"
    reply = await call(body=CHAT, more={"accept": "text/plain"})
    assert (reply.status, reply.headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert reply.body == b"Hello world"


async def test_buffered_words(call: Call) -> None:
    """With buffering by line, no chunk ends within a line."""
    reply = await call(body=STREAM, more={"x-sluice-buffer": "line"})
    said = [event["choices"][0]["delta"].get("content") for event in events(reply)[:-1]]
    assert said == ["", "Hello world", None]


async def test_first_token_is_not_held_back(call: Call, sagemaker: StandIn) -> None:
    """A token is sent as soon as it arrives, even if the container is silent after it."""
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    assert not running.done()
    go_on.set()
    await running
    assert text(reply) == "Hello world"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_parts_need_not_be_records(call: Call, sagemaker: StandIn, size: int) -> None:
    """However SageMaker cuts the container's bytes into parts, the response is the same."""
    sagemaker.script = [part(WHOLE[start : start + size]) for start in range(0, len(WHOLE), size)]
    assert text(await call(body=STREAM)) == "Hello world"


async def test_heartbeat_is_a_setting() -> None:
    """A deployment may set a heartbeat from 1 s to 15 s."""
    environment = {
        "AWS_REGION": "eu-west-1",
        "SLUICE_MODELS": '{"m":{"endpoint":"e","context_tokens":9}}',
        "SLUICE_USAGE_TABLE": "t",
        "SLUICE_ORIGIN_SECRET": "s",
    }
    assert Settings.from_environment(environment).heartbeat == limits.HEARTBEAT
    assert (
        Settings.from_environment({**environment, "SLUICE_HEARTBEAT_SECONDS": "3"}).heartbeat == 3
    )
    for wrong in ("0", "16", "soon"):
        with pytest.raises(SettingsError, match="SLUICE_HEARTBEAT_SECONDS"):
            Settings.from_environment({**environment, "SLUICE_HEARTBEAT_SECONDS": wrong})


async def test_connection_to_the_endpoint_is_kept(
    call: Call, sagemaker: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a whole response, its connection is used for the next one, streamed or not."""
    monkeypatch.setattr(limits, "LAST_BYTES_TIMEOUT", 60.0)
    for body in (STREAM, CHAT, STREAM):
        assert (await call(body=body)).status == 200
    assert len(sagemaker.connections) == 1


async def test_guesses_leave_nothing(call: Call, items: Any) -> None:
    """Guessed keys and wrong secrets of a real key change no item."""

    def everything() -> list[Any]:
        found: list[Any] = items.scan(ConsistentRead=True)["Items"]
        return sorted(found, key=lambda item: (item["pk"], item["sk"]))

    await call(body=STREAM)
    before = everything()
    for key in (ids.new_key(), ids.new_key(ids.key_id_of(KEY)), ids.new_key(ids.key_id_of(KEY))):
        for body in (STREAM, b"{"):
            assert (await call(body=body, key=key)).error["code"] == "invalid_api_key"
    assert everything() == before


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"key": None}, 401, "invalid_api_key"),
        ({"key": ids.new_key()}, 401, "invalid_api_key"),
        ({"key": "sk-" + "x" * 1000}, 401, "invalid_api_key"),
        ({"key": "é"}, 401, "invalid_api_key"),
        ({"origin": "wrong"}, 403, "origin_denied"),
        ({"origin": ""}, 403, "origin_denied"),
        ({"body": {**STREAM, "model": "other"}}, 404, "model_not_found"),
        ({"body": b"{"}, 400, "invalid_json"),
        ({"body": {**CHAT, "messages": []}}, 400, "empty_array"),
        ({"body": b" " * (limits.MAX_BODY + 1)}, 413, "request_too_large"),
        ({"body": b"{", "key": ids.new_key()}, 401, "invalid_api_key"),
        ({"body": {**STREAM, "model": "other"}, "key": ids.new_key()}, 401, "invalid_api_key"),
        ({"path": "/v1/nothing"}, 404, "not_found"),
        ({"path": "/v1"}, 404, "not_found"),
        ({"method": "GET"}, 405, "method_not_allowed"),
        ({"method": "GET", "path": "/v1/models/other"}, 404, "model_not_found"),
        ({"method": "GET", "path": "/v1/models", "key": None}, 401, "invalid_api_key"),
    ],
    ids=range(17),
)
async def test_refusals(
    call: Call, sagemaker: StandIn, options: dict[str, Any], status: int, code: str | None
) -> None:
    """An invalid or forbidden request is rejected in OpenAI's shape. The model is not invoked."""
    reply = await call(**{"body": STREAM, **options})
    assert (reply.status, reply.error["code"]) == (status, code)
    assert sagemaker.bodies == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1//chat/completions"),
        ("POST", "//v1/chat/completions"),
        ("POST", "/v1/completions//"),
        ("GET", "/v1/models/"),
        ("GET", "/v1//models"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/usage/"),
    ],
)
async def test_slashes(call: Call, method: str, path: str) -> None:
    """A slash too many, from a base URL that ends in one, changes nothing."""
    body = {**CHAT, "prompt": "Hi"} if method == "POST" else b""
    assert (await call(method, path, body)).status == 200


@pytest.mark.parametrize(
    ("method", "path", "address"),
    [
        ("POST", "/v1/v1/chat/completions", "/v1/chat/completions"),
        ("POST", "/chat/completions", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/chat/completions/", "/v1/chat/completions"),
        ("POST", "/openai/deployments/m/chat/completions", "/v1/chat/completions"),
        ("POST", "/V1/Chat/Completions", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions ", "/v1/chat/completions"),
        ("POST", "/completions", "/v1/completions"),
        ("POST", "/v1/engines/m/completions", "/v1/completions"),
        ("GET", "/models", "/v1/models"),
        ("GET", "/v1/v1/models/", "/v1/models"),
        ("GET", "/api/v1/models/m", "/v1/models/{name}"),
        ("POST", "/v1/responses/v1/responses", "/v1/responses"),
        ("POST", "/v1/batches", "/v1/chat/completions, /v1/completions"),
        ("GET", "/", "/v1/chat/completions, /v1/completions"),
    ],
)
async def test_wrong_base_urls(call: Call, method: str, path: str, address: str) -> None:
    """A path of a client whose base URL is wrong is a 404 that names the right address."""
    reply = await call(method, path, CHAT)
    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert re.search(f"(address is|paths are) {re.escape(address)}[:,]", reply.error["message"])


async def test_an_unknown_path_lists_each_path_once(make_call: Callable[..., Call]) -> None:
    """The list of paths has one entry for a path, though it has a route for each method."""
    reply = await make_call(stream_table="streams")("GET", "/v1/nothing")
    paths = reply.error["message"].partition("The paths are ")[2].rstrip(".").split(", ")
    assert "/v1/chat/completions" in paths
    assert len(paths) == len(set(paths))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST"),
        ("OPTIONS", "/v1/chat/completions/", "POST"),
        ("BREW", "/v1/completions", "POST"),
        ("POST", "/v1/models", "GET, HEAD"),
        ("DELETE", "/v1/models/m", "GET, HEAD"),
    ],
)
async def test_wrong_methods(call: Call, method: str, path: str, allowed: str) -> None:
    """A wrong method is a 405 that says which ones the path takes."""
    reply = await call(method, path, b"")
    assert (reply.status, reply.error["code"]) == (405, "method_not_allowed")
    assert sorted(reply.headers["allow"].split(", ")) == sorted(allowed.split(", "))


async def test_previous_origin_secret_still_counts(call: Call) -> None:
    """While the origin secret is rotated, both secrets are accepted."""
    assert (await call(body=CHAT, origin="previous")).status == 200


async def test_disabled_key(call: Call, items: Any, account: dict[str, str]) -> None:
    """A disabled key is a 403 from its next request on.

    That request is settled as refused. Later ones leave nothing.
    """
    assert (await call(body=STREAM)).status == 200
    items.update_item(
        Key=account, UpdateExpression="SET enabled = :no", ExpressionAttributeValues={":no": False}
    )
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (403, "key_disabled")
    assert ledger_item(items, reply)["outcome"] == "refused"
    reply = await call(body=STREAM)
    assert (reply.status, reply.error["code"]) == (403, "key_disabled")
    with pytest.raises(KeyError):
        ledger_item(items, reply)
    assert (await call("GET", "/v1/models")).status == 403


async def test_models(call: Call) -> None:
    """The models are listed, and each is found by its name."""
    listed = json.loads((await call("GET", "/v1/models")).body)
    assert [model["id"] for model in listed["data"]] == ["m"]
    assert json.loads((await call("GET", "/v1/models/m")).body) == listed["data"][0]


async def test_aliases(make_call: Callable[..., Call], items: Any) -> None:
    """An alias is answered by its model, under whose name it is metered. Both are listed."""
    call = make_call(aliases={"gpt-4o": "m"}, deployed=1_700_000_000)
    reply = await call(body={**CHAT, "model": "gpt-4o"})
    assert json.loads(reply.body)["model"] == "m"
    assert ledger_item(items, reply)["model"] == "m"
    listed = json.loads((await call("GET", "/v1/models")).body)["data"]
    assert [(model["id"], model.get("root")) for model in listed] == [("m", None), ("gpt-4o", "m")]
    assert {model["created"] for model in listed} == {1_700_000_000}
    assert json.loads((await call("GET", "/v1/models/gpt-4o")).body) == listed[1]


@pytest.mark.parametrize("path", HEALTH)
async def test_health(call: Call, path: str) -> None:
    """It tells without a key that the function answers. GET and HEAD ask for it."""
    for method in ("GET", "HEAD"):
        assert (await call(method, path, b"", key=None)).status == 200
    assert json.loads((await call("GET", path, b"", key=None)).body) == {"status": "ok"}
    assert (await call("GET", path, b"", key=None, origin="wrong")).status == 403


async def test_openapi_document(call: Call) -> None:
    """The document names the deployed models, and all its references resolve. It needs no key."""
    reply = await call("GET", "/v1/openapi.json", key=None)
    document = json.loads(reply.body)
    schemas = document["components"]["schemas"]
    assert schemas["ChatRequest"]["properties"]["model"]["enum"] == ["m"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', reply.body.decode()))
    assert {"ChatRequest", "CompletionRequest", "Error", "FunctionTool"} <= named <= set(schemas)


async def test_the_document_has_the_paths_of_kept_responses_where_they_exist(
    call: Call, make_call: Callable[..., Call]
) -> None:
    """They are those of the recall function, which a deployment without its table does not have."""

    async def paths(of: Call) -> set[str]:
        return set(json.loads((await of("GET", "/v1/openapi.json", key=None)).body)["paths"])

    assert await paths(make_call(stream_table="streams")) - await paths(call) == {
        "/v1/sluice/streams",
        "/v1/sluice/streams/{id}",
        "/v1/sluice/streams/{id}/cancel",
        "/v1/responses/{id}",
        "/v1/responses/{id}/cancel",
        "/v1/responses/{id}/input_items",
        "/v1/chat/completions/{id}",
        "/v1/chat/completions/{id}/messages",
        "/v1/conversations",
        "/v1/conversations/{id}",
        "/v1/conversations/{id}/items",
        "/v1/conversations/{id}/items/{item}",
    }


async def test_the_openapi_document_is_made_once(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The document needs no key, and is made only once."""
    first = await call("GET", "/v1/openapi.json", key=None)
    monkeypatch.setattr("lambda_fn.stream.endpoints.openapi.document", None)
    assert (await call("GET", "/v1/openapi.json", key=None)).body == first.body


async def test_nothing_secret_is_logged(
    call: Call, sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """The log has the figures of a request, but neither its prompt, its completion nor the key."""
    await call(body={**CHAT, "messages": [{"role": "user", "content": "my prompt"}]})
    sagemaker.status, sagemaker.script = (
        424,
        [b'{"OriginalStatusCode":500,"OriginalMessage":"my prompt"}'],
    )
    await call(body=CHAT)
    logged = capsys.readouterr().out
    entries = [json.loads(line) for line in logged.splitlines()]
    assert [entry["event"] for entry in entries] == ["request", "upstream", "request"]
    assert entries[0]["completion_tokens"] == 2
    assert not any(secret in logged for secret in ("my prompt", "Hello", "sk-"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HEARTBEAT", 31.0),
        ("FIRST_EVENT_WAIT", 31.0),
        ("STREAM_DEADLINE", 476.0),
        ("META_MAX_ATTEMPTS", 9),
        ("SETTLE_TIMEOUT", 25.0),
        ("CHECKPOINT", 500.0),
        ("OVERDUE", 400.0),
        ("UPSTREAM_SILENCE", 60.0),
        ("CANCEL_TIMEOUT", 18.0),
    ],
)
def test_limits_are_held_against_each_other(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    """If a limit contradicts another one, the function does not start, and the error names it."""
    limits.check()
    monkeypatch.setattr(limits, name, value)
    with pytest.raises(ValueError, match=name):
        limits.check()


async def test_a_model_whose_settings_cannot_be_read(
    make_call: Callable[..., Call], items: Any
) -> None:
    """The other models are served. The broken one is named in the list, and is a 503 of its own."""
    reason = "context_tokens: must be a whole number"
    call = make_call(unreadable={"big": reason})
    assert text(await call(body=STREAM)) == "Hello world"
    listed = json.loads((await call("GET", "/v1/models")).body)
    assert [model["id"] for model in listed["data"]] == ["m"]
    assert listed["sluice"]["not_served"] == [{"id": "big", "reason": reason}]
    for reply in (
        await call(body={**STREAM, "model": "big"}),
        await call("GET", "/v1/models/big"),
    ):
        assert (reply.status, reply.error["code"], reply.error["param"]) == (
            503,
            "model_unreadable",
            "model",
        )
        assert reason in reply.error["message"]
        assert reply.headers["x-should-retry"] == "false"
    items.put_item(Item=accounts.new_account(KEY, name="n", now=1, models=["m"]))
    assert "not_served" not in json.loads((await call("GET", "/v1/models")).body)["sluice"]
    for reply in (
        await call(body={**STREAM, "model": "big"}),
        await call("GET", "/v1/models/big"),
    ):
        assert (reply.status, reply.error["code"]) == (404, "model_not_found")
