"""The spans of requests, as a collector gets them from the whole application."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from lambda_fn.runtime.loop import trace_id
from lambda_fn.settings import Model
from lambda_fn.settings.traces import Traces
from lambda_fn.stream.traces import container_span
from lambda_fn.tracing.otlp import Span
from tests.support.function import (
    FINISH,
    HELLO,
    KEY,
    KEY_ID,
    START,
    USAGE,
    WORLD,
    Call,
    Reply,
    StandIn,
    exception_frame,
    lines,
    part,
    peer,
)
from tests.support.otlp import Collector, collector
from tests.support.replies import CHAT, STREAM, text

pytestmark = pytest.mark.usefixtures("account")
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=1"}
MODEL = Model(endpoint="endpoint-1", context_tokens=100, prompt_price=1000, completion_price=3000)
MOMENTS = ["admitted", "invoked", "first_token", "last_token", "settled"]
SECRET = "the-text-of-the-prompt"


@pytest.fixture(name="stand_in")
async def _stand_in() -> AsyncIterator[Collector]:
    async with collector() as stand_in:
        yield stand_in


@pytest.fixture
def traced(make_call: Callable[..., Call], stand_in: Collector) -> Call:
    """Return an application that traces what its callers sample, and nothing else."""
    return make_call(
        traces=Traces(stand_in.url, "sluice-test", ratio=0.0, callers=True),
        models={"m": MODEL},
        aliases={"alias": "m"},
    )


async def test_a_request(traced: Call, stand_in: Collector) -> None:
    """A request is one span of its caller's trace, with its moments in order and no content."""
    body = {**STREAM, "model": "alias", "messages": [{"role": "user", "content": SECRET}]}
    reply = await traced(body=body, more=SAMPLED)
    request_id = reply.headers["x-request-id"].removeprefix("req_")
    [span] = stand_in.spans
    assert (span["trace_id"], span["parent_id"]) == (TRACE, SPAN)
    assert (span["name"], span["state"], span["status"]) == ("chat m", "a=1", (0, ""))
    assert [name for name, _ in span["events"]] == MOMENTS
    times = [span["start"], *(at for _, at in span["events"])]
    assert times == sorted(times)
    assert times[-1] <= span["end"]
    assert 0 <= span["attributes"].pop("gen_ai.response.time_to_first_chunk") < 60
    assert span["attributes"] == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "sluice",
        "gen_ai.request.model": "alias",
        "gen_ai.request.stream": True,
        "gen_ai.response.model": "m",
        "gen_ai.response.id": request_id,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 4,
        "gen_ai.usage.output_tokens": 2,
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "sluice.request_id": request_id,
        "sluice.key": KEY_ID,
        "sluice.outcome": "complete",
        "sluice.cause": "Complete",
        "sluice.cost_usd": (4 * 1000 + 2 * 3000) / 1e9,
    }
    assert span["resource"]["service.name"] == "sluice-test"
    told = json.dumps(stand_in.spans)
    assert SECRET not in told
    assert "Hello" not in told
    assert KEY not in told


async def test_the_container_gets_the_trace(
    traced: Call, sagemaker: StandIn, stand_in: Collector
) -> None:
    """The model's server gets the trace with this request's span, and its own span is below."""
    times = {"span_id": "c" * 16, "began": 0, "started": 2**52, "first_token": 5, "ended": 2**52}
    end = {"type": "end", "trace": times}
    sagemaker.script = [part(lines(START, HELLO, WORLD, FINISH, USAGE, end))]
    await traced(body=CHAT, more=SAMPLED)
    own, below = stand_in.spans
    assert sagemaker.attributes == [f"traceparent=00-{TRACE}-{own['span_id']}-01;tracestate=a=1"]
    assert (below["trace_id"], below["parent_id"]) == (TRACE, own["span_id"])
    assert (below["span_id"], below["name"]) == ("c" * 16, "generate m")
    assert below["resource"]["service.name"] == "sluice-test-model"
    assert (below["start"], below["end"]) == (own["start"], own["end"])
    assert [name for name, _ in below["events"]] == ["started", "first_token"]


async def test_a_trace_that_is_not_sampled(
    traced: Call, sagemaker: StandIn, stand_in: Collector
) -> None:
    """It is passed on to the model's server, and no span is made."""
    await traced(body=CHAT, more={"traceparent": f"00-{TRACE}-{SPAN}-00"})
    await traced(body=CHAT)
    passed, begun = sagemaker.attributes
    assert passed.startswith(f"traceparent=00-{TRACE}-")
    assert begun.endswith("-00")
    assert stand_in.requests == 0


async def test_without_traces(make_call: Callable[..., Call], sagemaker: StandIn) -> None:
    """A deployment without traces passes nothing on."""
    await make_call()(body=CHAT, more=SAMPLED)
    assert sagemaker.attributes == [""]


@pytest.mark.parametrize(
    ("path", "body", "operation"),
    [
        ("/v1/chat/completions", CHAT, "chat"),
        ("/v1/completions", {"model": "m", "prompt": "x"}, "text_completion"),
        (
            "/v1/messages",
            {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]},
            "chat",
        ),
        ("/v1/responses", {"model": "m", "input": "x", "store": False}, "chat"),
        ("/v1/tokenize", {"model": "m", "prompt": "x"}, "count_tokens"),
    ],
)
async def test_operations(
    traced: Call,
    sagemaker: StandIn,
    stand_in: Collector,
    path: str,
    body: dict[str, Any],
    operation: str,
) -> None:
    """Each endpoint that calls a model makes a span."""
    if operation == "count_tokens":
        sagemaker.script = [part(b'{"tokens":[1]}')]
    reply = await traced(path=path, body=body, more=SAMPLED)
    assert reply.status == 200
    [span] = stand_in.spans
    assert span["attributes"]["gen_ai.operation.name"] == operation
    assert span["name"] == f"{operation} m"


async def test_tokens_of_a_kind(traced: Call, sagemaker: StandIn, stand_in: Collector) -> None:
    """Reasoning and cached tokens have attributes of their own, if there are any."""
    usage = {**USAGE, "cached_tokens": 3, "reasoning_tokens": 1}
    sagemaker.script = [part(lines(START, HELLO, WORLD, FINISH, usage, {"type": "end"}))]
    await traced(body=STREAM, more=SAMPLED)
    [span] = stand_in.spans
    assert span["attributes"]["gen_ai.usage.cache_read.input_tokens"] == 3
    assert span["attributes"]["gen_ai.usage.reasoning.output_tokens"] == 1


async def test_a_failed_request(traced: Call, sagemaker: StandIn, stand_in: Collector) -> None:
    """A span of a request that the service failed has an error, and the moments until then."""
    sagemaker.script = [part(lines(START, HELLO)), exception_frame("ModelStreamError")]
    await traced(body=STREAM, more=SAMPLED)
    [span] = stand_in.spans
    assert span["status"] == (2, "Upstream")
    assert span["attributes"]["error.type"] == "Upstream"
    assert span["attributes"]["sluice.outcome"] == "cut"
    assert [name for name, _ in span["events"]] == MOMENTS


async def test_a_rejected_request(traced: Call, stand_in: Collector) -> None:
    """Who was not admitted sends nobody anything."""
    reply = await traced(body=CHAT, more=SAMPLED, key=KEY[:-1] + "A")
    assert reply.status == 401
    assert stand_in.requests == 0


async def test_an_answer_does_not_wait(make_call: Callable[..., Call]) -> None:
    """The client has its whole answer before the collector has answered."""
    reply, answered = Reply(), asyncio.Event()

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answered.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    async with peer(hangs) as origin:
        traced = make_call(traces=Traces(f"{origin}/v1/traces", "sluice-test"))
        running = asyncio.ensure_future(traced(body=STREAM, reply=reply))
        await reply.until(lambda: reply.whole)
        assert text(reply) == "Hello world"
        answered.set()
        await running


async def test_lambdas_own_trace(make_call: Callable[..., Call], stand_in: Collector) -> None:
    """Without a caller's trace, the span is below Lambda's, if Lambda samples the invocation."""
    traced = make_call(traces=Traces(stand_in.url, "sluice-test"))
    header = f"Root=1-{TRACE[:8]}-{TRACE[8:]};Parent={SPAN};Sampled=1"
    token = trace_id.set(header)
    await traced(body=CHAT)
    trace_id.reset(token)
    [span] = stand_in.spans
    assert (span["trace_id"], span["parent_id"]) == (TRACE, SPAN)


@pytest.mark.parametrize(
    "record",
    [
        b"", b"{", b"[]", b"\xff", b'{"type":"end"}', b'{"trace":7}', b'{"trace":{}}',
        b'{"trace":{"span_id":"x","began":1}}',
        b'{"trace":{"span_id":"cccccccccccccccc","began":-1}}',
        b'{"trace":{"span_id":"cccccccccccccccc","began":1e400}}',
        b'{"trace":{"span_id":"cccccccccccccccc\\n","began":1}}',
        b'{"trace":{"span_id":"cccccccccccccccc","began":99999999999999999999}}',
    ],
)  # fmt: skip
def test_containers_without_times(record: bytes) -> None:
    """A record without valid times makes no span."""
    above = Span("a" * 32, "b" * 16, "", "x", 1, 2, {})
    assert container_span(record, above, "m") is None


def test_cold_start() -> None:
    """A deployment with traces loads the reader of headers at its start, and one without nothing.

    What sends spans is loaded behind the first sampled response.
    """
    script = (
        "import sys; from lambda_fn.stream import app\n"
        "before = {name for name in sys.modules if 'trac' in name and 'lambda_fn' in name}\n"
        "import lambda_fn.stream.traces\n"
        "after = {name for name in sys.modules if 'trac' in name and 'lambda_fn' in name}\n"
        "print(sorted(before), sorted(after))"
    )
    out = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout
    assert out.split("] [") == [
        "[",
        "'lambda_fn.stream.traces', 'lambda_fn.tracing', 'lambda_fn.tracing.context']\n",
    ]
