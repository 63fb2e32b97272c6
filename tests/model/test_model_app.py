"""The container's routes over a real server: answers, refusals, cancelling, leaving, queues and time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from model.answers import Timing
from model.schema import MAX_BODY_BYTES
from tests.model.conftest import Container, Serve, scripted, until

if TYPE_CHECKING:
    import httpx

ENDLESS = scripted(repeat=" w", count=100_000, rate=50)


def error_of(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, which has OpenAI's four keys."""
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def first_record(lines: Any) -> dict[str, Any]:
    """The next record of a stream, without heartbeats. A stream whose `lines` nobody holds is closed."""
    async for line in lines:
        if line:
            record: dict[str, Any] = json.loads(line)
            return record
    raise AssertionError("the stream has ended")


async def running(container: Container, count: int) -> None:
    """Until so many requests run in the engine."""
    await until(lambda: container.engine.active == count)


async def test_lines(serve: Serve) -> None:
    """An invocation answers with the records of the format, to the letter."""
    async with serve() as container:
        answer = await container.client.post("/invocations", json=scripted(say=["Hi", ' "😀"\n'], prompt_tokens=12))

    assert answer.headers["content-type"] == "application/jsonlines"
    assert "content-encoding" not in answer.headers
    assert answer.content.decode() == (
        '{"type":"start","prompt_tokens":12}\n'
        '{"type":"delta","index":0,"delta":{"content":"Hi"},"tokens":1}\n'
        '{"type":"delta","index":0,"delta":{"content":" \\"😀\\"\\n"},"tokens":1}\n'
        '{"type":"finish","index":0,"finish_reason":"stop"}\n'
        '{"type":"usage","prompt_tokens":12,"completion_tokens":2}\n'
        '{"type":"end"}\n'
    )


async def test_tokens_arrive_as_they_are_sampled(serve: Serve) -> None:
    """Every token is on the wire when it is sampled, in a record of its own at a slow rate."""
    delays = []
    async with (
        serve() as container,
        container.client.stream("POST", "/invocations", json=scripted(count=10, rate=50, stamp=True)) as answer,
    ):
        async for line in answer.aiter_lines():
            record = json.loads(line)
            if record["type"] == "delta":
                delays.append(time.time_ns() - int(record["delta"]["content"]))
                assert record["tokens"] == 1

    assert len(delays) == 10
    assert sorted(delays)[5] < 15_000_000  # ns; it is about 1 ms on an idle machine


async def test_tokens_of_a_slow_writer_share_records(serve: Serve) -> None:
    """Tokens sampled while the loop was busy come in one record that counts them, and none is lost."""
    async with (
        serve() as container,
        container.client.stream("POST", "/invocations", json=scripted(count=60, rate=200)) as answer,
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


async def test_sse(serve: Serve) -> None:
    """The OpenAI route streams chunks: role, text, finish, usage, DONE."""
    body = {**scripted(say=["a", "b"], prompt_tokens=3), "stream": True, "stream_options": {"include_usage": True}}
    async with serve() as container:
        answer = await container.client.post("/v1/chat/completions", json=body)

    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "b"},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


async def test_whole(serve: Serve) -> None:
    """Without stream the OpenAI route answers with one body."""
    async with serve() as container:
        answer = await container.client.post("/v1/chat/completions", json={**scripted(say=["a", "b"]), "n": 2})

    body = answer.json()
    assert [choice["message"]["content"] for choice in body["choices"]] == ["ab", "ab"]
    assert body["object"] == "chat.completion"
    assert body["usage"]["completion_tokens"] == 4


async def test_whole_failure(serve: Serve) -> None:
    """A failure of the engine is a status where nothing was sent."""
    async with serve() as container:
        answer = await container.client.post("/v1/chat/completions", json=scripted(count=9, fail_after=3))

    assert answer.status_code == 500
    assert error_of(answer)["code"] == "engine_error"


async def test_models_and_ping(serve: Serve) -> None:
    """The container says what it serves, and that it is up."""
    async with serve(model_name="a-model") as container:
        models = (await container.client.get("/v1/models")).json()
        assert (await container.client.get("/ping")).status_code == 200
        await container.engine.close()
        ping = await container.client.get("/ping")
        refused = await container.client.post("/invocations", json=ENDLESS)

    assert [model["id"] for model in models["data"]] == ["a-model"]
    assert ping.status_code == refused.status_code == 503
    assert error_of(refused)["code"] == "not_ready"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b'{"messages":', None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":[{"role":"king","content":"a"}]}', "messages.0.role"),
        (b'{"messages":[{"role":"user","content":7}]}', "messages.0.content"),
        (b'{"messages":[{"role":"user"}]}', "messages.0"),
        (b'{"messages":[{"role":"user","content":"a"}],"max_tokens":-1}', "max_tokens"),
        (b'{"messages":[{"role":"user","content":"a"}],"n":9}', "n"),
        (b'{"messages":[{"role":"user","content":"a"}],"n":5}', "n"),
        (b'{"messages":[{"role":"user","content":"a"}],"temperature":"hot"}', "temperature"),
        (b'{"messages":[{"role":"user","content":"a"}],"stop":["1","2","3","4","5"]}', "stop"),
        (b'{"messages":[{"role":"user","content":"a"}],"stream_options":{}}', None),
        (b'{"messages":[{"role":"user","content":"a"}],"top_logprobs":2}', None),
        (b'{"messages":[{"role":"user","content":"a"}],"sluice":{"v":2}}', "sluice.v"),
        (b'{"messages":[{"role":"user","content":"a"}],"sluice":{"v":1,"deadline_ms":0}}', "sluice.deadline_ms"),
        (b'{"messages":[{"role":"user","content":"{}}"}]}', "messages"),
        (b'{"messages":[{"role":"user","content":"a"}],"logit_bias":{"word":1}}', "logit_bias.word"),
        (b'{"messages":[{"role":"user","content":"a"}],"logit_bias":{"7":101}}', "logit_bias.7"),
        (b'{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"search"}]}', "tools.0.type"),
        (b'{"messages":[{"role":"user","content":"a"}],"tool_choice":"required"}', None),
        (b'{"messages":[{"role":"user","content":"a"}],"tools":[],"tool_choice":"any"}', "tool_choice"),
    ],
)
async def test_invalid(serve: Serve, body: bytes, param: str | None) -> None:
    """What cannot be served is a 400 that names the field."""
    async with serve() as container:
        for path in ("/invocations", "/v1/chat/completions"):
            answer = await container.client.post(path, content=body)
            assert answer.status_code == 400, path
            assert error_of(answer)["code"] == "invalid_request"
            assert error_of(answer)["param"] == param


async def test_unknown_routes(serve: Serve) -> None:
    """Unknown paths and methods have errors of the same shape."""
    async with serve() as container:
        unknown = await container.client.get("/v2")
        wrong = await container.client.get("/invocations")

    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "not_found")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")


async def test_large_body(serve: Serve) -> None:
    """A body over the limit is refused."""
    async with serve() as container:
        answer = await container.client.post("/invocations", content=b" " * (MAX_BODY_BYTES + 1))

    assert answer.status_code == 413


async def test_context_too_long(serve: Serve) -> None:
    """A prompt over the context, or over the caller's own bound, is a 400 with both numbers."""
    async with serve() as container:
        over = await container.client.post("/invocations", json=scripted(say=["a"], prompt_tokens=300))
        bound = {**scripted(say=["a"], prompt_tokens=30), "sluice": {"v": 1, "max_prompt_tokens": 29}}
        over_bound = await container.client.post("/invocations", json=bound)
        await container.idle()

    assert over.status_code == over_bound.status_code == 400
    assert error_of(over)["code"] == error_of(over_bound)["code"] == "context_length_exceeded"
    assert "300" in error_of(over)["message"]
    assert "256" in error_of(over)["message"]
    assert "30" in error_of(over_bound)["message"]
    assert "29" in error_of(over_bound)["message"]


async def test_failure_before_the_first_token(serve: Serve) -> None:
    """A failure before the first token has its status."""
    async with serve() as container:
        answer = await container.client.post("/invocations", json=scripted(count=9, fail_after=0))

    assert answer.status_code == 500
    assert error_of(answer)["code"] == "engine_error"


async def test_failure_after_the_first_token(serve: Serve) -> None:
    """A failure after the first token is the last record; the tokens before it arrive."""
    async with serve() as container:
        records = await container.lines(scripted(count=9, fail_after=2))
        body = {**scripted(count=9, fail_after=2), "stream": True}
        sse = await container.client.post("/v1/chat/completions", json=body)

    assert [record["type"] for record in records] == ["start", "delta", "delta", "error"]
    assert records[-1]["code"] == "engine_error"
    last = sse.text.strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_error"


async def test_leaving_frees_the_place(serve: Serve) -> None:
    """A caller who disconnects in the middle frees its place for the next one."""
    async with serve(parallel=1, queue=1) as container:
        async with container.client.stream("POST", "/invocations", json=ENDLESS) as answer:
            lines = answer.aiter_lines()
            await first_record(lines)
            assert container.engine.active == 1
        await container.idle()
        assert (await container.lines(scripted(say=["a"])))[-1] == {"type": "end"}


async def test_leaving_before_the_first_token(serve: Serve) -> None:
    """A caller who disconnects while it waits frees its place as well."""
    async with serve() as container:
        for path in ("/invocations", "/v1/chat/completions"):
            waiting = asyncio.create_task(container.client.post(path, json=scripted(count=1, first_after=60)))
            await running(container, 1)
            waiting.cancel()
            await container.idle()


async def test_cancel(serve: Serve) -> None:
    """A running request is cancelled by its id, and says so; an unknown id is not."""
    async with (
        serve(timing=Timing(cancel=0.05)) as container,
        container.client.stream(
            "POST", "/invocations", json={**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
        ) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        results = [
            (await container.client.post("/invocations", json={"sluice": {"v": 1, "cancel": name}})).json()
            for name in ("r2", "r1", "r1")
        ]
        records = [json.loads(line) async for line in lines if line]
        await container.idle()

    assert results == [{"cancelled": False}, {"cancelled": True}, {"cancelled": False}]
    assert records[-1]["type"] == "error"
    assert records[-1]["code"] == "cancelled"


async def test_cancel_in_the_queue(serve: Serve) -> None:
    """A request that waits for its turn is cancelled too, and leaves the queue."""
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
    """A second request with the id of a running one is refused."""
    body = {**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
    async with serve() as container, container.client.stream("POST", "/invocations", json=body) as answer:
        lines = answer.aiter_lines()
        await first_record(lines)
        second = await container.client.post("/invocations", json=body)

    assert second.status_code == 400
    assert error_of(second)["param"] == "sluice.request_id"


@pytest.mark.parametrize("script", [{"count": 100_000, "rate": 100}, {"count": 1, "first_after": 60}])
async def test_deadline(serve: Serve, script: dict[str, Any]) -> None:
    """A request that outlives its deadline ends with an error record, whether it had begun or not."""
    async with serve() as container:
        started = time.monotonic()
        records = await container.lines({**scripted(**script), "sluice": {"v": 1, "deadline_ms": 200}})
        took = time.monotonic() - started
        await container.idle()

    assert records[-1]["type"] == "error"
    assert records[-1]["code"] == "deadline_exceeded"
    assert 0.19 < took < 2


async def test_queue_full(serve: Serve) -> None:
    """Requests over the places wait, requests over the queue are refused at once with a 429."""
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


async def test_heartbeats(serve: Serve) -> None:
    """A silent request answers 200 after a while and sends blank lines until its first token."""
    timing = Timing(open_after=0.05, heartbeat=0.05)
    async with serve(timing=timing) as container:
        lines = await container.client.post("/invocations", json=scripted(say=["a"], first_after=0.4))
        body = {**scripted(say=["a"], first_after=0.4), "stream": True}
        sse = await container.client.post("/v1/chat/completions", json=body)

    beats = lines.text.splitlines()
    assert json.loads(beats[0])["type"] == "start"
    assert beats[1:4] == ["", "", ""]
    assert beats[-1] == '{"type":"end"}'
    chunks = [json.loads(event.removeprefix("data: ")) for event in sse.text.split("\n\n")[:-2]]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert all(chunk["choices"][0]["delta"] == {} for chunk in chunks[1:4])


async def test_heartbeats_in_a_stall(serve: Serve) -> None:
    """A stall in the middle is filled with heartbeats."""
    async with serve(timing=Timing(open_after=0.05, heartbeat=0.05)) as container:
        answer = await container.client.post("/invocations", json=scripted(count=3, stall_after=2, seconds=0.3))

    lines = answer.text.splitlines()
    assert lines.index("") == 3
    assert lines.count("") >= 3


async def test_heartbeats_in_the_queue(serve: Serve) -> None:
    """A request that waits for its turn sends heartbeats too."""
    async with (
        serve(parallel=1, timing=Timing(open_after=0.05, heartbeat=0.05)) as container,
        container.client.stream("POST", "/invocations", json=ENDLESS) as answer,
    ):
        lines = answer.aiter_lines()
        await first_record(lines)
        async with container.client.stream("POST", "/invocations", json=ENDLESS) as waiting:
            beats = waiting.aiter_lines()
            assert [await anext(beats), await anext(beats)] == ["", ""]


async def test_failure_after_the_opening(serve: Serve) -> None:
    """A failure after the 200 of a silent request is an error record."""
    async with serve(timing=Timing(open_after=0.05)) as container:
        records = await container.lines(scripted(count=1, stall_after=0, seconds=0.2, fail_after=0))

    assert [record["type"] for record in records] == ["start", "error"]


async def test_pacing(serve: Serve) -> None:
    """A paced container sends its tokens one by one at the rate of the setting, the first one at once."""
    async with serve(tokens_per_second=50) as container:
        started = time.monotonic()
        async with container.client.stream("POST", "/invocations", json=scripted(count=11)) as answer:
            arrivals = [time.monotonic() - started async for line in answer.aiter_lines() if '"delta"' in line]

    assert len(arrivals) == 11
    assert arrivals[-1] >= 10 / 50 * 0.95  # a loaded machine can only be later


async def test_slow_reader_slows_the_engine(serve: Serve) -> None:
    """A caller who does not read stops the sampling: what is not read is not made."""
    token = "x" * 2000
    body = scripted(repeat=token, count=20_000, prompt_tokens=1)
    async with serve(context_tokens=50_000) as container:
        port = container.client.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**12)
        payload = json.dumps(body).encode()
        writer.write(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(payload) + payload)
        await reader.readexactly(10)
        connection: Any
        (connection,) = [
            c for c in list[Any](container.server.server_state.connections) if not c.cycle.response_complete
        ]
        await until(lambda: connection.flow.write_paused)
        assert connection.transport.get_write_buffer_size() < 200_000
        writer.close()
        await container.idle()


async def test_many_streams(serve: Serve) -> None:
    """A hundred requests over sixteen places all come whole and in order."""
    async with serve(parallel=16, queue=100) as container:
        answers = await asyncio.gather(
            *(container.lines(scripted(repeat=f" {number}-{{i}}", count=20)) for number in range(100))
        )

    for number, records in enumerate(answers):
        text = "".join(record["delta"]["content"] for record in records if record["type"] == "delta")
        assert text == "".join(f" {number}-{place}" for place in range(20))
        assert records[-1] == {"type": "end"}


async def test_slow_reader_is_let_go(serve: Serve) -> None:
    """A caller who reads nothing for the stated time loses its request, which is what frees the place for others."""
    body = scripted(repeat="x" * 50_000, count=600, prompt_tokens=1)
    timing = Timing(open_after=0, heartbeat=0.05, last_write=0.05, slow_reader=0.2)
    async with serve(timing=timing, context_tokens=50_000) as container:
        port = container.client.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        payload = json.dumps(body).encode()
        writer.write(b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(payload) + payload)
        await running(container, 1)
        await container.idle()
        rest = await reader.read()  # what lay in the buffers, and then the end of the connection
        writer.close()
        ended = (await container.client.get("/metrics")).text

    assert b'"type":"end"' not in rest
    assert 'outcome="cancelled"} 1.0' in ended


async def test_drain_ends_what_takes_too_long(serve: Serve) -> None:
    """A stream that outlives the time of a drain ends with an error record, and the drain with it."""
    async with serve() as container, container.client.stream("POST", "/invocations", json=ENDLESS) as answer:
        lines = answer.aiter_lines()
        await first_record(lines)
        await container.generation.drain(0.05)
        records = [json.loads(line) async for line in lines if line]
        await container.idle()

    assert records[-1] == {"type": "error", "code": "not_ready", "message": "the container is shutting down"}


async def test_deadline_of_its_own(serve: Serve) -> None:
    """A request without a deadline, or with a later one, has the container's."""
    async with serve(max_seconds=1) as container:
        later = {**ENDLESS, "sluice": {"v": 1, "deadline_ms": 60_000}}
        answers = await asyncio.gather(*(container.lines(body) for body in (ENDLESS, later)))

    assert [records[-1]["code"] for records in answers] == ["deadline_exceeded"] * 2


async def test_cancel_that_overtakes_its_request(serve: Serve) -> None:
    """A cancel waits a while for a request that is not here: when it comes it ends at once, and all are told."""
    body = {**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
    cancel = {"sluice": {"v": 1, "cancel": "r1"}}
    async with serve(timing=Timing(cancel=30)) as container:
        early = [asyncio.create_task(container.client.post("/invocations", json=cancel)) for _ in range(2)]
        await until(lambda: container.generation.expected == {"r1"})
        answer = await container.client.post("/invocations", json=body)
        told = [(await task).json() for task in early]
        await container.idle()
        assert container.generation.expected == set()

    records = [json.loads(line) for line in answer.text.splitlines()]
    assert [record.get("code", record["type"]) for record in records] == ["start", "cancelled"]
    assert told == [{"cancelled": True}] * 2


async def test_cancels_that_wait_are_bounded(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over so many that wait, and when the container stops, an unknown id is answered at once."""
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
    """Of several cancels of one request those that give up leave the others waiting for it."""
    body = {**ENDLESS, "sluice": {"v": 1, "request_id": "r1"}}
    async with serve() as container:
        last = asyncio.create_task(container.generation.cancel("r1", 30))
        assert not await container.generation.cancel("r1", 0.01)
        assert not await container.generation.cancel("r1", 0.01)
        answer = await container.client.post("/invocations", json=body)
        assert await last
        assert json.loads(answer.text.splitlines()[-1])["code"] == "cancelled"


async def test_dead_engine_fails_the_ping(serve: Serve) -> None:
    """Once the engine has died, /ping fails, requests are refused, and /metrics still answers."""
    async with serve() as container:
        container.engine.healthy = False
        ping = await container.client.get("/ping")
        refused = await container.client.post("/invocations", json=ENDLESS)
        metrics = await container.client.get("/metrics")

    assert (ping.status_code, refused.status_code, metrics.status_code) == (503, 503, 200)
    assert refused.headers["retry-after"] == "5"


async def test_shutdown_tells_streams(serve: Serve) -> None:
    """A stream that outlives the grace period of a shutdown ends with an error record."""
    async with serve() as container, container.client.stream("POST", "/invocations", json=ENDLESS) as answer:
        lines = answer.aiter_lines()
        await first_record(lines)
        container.server.should_exit = True
        records = [json.loads(line) async for line in lines if line]

    assert records[-1] == {"type": "error", "code": "not_ready", "message": "the container is shutting down"}


async def test_shutdown_tells_whole_answers(serve: Serve) -> None:
    """A whole answer that outlives the grace period of a shutdown is a 503."""
    async with serve() as container:
        waiting = asyncio.create_task(container.client.post("/v1/chat/completions", json=ENDLESS))
        await running(container, 1)
        container.server.should_exit = True
        answer = await waiting

    assert answer.status_code == 503
    assert error_of(answer)["code"] == "not_ready"


async def test_llama_cpp_over_http(serve: Serve) -> None:
    """The demo model streams through the same routes, and leaving frees its slot."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 500}
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Hello."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }
    async with serve("llama_cpp", parallel=1) as container:
        async with container.client.stream("POST", "/invocations", json=body) as answer:
            lines = answer.aiter_lines()
            await first_record(lines)
        await container.idle()
        records = await container.lines({"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5})
        refused = await container.client.post(
            "/invocations", json={"messages": [{"role": "user", "content": "word " * 400}]}
        )

    assert [records[0]["type"], records[-1]["type"]] == ["start", "end"]
    assert refused.status_code == 400
    assert error_of(refused)["code"] == "context_length_exceeded"
