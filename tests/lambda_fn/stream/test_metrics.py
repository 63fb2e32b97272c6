"""The metrics of settled requests, in the log lines of the whole application."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn import errors, limits
from lambda_fn.events import End, Ended, Failure, Finish
from lambda_fn.settings import Model
from lambda_fn.stream import metrics
from lambda_fn.stream.usage_counter import UsageCounter
from tests.support.function import FIRST, REST, Call, Reply, StandIn, exception_frame, lines, part
from tests.support.replies import CHAT, STREAM, text

pytestmark = pytest.mark.usefixtures("account")
MODEL = Model(endpoint="endpoint-1", context_tokens=100, prompt_price=1000, completion_price=3000)


@pytest.fixture
def measured(make_call: Callable[..., Call]) -> Call:
    """Return an application that writes metrics, with a model that has prices."""
    return make_call(deployment="sluice-test", models={"m": MODEL})


def written(capsys: pytest.CaptureFixture[str], event: str) -> dict[str, Any]:
    """Return the only line of an event, after a check that each metric and dimension is in it."""
    logged = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    [line] = [line for line in logged if line["event"] == event]
    for directive in line["_aws"]["CloudWatchMetrics"]:
        assert directive["Namespace"] == "Sluice"
        assert len(directive["Metrics"]) <= 100
        assert all(isinstance(line[one["Name"]], int | float) for one in directive["Metrics"])
        assert all(isinstance(line[name], str) for one in directive["Dimensions"] for name in one)
    return dict(line)


def names(line: dict[str, Any], dimensions: list[str]) -> set[str]:
    """Return the names of a line's metrics that have these dimensions."""
    return {
        metric["Name"]
        for directive in line["_aws"]["CloudWatchMetrics"]
        if dimensions in directive["Dimensions"]
        for metric in directive["Metrics"]
    }


async def test_a_complete_response(
    measured: Call, sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A settled request has its metrics by deployment and model, and some by deployment alone.

    There is one line for each request, as without metrics.
    """
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(measured(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    go_on.set()
    await running
    line = written(capsys, "request")
    assert names(line, ["Deployment", "Model"]) == {
        *metrics.UNITS.keys()
        - {"FlushLag", "Unbilled", "InterTokenP50", "InterTokenP95", "TokensPerSecond"}
        - {"gen_ai.server.time_per_output_token"},
        "EndedComplete",
    }
    assert names(line, ["Deployment"]) == set(metrics.OVERALL)
    assert (line["Deployment"], line["Model"]) == ("sluice-test", "m")
    assert (line["Completed"], line["Failed"], line["EndedComplete"]) == (1, 0, 1)
    assert (line["gen_ai.usage.input_tokens"], line["gen_ai.usage.output_tokens"]) == (4, 2)
    assert line["CostUSD"] == (4 * 1000 + 2 * 3000) / 1e9
    assert line[metrics.TTFT] == line["ttft_ms"] / 1000
    assert 0 <= line["AdmissionTime"] <= line["gen_ai.server.request.duration"] + 0.001
    assert line["HeartbeatsBeforeFirstToken"] == 0
    assert line["SettlementLag"] >= 0


async def test_times_between_tokens(
    measured: Call, sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A response with several writes of tokens has the times between them."""
    first, second = asyncio.Event(), asyncio.Event()
    world = part(lines({"type": "delta", "index": 0, "delta": {"content": "!"}, "tokens": 1}))
    sagemaker.script = [FIRST, first, world, second, REST]
    reply = Reply()
    running = asyncio.ensure_future(measured(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    first.set()
    await reply.until(lambda: "!" in text(reply))
    second.set()
    await running
    line = written(capsys, "request")
    assert {"InterTokenP50", "InterTokenP95", "TokensPerSecond"} <= names(
        line, ["Deployment", "Model"]
    )
    assert 0 < line["InterTokenP50"] <= line["InterTokenP95"]
    assert line["TokensPerSecond"] > 0


async def test_without_the_setting_nothing_is_measured(
    call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without metrics a request's line is what it was, and rejections have no line."""
    await call(body=STREAM)
    await call(body=STREAM, key="sk-wrong")
    assert '"_aws"' not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "ended", "failed"),
    [
        ([FIRST], "EndedUpstream", 1),
        ([FIRST, exception_frame("ModelStreamError")], "EndedUpstream", 1),
        (
            [part(lines({"type": "error", "code": "deadline_exceeded", "message": "m"}))],
            "EndedTimeout",
            1,
        ),
        (
            [part(lines({"type": "error", "code": "invalid_request", "message": "m"}))],
            "EndedRefused",
            0,
        ),
        (
            [part(lines({"type": "error", "code": "overloaded", "message": "m"}))],
            "EndedOverloaded",
            1,
        ),
    ],
)
async def test_responses_that_fail(
    measured: Call,
    sagemaker: StandIn,
    capsys: pytest.CaptureFixture[str],
    script: list[bytes],
    ended: str,
    failed: int,
) -> None:
    """How a response ended is a metric. Only some causes are the service's failures."""
    sagemaker.script = script
    await measured(body=STREAM)
    line = written(capsys, "request")
    assert (line[ended], line["Completed"], line["Failed"]) == (1, 0, failed)
    assert [name for name in line if name.startswith("Ended")] == [ended]


async def test_an_endpoint_that_is_down(
    measured: Call, sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """That the endpoint is unavailable is also a metric of the deployment alone, for its alarm."""
    sagemaker.status = 503
    assert (await measured(body=STREAM)).status == 503
    line = written(capsys, "request")
    assert metrics.UNAVAILABLE in names(line, ["Deployment"])


async def test_a_client_that_leaves(
    make_call: Callable[..., Call], sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A response whose client left is neither complete nor failed."""
    measured = make_call(deployment="sluice-test")
    sagemaker.script = [FIRST, asyncio.Event()]

    class Left(Reply):
        """A client that is gone at the first byte of the body."""

        @property
        def grown(self) -> Any:
            """Raise once the body has begun."""
            if self.chunks:
                raise ConnectionResetError
            return asyncio.Event()

        @grown.setter
        def grown(self, _: Any) -> None:
            """Take nothing."""

    with pytest.raises(ConnectionResetError):
        await measured(body=STREAM, reply=Left())
    line = written(capsys, "request")
    assert (line["EndedClientLeft"], line["Completed"], line["Failed"]) == (1, 0, 0)


async def test_a_settlement_that_is_not_saved(
    measured: Call,
    sagemaker: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """If the table is down at the end, the line from which a replay settles has the metric."""
    go_on = asyncio.Event()
    sagemaker.script = [FIRST, go_on, REST]
    reply = Reply()
    running = asyncio.ensure_future(measured(body=STREAM, reply=reply))
    await reply.until(lambda: "Hello" in text(reply))
    monkeypatch.setattr(limits, "META_TIMEOUT", 0.0)
    monkeypatch.setattr(limits, "SETTLE_TIMEOUT", 0.1)
    go_on.set()
    await running
    line = written(capsys, "settlement_unsaved")
    assert line[metrics.UNSAVED] == 1
    assert metrics.UNSAVED in names(line, ["Deployment"])


async def test_a_rejected_request_is_not_a_settled_one(
    measured: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    """A request that was not admitted has a line of rejections, and none of its own."""
    assert (await measured(body={**CHAT, "model": "other"})).status == 404
    line = written(capsys, "rejections")
    assert (line["Rejected.model_not_found"], line["Rejected4xx"]) == (1, 1)
    assert names(line, ["Deployment"]) == {"Rejected.model_not_found", "Rejected4xx"}


async def test_an_error_of_an_admitted_request_is_no_rejection(
    measured: Call, sagemaker: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A 502 of a request that was admitted is in its own line alone."""
    sagemaker.script = [None]
    assert (await measured(body=STREAM)).status == 502
    assert "rejections" not in capsys.readouterr().out


@pytest.mark.parametrize("ended", ["budget", "meter", "deadline"])
def test_what_this_service_ended(ended: Ended) -> None:
    """A response that this service ended with its end marker is complete, under its own cause."""
    counter = UsageCounter()
    counter.count([Finish("length", ended=ended), End()])
    assert metrics.cause(counter) == ended.capitalize()
    assert ended.capitalize() in metrics.COMPLETED


def test_a_filtered_response() -> None:
    """A filter's end is a cause of its own."""
    counter = UsageCounter()
    counter.count([Finish("content_filter"), End()])
    assert metrics.cause(counter) == "Filtered"


@pytest.mark.parametrize("code", [*errors.CONTAINER_CODES, "new"])
def test_each_code_of_the_container_has_a_cause(code: str) -> None:
    """Each code with which a container breaks off is one of the causes."""
    counter = UsageCounter()
    counter.count([Failure(code, "m")])
    assert metrics.cause(counter) in (*metrics.FAILED, *metrics.NEITHER)


def test_each_error_has_a_cause() -> None:
    """Each class of the error tree has a cause. From 500 on it is the service's failure."""

    def tree(kind: type[errors.APIError]) -> list[type[errors.APIError]]:
        return [kind, *(one for child in kind.__subclasses__() for one in tree(child))]

    for kind in tree(errors.APIError):
        counter = UsageCounter()
        counter.note(kind("m"))
        assert metrics.cause(counter) in metrics.CAUSES
        if kind.status >= 500:
            assert metrics.cause(counter) in metrics.FAILED


def test_the_first_settlement_loads_the_metrics() -> None:
    """A cold start does not pay for the metrics: their modules are imported later."""
    code = (
        "import sys, lambda_fn.stream.main; "
        "found = {'lambda_fn.stream.metrics', 'lambda_fn.stream.rejections', 'lambda_fn.emf'}; "
        "sys.exit(bool(found & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_answers_that_are_sent_again(
    make_call: Callable[..., Call],
    make_recall: Callable[..., Call],
    streams: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A replay to the request's own repeat, one from the cache, and a resumed one are told apart.

    The line of a logged request has the longest wait for its log.
    """
    settings = {"deployment": "sluice-test", "models": {"m": MODEL}, "stream_table": streams.name}
    measured = make_call(**settings)
    for _ in range(2):
        reply = await measured(body=STREAM, more={"idempotency-key": "k"})
        await measured(body={**STREAM, "sluice": {"cache": 60}})
    name = reply.headers["x-sluice-stream"]
    await make_recall(**settings)("GET", f"/v1/sluice/streams/{name}")
    out = capsys.readouterr().out
    lines_ = [json.loads(line) for line in out.splitlines()]
    settled = [line for line in lines_ if line["event"] == "request"]
    assert len(settled) == 2
    assert all(0 < line["FlushLag"] < 60 for line in settled)
    again = [
        (line["event"], metric["Name"], line["Model"], line[metric["Name"]])
        for line in lines_
        if line["event"] in ("resume", "replay")
        for directive in line["_aws"]["CloudWatchMetrics"]
        for metric in directive["Metrics"]
    ]
    assert again == [
        ("replay", "Replayed", "m", 1),
        ("replay", "CacheHits", "m", 1),
        ("resume", "Resumed", "m", 1),
    ]
