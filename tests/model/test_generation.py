"""Early ends of a request.

It may be left, not read, cancelled or late, or the container stops.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from model.answers import Timing
from model.generation import MAX_TOKENIZING
from tests.support.asking import ENDLESS, error_of, first_record, running
from tests.support.model import Serve, scripted, until

if TYPE_CHECKING:
    import httpx


async def test_leaving_frees_the_place(serve: Serve) -> None:
    """If a caller disconnects during the answer, its place is freed."""
    async with serve(parallel=1, queue=1) as container:
        async with container.client.stream("POST", "/invocations", json=ENDLESS) as answer:
            lines = answer.aiter_lines()
            await first_record(lines)
            assert container.engine.active == 1
        await container.idle()
        assert (await container.lines(scripted(say=["a"])))[-1] == {"type": "end"}


async def test_leaving_before_the_first_token(serve: Serve) -> None:
    """If a caller disconnects while it waits, its place is freed."""
    async with serve() as container:
        for path in ("/invocations", "/v1/chat/completions"):
            waiting = asyncio.create_task(
                container.client.post(path, json=scripted(count=1, first_after=60))
            )
            await running(container, 1)
            waiting.cancel()
            await container.idle()


async def test_cancel(serve: Serve) -> None:
    """A running request is cancelled by its id, and the response confirms it.

    An unknown id is not found.
    """
    async with (
        serve(timing=Timing(cancel=0.05)) as container,
        container.client.stream(
            "POST", "/invocations", json={**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
        ) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        results = [
            (
                await container.client.post(
                    "/invocations", json={"sluice": {"v": 1, "cancel": name}}
                )
            ).json()
            for name in ("r2", "r1", "r1")
        ]
        records = [json.loads(line) async for line in lines if line]
        await container.idle()

    assert results == [{"cancelled": False}, {"cancelled": True}, {"cancelled": False}]
    assert records[-1]["type"] == "error"
    assert records[-1]["code"] == "cancelled"


async def test_cancel_in_the_queue(serve: Serve) -> None:
    """A request that waits for a place can be cancelled, and leaves the queue."""
    async with serve(parallel=1, queue=1) as container:
        async with container.client.stream("POST", "/invocations", json=ENDLESS) as answer:
            lines = answer.aiter_lines()
            await first_record(lines)
            body = {**ENDLESS, "sluice": {"v": 1, "request_id": "waits"}}
            waiting = asyncio.create_task(container.client.post("/invocations", json=body))
            await until(lambda: container.generation.waiting == 1)
            assert await container.generation.cancel("waits")
            cancelled = await waiting
        assert json.loads(cancelled.text)["code"] == "cancelled"
        assert (await container.lines(scripted(say=["a"])))[-1] == {"type": "end"}


async def test_same_id_twice(serve: Serve) -> None:
    """A second request with the id of a running one is rejected."""
    body = {**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
    async with (
        serve() as container,
        container.client.stream("POST", "/invocations", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        second = await container.client.post("/invocations", json=body)

    assert second.status_code == 400
    assert error_of(second)["param"] == "sluice.request_id"


@pytest.mark.parametrize(
    "script", [{"count": 100_000, "rate": 100}, {"count": 1, "first_after": 60}]
)
async def test_deadline(serve: Serve, script: dict[str, Any]) -> None:
    """After its deadline a request ends with an error record, whether it has begun or not."""
    async with serve() as container:
        records = await container.lines(
            {**scripted(**script), "sluice": {"v": 1, "deadline_ms": 200}}
        )
        await container.idle()

    assert records[-1]["type"] == "error"
    assert records[-1]["code"] == "deadline_exceeded"


async def test_slow_reader_is_let_go(serve: Serve) -> None:
    """If a caller reads nothing for the set time, its request ends and frees its place."""
    body = scripted(repeat="x" * 50_000, count=600, prompt_tokens=1)
    timing = Timing(open_after=0, heartbeat=0.05, last_write=0.05, slow_reader=0.2)
    async with serve(timing=timing, context_tokens=50_000) as container:
        port = container.client.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        payload = json.dumps(body).encode()
        writer.write(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(payload)
            + payload
        )
        await running(container, 1)
        await container.idle()
        rest = await reader.read()  # the rest of the buffers, and then the end of the connection
        writer.close()
        ended = (await container.client.get("/metrics")).text

    assert b'"type":"end"' not in rest
    assert 'outcome="cancelled"} 1.0' in ended


async def test_drain_ends_what_takes_too_long(serve: Serve) -> None:
    """A stream that is longer than a drain ends with an error record. Then the drain ends."""
    async with (
        serve() as container,
        container.client.stream("POST", "/invocations", json=ENDLESS) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        await container.generation.drain(0.05)
        records = [json.loads(line) async for line in lines if line]
        await container.idle()

    assert records[-1] == {
        "type": "error",
        "code": "not_ready",
        "message": "the container is shutting down",
    }


async def test_deadline_of_its_own(serve: Serve) -> None:
    """A request without a deadline, or with a later one, has the container's deadline."""
    async with serve(max_seconds=1) as container:
        later = {**ENDLESS, "sluice": {"v": 1, "deadline_ms": 60_000}}
        answers = await asyncio.gather(*(container.lines(body) for body in (ENDLESS, later)))

    assert [records[-1]["code"] for records in answers] == ["deadline_exceeded"] * 2


async def test_cancel_that_overtakes_its_request(serve: Serve) -> None:
    """A cancel waits a while for its request. When the request arrives, it ends at once.

    Every cancel of it succeeds.
    """
    body = {**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
    cancel = {"sluice": {"v": 1, "cancel": "r1"}}
    async with serve(timing=Timing(cancel=30)) as container:
        early = [
            asyncio.create_task(container.client.post("/invocations", json=cancel))
            for _ in range(2)
        ]
        await until(lambda: container.generation.expected == {"r1"})
        answer = await container.client.post("/invocations", json=body)
        told = [(await task).json() for task in early]
        await container.idle()
        assert container.generation.expected == set()

    records = [json.loads(line) for line in answer.text.splitlines()]
    assert [record.get("code", record["type"]) for record in records] == ["start", "cancelled"]
    assert told == [{"cancelled": True}] * 2


async def test_cancels_that_wait_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown id gets an answer at once, if too many cancels wait or the container stops."""
    monkeypatch.setattr("model.generation._EXPECTED_MOST", 1)
    async with serve() as container:
        first = asyncio.create_task(container.generation.cancel("r1", 30))
        await until(lambda: container.generation.expected == {"r1"})
        assert not await container.generation.cancel("r2", 30)
        await container.generation.drain(1)
        assert not await container.generation.cancel("r3", 30)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert container.generation.expected == set()


async def test_cancels_that_wait_do_not_disturb_each_other(serve: Serve) -> None:
    """If one of several waiting cancels of a request gives up, the others go on waiting."""
    body = {**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
    async with serve() as container:
        last = asyncio.create_task(container.generation.cancel("r1", 30))
        assert not await container.generation.cancel("r1", 0.01)
        assert not await container.generation.cancel("r1", 0.01)
        answer = await container.client.post("/invocations", json=body)
        assert await last
        assert json.loads(answer.text.splitlines()[-1])["code"] == "cancelled"


async def test_dead_engine_fails_the_ping(serve: Serve) -> None:
    """Once the engine has died, /ping fails and requests are rejected. /metrics still answers."""
    async with serve() as container:
        container.engine.healthy = False
        ping = await container.client.get("/ping")
        refused = await container.client.post("/invocations", json=ENDLESS)
        metrics = await container.client.get("/metrics")

    assert (ping.status_code, refused.status_code, metrics.status_code) == (503, 503, 200)
    assert refused.headers["retry-after"] == "5"


async def test_shutdown_tells_streams(serve: Serve) -> None:
    """A stream that is longer than the grace period of a shutdown ends with an error record."""
    async with (
        serve() as container,
        container.client.stream("POST", "/invocations", json=ENDLESS) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        container.server.should_exit = True
        records = [json.loads(line) async for line in lines if line]

    assert records[-1] == {
        "type": "error",
        "code": "not_ready",
        "message": "the container is shutting down",
    }


async def test_shutdown_tells_whole_answers(serve: Serve) -> None:
    """An answer in one body that is longer than the grace period of a shutdown is a 503."""
    async with serve() as container:
        waiting = asyncio.create_task(container.client.post("/v1/chat/completions", json=ENDLESS))
        await running(container, 1)
        container.server.should_exit = True
        answer = await waiting

    assert answer.status_code == 503
    assert error_of(answer)["code"] == "not_ready"


async def test_texts_that_wait_for_their_tokens_are_bounded(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts are turned into tokens one by one. So many may wait, and another one is a 429."""

    async def post() -> httpx.Response:
        asked = {"sluice": {"v": 1, "tokenize": "a"}}
        return await container.client.post("/invocations", json=asked)

    held = asyncio.Event()

    async def tokenize(text: str, *, special: bool) -> list[int]:
        await held.wait()
        return [len(text), special]

    async with serve() as container:
        monkeypatch.setattr(container.engine, "tokenize", tokenize)
        tasks = [asyncio.create_task(post()) for _ in range(MAX_TOKENIZING)]
        await until(lambda: container.generation._to_tokenize == MAX_TOKENIZING)
        refused = await post()
        held.set()
        answers = await asyncio.gather(*tasks)
        last = await post()
    assert (refused.status_code, error_of(refused)["code"]) == (429, "overloaded")
    assert refused.headers["retry-after"] == "1"
    assert {answer.status_code for answer in [*answers, last]} == {200}
