"""Answers that outlive their connection, over the whole local cloud."""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import openai
import pytest

from cli.lib import local_keys
from local.cloud import LocalCloud
from tests.e2e.test_cancel import running
from tests.e2e.test_chaos import OVERDUE, overdue
from tests.e2e.test_streaming import script, settled
from tests.support.deployments import SCRIPTED_MODEL, Deployment, sweep
from tests.support.faults import fault

pytestmark = pytest.mark.e2e

STREAMS = "/v1/sluice/streams"
COUNT, RATE = 60, 30
FORMS: dict[str, tuple[str, dict[str, str]]] = {
    "chat": ("/v1/chat/completions", {}),
    "text": ("/v1/chat/completions", {"accept": "text/plain"}),
    "completion": ("/v1/completions", {}),
    "messages": ("/v1/messages", {"anthropic-version": "2023-06-01"}),
}
"""The path of each form of an answer, and the headers that ask for it."""


@pytest.fixture
def http(scripted: Deployment) -> Iterator[httpx.Client]:
    """Yield a client with the deployment's key."""
    headers = {"authorization": f"Bearer {scripted.key}"}
    with httpx.Client(base_url=scripted.origin, headers=headers, timeout=60) as client:
        yield client


def body_of(form: str, said: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the body of a durable request of a form."""
    text = json.dumps(said)
    prompt = {"prompt": text} if form == "completion" else {"messages": script(**said)}
    return {
        "model": SCRIPTED_MODEL,
        "stream": True,
        "max_tokens": 4000,
        "sluice": {"durable": True},
        **prompt,
        **more,
    }


@contextmanager
def asked(http: httpx.Client, form: str, **said: Any) -> Iterator[tuple[httpx.Response, str]]:
    """Yield the open response to a durable request, and the id of its stream."""
    path, headers = FORMS[form]
    with http.stream("POST", path, json=body_of(form, said), headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield response, response.headers["x-sluice-stream"]


def without_heartbeats(form: str, body: bytes) -> bytes:
    """Return a body without what only keeps its connection open."""
    if form == "text":
        return body.replace(b"\x16", b"")
    return b"\n\n".join(it for it in body.split(b"\n\n") if not is_heartbeat(it)).strip()


def text_of(form: str, body: bytes) -> str:
    """Return the text in a body."""
    if form == "text":
        return without_heartbeats(form, body).decode()
    found = re.findall(rb'"(?:content|text)":\s?("(?:[^"\\]|\\.)*")', body)
    return "".join(json.loads(it) for it in found)


def is_heartbeat(chunk: bytes) -> bool:
    """Return whether a chunk has no number and is not the end."""
    return chunk.startswith((b"data: {", b"event: ping")) and b'"n":' not in chunk


def seen(form: str, body: bytes) -> tuple[bytes, int | None]:
    """Return the whole chunks of a body that was cut, and the number of the last one."""
    if form == "text":
        body = without_heartbeats(form, body)
        return body, len(body)
    whole = body[: body.rfind(b"\n\n") + 2] if b"\n\n" in body else b""
    whole = whole.removesuffix(b"data: [DONE]\n\n")  # each resumed stream ends so
    numbers = re.findall(rb'"n":(\d+)', whole)
    return whole, int(numbers[-1]) if numbers else None


def resumed(http: httpx.Client, name: str, after: int | None) -> httpx.Response:
    """Return the rest of a stream."""
    params = {} if after is None else {"starting_after": after}
    response = http.get(f"{STREAMS}/{name}", params=params)
    assert response.status_code == 200, response.text
    return response


@pytest.mark.parametrize("form", FORMS)
def test_an_answer_that_was_cut_and_resumed_is_the_one_that_was_not(
    http: httpx.Client, scripted: Deployment, form: str
) -> None:
    """A client that drops its connection after each few tokens has the same bytes at the end.

    The answer is generated once, and billed once.
    """
    said = {"repeat": " wörd", "count": COUNT, "rate": RATE}
    with asked(http, form, **said) as (response, name):
        got = b""
        for part in response.iter_raw():
            got += part
            if len(got) > 2000 or (form == "text" and len(got) > 50):
                break
    got, after = seen(form, got)
    for _ in range(3):  # it leaves twice more while the answer runs
        params = {} if after is None else {"starting_after": after}
        with http.stream("GET", f"{STREAMS}/{name}", params=params) as response:
            assert response.status_code == 200
            more = b""
            for part in response.iter_raw():
                more += part
                if len(more) > 1500:
                    break
        part_, number = seen(form, more)
        got, after = got + part_, (len(got + part_) if form == "text" else number or after)
    got += resumed(http, name, after).content
    whole = resumed(http, name, None).content
    assert without_heartbeats(form, got) == without_heartbeats(form, whole)
    with asked(http, form, **said) as (response, _):
        assert text_of(form, response.read()) == text_of(form, whole) == " wörd" * COUNT
    item = settled(scripted, name)
    assert (item["outcome"], item["completion_tokens"]) == ("complete", COUNT)
    state = http.get(f"{STREAMS}/{name}", params={"wait": 10}).json()
    assert (state["status"], state["usage"]["completion_tokens"]) == ("completed", COUNT)


def test_an_answer_can_be_read_until_it_is_deleted(http: httpx.Client) -> None:
    """It is listed, sent again, and gone with its deletion."""
    with asked(http, "chat", say=["hi"]) as (response, name):
        whole = response.read()
    again = resumed(http, name, None)
    assert again.content == whole
    assert again.headers["cache-control"].startswith("no-")
    listed = http.get(STREAMS, params={"limit": 1}).json()["data"]
    assert [it["id"] for it in listed] == [name]
    assert http.delete(f"{STREAMS}/{name}").json()["deleted"] is True
    assert http.get(f"{STREAMS}/{name}").status_code == 404
    assert name not in http.get(STREAMS).text


def test_another_key_has_no_such_answer(http: httpx.Client, scripted: Deployment) -> None:
    """Another key gets the 404 of an id that never was, for every call."""
    with asked(http, "chat", say=["hi"]) as (response, name):
        response.read()
    other = local_keys.create(scripted.table, name="other")
    headers = {"authorization": f"Bearer {other}"}
    for method, path in (
        ("GET", f"{STREAMS}/{name}"),
        ("POST", f"{STREAMS}/{name}/cancel"),
        ("DELETE", f"{STREAMS}/{name}"),
    ):
        reply = http.request(method, path, headers=headers)
        assert (reply.status_code, reply.json()["error"]["code"]) == (404, "response_not_found")
    assert http.get(STREAMS, headers=headers).json()["data"] == []
    assert resumed(http, name, None).content.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("durable", [True, False])
def test_a_cancel_frees_the_container(
    cloud: LocalCloud, http: httpx.Client, scripted: Deployment, durable: bool
) -> None:
    """A running answer ends in the container and for its client, and is billed until there."""
    before = sum(running(cloud, scripted))
    body = body_of("chat", {"repeat": " w", "count": 4000, "rate": 20})
    if not durable:
        del body["sluice"]
    got = b""
    with http.stream("POST", FORMS["chat"][0], json=body) as response:
        name = response.headers["x-request-id"].removeprefix("req_")
        for part in response.iter_raw():
            if not got:
                assert sum(running(cloud, scripted)) > before
                reply = http.post(f"{STREAMS}/{name}/cancel").json()
                assert reply["status"] == ("cancelled" if durable else "cancelling")
            got += part
    assert b"cancelled" in got
    assert b"[DONE]" not in got or b'"error"' in got
    until(lambda: sum(running(cloud, scripted)) == before)
    item = settled(scripted, name)
    assert item["outcome"] == "cancelled"
    assert 0 < item["completion_tokens"] < 4000
    if durable:
        assert http.post(f"{STREAMS}/{name}/cancel").json()["status"] == "cancelled"
        assert b'"code":"cancelled"' in resumed(http, name, 1).content


def test_an_answer_whose_function_was_killed_ends_for_its_reader(
    cloud: LocalCloud, http: httpx.Client, scripted: Deployment
) -> None:
    """Its reader gets what was logged, and the end when the lease is over: nothing twice."""
    word = secrets.token_hex(4)
    said = {"repeat": f" {word}", "count": 4000, "rate": 50}
    kind = "function-killed-in-response"
    with overdue(cloud, scripted, OVERDUE):
        with fault(cloud, kind=kind, scope=f"{scripted.name}*Stream*", after=4000):
            body, name = broken(http, said)
        ended_by_its_reader(cloud, http, scripted, word, body, name)


def ended_by_its_reader(
    cloud: LocalCloud, http: httpx.Client, scripted: Deployment, word: str, body: bytes, name: str
) -> None:
    """Check what the reader of a killed function's answer gets, and that log and ledger agree."""
    got, after = seen("chat", body)
    rest = resumed(http, name, after).content
    numbers = [int(it) for it in re.findall(rb'"n":(\d+)', got + rest)]
    assert numbers == sorted(set(numbers))
    assert b'"code":"interrupted"' in rest
    assert numbers[-1] >= 100_000
    state = http.get(f"{STREAMS}/{name}", params={"wait": 0}).json()
    assert state["status"] == "failed"
    again = resumed(http, name, None).content
    logged = again.count(word.encode())
    assert abs(logged - (got + rest).count(word.encode())) <= 500
    sweep(cloud, scripted)
    item = settled(scripted, name)
    assert item["completion_tokens"] == logged


def broken(http: httpx.Client, said: dict[str, Any]) -> tuple[bytes, str]:
    """Return what a client has of a chat whose connection breaks, and the stream's id."""
    got = b""
    with asked(http, "chat", **said) as (response, name):
        try:
            for part in response.iter_raw():
                got += part
        except httpx.TransportError:
            return got, name
    raise AssertionError("the connection did not break")


def until(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_the_stock_client_resumes_by_its_own_calls(scripted: Deployment) -> None:
    """openai-python reads the rest of a chat with its low-level `get`, as chunks of a chat."""
    client = scripted.client
    stream = client.chat.completions.create(
        model=SCRIPTED_MODEL,
        messages=script(repeat=" w", count=20, rate=50),
        stream=True,
        extra_body={"sluice": {"durable": True}},
    )
    first = next(stream)
    name = stream.response.headers["x-sluice-stream"]
    number = first.model_extra["sluice"]["n"] if first.model_extra else 0
    stream.close()
    rest = client.get(
        f"/sluice/streams/{name}?starting_after={number}",
        cast_to=openai.types.chat.ChatCompletionChunk,
        stream=True,
        stream_cls=openai.Stream[openai.types.chat.ChatCompletionChunk],
    )
    chunks = list(rest)
    words = "".join(it.choices[0].delta.content or "" for it in chunks if it.choices)
    assert words == " w" * 20
    assert chunks[-1].choices[0].finish_reason == "stop"
