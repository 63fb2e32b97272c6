"""Repeated requests.

A repeat is rejected while the first request runs, and served after its end. SDKs are told when not
to repeat.
"""

import asyncio
from typing import Any

import pytest

from tests.support.function import FIRST, REST, Call, Reply, StandIn
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
