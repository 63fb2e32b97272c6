"""Repeated requests.

A repeat is rejected while the first request runs, and served after its end. SDKs are told when not
to repeat.
"""

import asyncio
from typing import Any

import pytest

from tests.support.function import FIRST, KEY, REST, Call, Reply, StandIn
from tests.support.replies import CHAT, STREAM, ledger_item, text

pytestmark = pytest.mark.usefixtures("account")


async def test_a_repeat_of_what_still_runs_is_refused(
    call: Call, sagemaker: StandIn, items: Any
) -> None:
    """A repeat of a running request is a 409 that names the running one.

    No SDK retries it.
    """
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(call(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    again = await call(body=STREAM, more={"x-stainless-retry-count": "1"})
    assert (again.status, again.error["code"]) == (409, "request_running")
    assert again.headers["x-should-retry"] == "false"
    assert reply.headers["x-request-id"] in again.error["message"]
    assert ledger_item(items, again)["outcome"] == "refused"
    go_on.set()
    await running
    assert text(reply) == "Hello world"
    assert len(sagemaker.bodies) == 1


@pytest.mark.parametrize(
    ("first", "second", "runs"),
    [
        ({}, {}, True),
        ({}, {"x-stainless-retry-count": "0"}, True),
        ({"idempotency-key": "a"}, {"idempotency-key": "b"}, True),
        ({"idempotency-key": "a"}, {"idempotency-key": "a"}, False),
    ],
    ids=range(4),
)
async def test_what_is_a_repeat(
    call: Call, sagemaker: StandIn, first: dict[str, str], second: dict[str, str], runs: bool
) -> None:
    """An equal request is a repeat only if its sender says so.

    It does so by a retry count or by the same Idempotency-Key.
    """
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    replies = [Reply(), Reply()]
    tasks = [asyncio.ensure_future(call(body=STREAM, reply=replies[0], more=first))]
    await replies[0].until(lambda: "Hello" in text(replies[0]))
    tasks.append(asyncio.ensure_future(call(body=STREAM, reply=replies[1], more=second)))
    await replies[1].until_chunks(1)
    assert (replies[1].status == 200) == runs
    go_on.set()
    await asyncio.gather(*tasks)


async def test_a_repeat_after_the_end_runs(call: Call, sagemaker: StandIn) -> None:
    """A repeat of a request that has ended is served like any other."""
    await call(body=STREAM)
    assert (await call(body=STREAM, more={"x-stainless-retry-count": "2"})).status == 200


async def test_sdks_do_not_repeat_what_was_generated(call: Call, sagemaker: StandIn) -> None:
    """A response that fails after tokens tells SDKs not to repeat the request.

    One that never began does not.
    """
    for script, header in (([FIRST, None], "false"), ([None], None)):
        sagemaker.script = script
        reply = await call(body=CHAT)
        assert (reply.status, reply.headers.get("x-should-retry")) == (502, header)


@pytest.mark.parametrize("key", ["", " ", "\t", "k" * 256, "a\nb", "a\x00", "a\x7f", "a" * 100_000])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
async def test_a_key_that_is_none(call: Call, sagemaker: StandIn, path: str, key: str) -> None:
    """A key that is blank, too long or has control characters is refused before any work.

    A caller that sends an empty one believes that its retries are safe, and they would not be.
    """
    reply = await call(path=path, body={**CHAT, "max_tokens": 5}, more={"idempotency-key": key})
    assert reply.status == 400
    assert "'Idempotency-Key'" in reply.body.decode()
    assert not sagemaker.bodies


@pytest.mark.parametrize("key", ["k", "k" * 255, "order 4711", "€", 'a,b;c="d"'])
async def test_a_key_that_is_one(call: Call, key: str) -> None:
    """Printable text of up to 255 characters is a key."""
    assert (await call(body=CHAT, more={"idempotency-key": key})).status == 200


async def test_a_wrong_key_beside_a_wrong_secret(call: Call) -> None:
    """Only a caller that is known learns of it."""
    assert (await call(body=CHAT, key=f"{KEY}x", more={"idempotency-key": ""})).status == 401
