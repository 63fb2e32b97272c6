"""Queues, heartbeats, pace, and many streams, over a real server."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import Any

import pytest

from model.answers import Timing
from tests.support.asking import ENDLESS, error_of, first_record
from tests.support.model import LONG, Serve, scripted, until


async def test_tokens_arrive_as_they_are_sampled(serve: Serve, permits: asyncio.Semaphore) -> None:
    """Each token reaches the client in its own record before the next one is sampled."""
    async with (
        serve() as container,
        container.client.stream(
            "POST", "/invocations", json=scripted(count=10, rate=1 / LONG)
        ) as answer,
    ):
        lines = answer.aiter_lines()
        assert (await first_record(lines))["type"] == "start"
        for _ in range(10):
            record = await first_record(lines)
            assert (record["type"], record["tokens"]) == ("delta", 1)
            permits.release()
        assert [json.loads(line)["type"] async for line in lines][-1] == "end"


async def test_tokens_of_a_slow_writer_share_records(serve: Serve) -> None:
    """Tokens that are sampled while the loop is busy share a record that counts them.

    None is lost.
    """
    async with (
        serve() as container,
        container.client.stream(
            "POST", "/invocations", json=scripted(count=60, rate=200)
        ) as answer,
    ):
        records = []
        async for line in answer.aiter_lines():
            records.append(json.loads(line))
            if len(records) == 5:
                time.sleep(0.1)  # noqa: ASYNC251 - the loop, which is the server's too, is to be blocked
    deltas = [record for record in records if record["type"] == "delta"]

    assert max(delta["tokens"] for delta in deltas) >= 10
    assert sum(delta["tokens"] for delta in deltas) == 60
    assert "".join(delta["delta"]["content"] for delta in deltas) == " word" * 60


async def test_queue_full(serve: Serve) -> None:
    """Requests over the number of places wait. Requests over the queue are a 429 at once."""
    async with serve(parallel=1, queue=1) as container:
        async with container.client.stream("POST", "/invocations", json=ENDLESS) as answer:
            lines = answer.aiter_lines()
            await first_record(lines)
            waiting = asyncio.create_task(container.lines(scripted(say=["next"])))
            await until(lambda: container.generation.waiting == 1)
            refused = await container.client.post("/invocations", json=ENDLESS)
        assert (await waiting)[-1] == {"type": "end"}

    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "1"
    assert error_of(refused)["code"] == "overloaded"


async def test_heartbeats(serve: Serve, permits: asyncio.Semaphore) -> None:
    """A silent request answers 200 after a while, then sends blank lines until its first token."""
    body = scripted(say=["a"], first_after=LONG)
    async with (
        serve(timing=Timing(open_after=0.05, heartbeat=0.05)) as container,
        container.client.stream("POST", "/invocations", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        beats = [await anext(lines) for _ in range(4)]
        permits.release()
        rest = [line async for line in lines]

    assert json.loads(beats[0])["type"] == "start"
    assert beats[1:] == ["", "", ""]
    assert rest[-1] == '{"type":"end"}'


async def test_heartbeats_of_chunks(serve: Serve, permits: asyncio.Semaphore) -> None:
    """A silent stream of chunks sends empty chunks until its first token."""
    body = {**scripted(say=["a"], first_after=LONG), "stream": True}
    async with (
        serve(timing=Timing(open_after=0.05, heartbeat=0.05)) as container,
        container.client.stream("POST", "/v1/chat/completions", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        deltas: list[Any] = []
        while len(deltas) < 4:
            if data := (await anext(lines)).removeprefix("data: "):
                deltas.append(json.loads(data)["choices"][0]["delta"])
        permits.release()
        rest = [line async for line in lines if line]

    assert deltas == [{"role": "assistant", "content": ""}, {}, {}, {}]
    assert rest[-1] == "data: [DONE]"


async def test_heartbeats_in_a_stall(serve: Serve, permits: asyncio.Semaphore) -> None:
    """Heartbeats fill a stall in the middle of an answer."""
    body = scripted(count=3, stall_after=2, seconds=LONG)
    async with (
        serve(timing=Timing(open_after=0.05, heartbeat=0.05)) as container,
        container.client.stream("POST", "/invocations", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        begun = [await first_record(lines) for _ in range(3)]
        beats = [await anext(lines) for _ in range(3)]
        permits.release()  # the stall
        permits.release()  # the next step, which is due later by the same time
        rest = [line async for line in lines]

    assert [record["type"] for record in begun] == ["start", "delta", "delta"]
    assert beats == ["", "", ""]
    assert rest[-1] == '{"type":"end"}'


async def test_heartbeats_in_the_queue(serve: Serve) -> None:
    """A request that waits for a place sends heartbeats, too."""
    async with (
        serve(parallel=1, timing=Timing(open_after=0.05, heartbeat=0.05)) as container,
        container.client.stream("POST", "/invocations", json=ENDLESS) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        async with container.client.stream("POST", "/invocations", json=ENDLESS) as waiting:
            beats = waiting.aiter_lines()
            assert [await anext(beats), await anext(beats)] == ["", ""]


async def test_failure_after_the_opening(serve: Serve, permits: asyncio.Semaphore) -> None:
    """After the 200 of a silent request, a failure is an error record."""
    body = scripted(count=1, stall_after=0, seconds=LONG, fail_after=0)
    async with (
        serve(timing=Timing(open_after=0.05)) as container,
        container.client.stream("POST", "/invocations", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        assert (await first_record(lines))["type"] == "start"
        permits.release()
        assert [json.loads(line)["type"] async for line in lines if line] == ["error"]


async def test_pacing(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a pace, the container sends tokens one by one at that rate.

    The first is sent at once.
    """
    real = asyncio.get_running_loop()
    clock = real.time()
    waits = []

    async def sleep(seconds: float) -> None:
        nonlocal clock
        clock += seconds
        waits.append(seconds)

    loop = SimpleNamespace(time=lambda: clock, call_later=real.call_later)
    paced = SimpleNamespace(**{**vars(asyncio), "sleep": sleep, "get_running_loop": lambda: loop})
    async with serve(tokens_per_second=50) as container:
        with monkeypatch.context() as patch:
            patch.setattr("model.generation.asyncio", paced)
            records = await container.lines(scripted(count=11))

    assert sum(record["type"] == "delta" for record in records) == 11
    assert waits == pytest.approx([1 / 50] * 10)


async def test_slow_reader_slows_the_engine(serve: Serve) -> None:
    """If a caller does not read, sampling pauses."""
    token = "x" * 2000
    body = scripted(repeat=token, count=20_000, prompt_tokens=1)
    async with serve(context_tokens=50_000) as container:
        port = container.client.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**12)
        payload = json.dumps(body).encode()
        writer.write(
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(payload)
            + payload
        )
        await reader.readexactly(10)
        connection: Any
        (connection,) = [
            c
            for c in list[Any](container.server.server_state.connections)
            if not c.cycle.response_complete
        ]
        await until(lambda: connection.flow.write_paused)
        assert connection.transport.get_write_buffer_size() < 200_000
        writer.close()
        await container.idle()


async def test_many_streams(serve: Serve) -> None:
    """A hundred requests over sixteen places are all whole and in order."""
    async with serve(parallel=16, queue=100) as container:
        answers = await asyncio.gather(
            *(
                container.lines(scripted(repeat=f" {number}-{{i}}", count=20))
                for number in range(100)
            )
        )

    for number, records in enumerate(answers):
        text = "".join(
            record["delta"]["content"] for record in records if record["type"] == "delta"
        )
        assert text == "".join(f" {number}-{place}" for place in range(20))
        assert records[-1] == {"type": "end"}
