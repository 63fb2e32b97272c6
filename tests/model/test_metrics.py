"""The metrics of `/metrics`, for requests that end in every way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

from tests.support.model import Container, Serve, asked, scripted, until

if TYPE_CHECKING:
    import pytest

    from model.schema import ChatRequest

LABELS = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "sluice-demo"}


async def values(container: Container) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample by its name and labels, without the labels that all samples have.

    The text must be in Prometheus's format.
    """
    answer = await container.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items() - LABELS.items())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def one(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return the key of a sample."""
    return name, frozenset(labels.items())


async def test_whole_answer(serve: Serve) -> None:
    """An answer is counted once: its times, its tokens and its end."""
    async with serve() as container:
        await container.lines(scripted(count=5, prompt_tokens=7))
        found = await values(container)

    for name in (
        "gen_ai_server_time_to_first_token_seconds",
        "gen_ai_server_time_per_output_token_seconds",
        "sluice_queue_time_seconds",
    ):
        assert found[one(f"{name}_count")] == 1
    assert found[one("sluice_inter_token_latency_seconds_count")] == 4
    assert found[one("gen_ai_server_request_duration_seconds_count", error_type="")] == 1
    assert found[one("gen_ai_client_token_usage_sum", gen_ai_token_type="input")] == 7
    assert found[one("gen_ai_client_token_usage_sum", gen_ai_token_type="output")] == 5
    assert found[one("sluice_requests_total", outcome="stop")] == 1
    assert found[one("sluice_requests_running")] == found[one("sluice_requests_waiting")] == 0


async def test_outcomes(serve: Serve) -> None:
    """Failed, rejected and late requests are counted apart.

    The tokens of a broken answer are counted.
    """
    async with serve() as container:
        await container.client.post(
            "/invocations", json=scripted(count=9, fail_after=3, prompt_tokens=2)
        )
        await container.client.post("/invocations", json=scripted(count=9, prompt_tokens=300))
        late = {**scripted(count=1, first_after=9), "sluice": {"v": 1, "deadline_ms": 20}}
        await container.client.post("/invocations", json=late)
        found = await values(container)

    assert [
        found[one("sluice_requests_total", outcome=name)]
        for name in ("failed", "refused", "deadline_exceeded")
    ] == [1] * 3
    assert (
        found[one("gen_ai_server_request_duration_seconds_count", error_type="engine_error")] == 1
    )
    assert found[one("gen_ai_client_token_usage_sum", gen_ai_token_type="output")] == 3


async def test_running_and_waiting(serve: Serve) -> None:
    """The metrics show running and waiting requests and the cache. A cancel frees all of it."""
    body = {
        **scripted(repeat=" w", count=200, rate=5, prompt_tokens=30),
        "sluice": {"v": 1, "request_id": "r"},
    }
    async with serve(parallel=1) as container:
        async with (
            container.client.stream("POST", "/invocations", json=body) as running,
            container.client.stream("POST", "/invocations", json=scripted(count=1, first_after=60)),
        ):
            lines = running.aiter_lines()
            while '"delta"' not in await anext(lines):
                pass
            await until(lambda: container.generation.waiting == 1)
            before = await values(container)
            await container.client.post("/invocations", json={"sluice": {"v": 1, "cancel": "r"}})
            assert json.loads([line async for line in lines if line][-1])["code"] == "cancelled"
            await until(lambda: container.generation.waiting == 0)
        await until(lambda: not container.generation.metrics.running)
        after = await values(container)

    assert before[one("sluice_requests_running")] == before[one("sluice_requests_waiting")] == 1
    assert 31 / 256 <= before[one("sluice_cache_usage_ratio")] < 1
    assert [
        after[one(f"sluice_{name}")]
        for name in ("requests_running", "requests_waiting", "cache_usage_ratio")
    ] == [0] * 3
    assert after[one("sluice_requests_total", outcome="cancelled")] == 2


async def test_models_are_not_made_up(serve: Serve) -> None:
    """A model's name that is in no setting makes no label, so callers cannot fill the memory."""
    async with serve() as container:
        request: ChatRequest = asked(scripted(say=["a"]), model="made-up")
        assert request.model == "made-up"
        await container.lines({**scripted(say=["a"]), "model": "made-up"})
        text = (await container.client.get("/metrics")).text

    assert "made-up" not in text
    assert 'gen_ai_request_model="sluice-demo"' in text


async def test_engines_own(serve: Serve) -> None:
    """The engine's own metrics follow under their own names."""
    async with serve("llama_cpp") as container:
        await container.lines(
            {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 4}
        )
        found = await values(container)

    assert found[one("llamacpp:requests_processing")] == 0
    assert found[one("llamacpp:tokens_predicted_total")] >= 4
    assert found[one("gen_ai_client_token_usage_sum", gen_ai_token_type="output")] == 4


ODD = "\x7f\x9b\u2028\u202e"


async def test_usage_log(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """The log has one line with each request's id and tokens.

    It has that also if the request fails or its reader leaves.
    """

    def named(request_id: str, **script: Any) -> dict[str, Any]:
        return {**scripted(prompt_tokens=7, **script), "sluice": {"v": 1, "request_id": request_id}}

    async with serve() as container:
        await container.lines(named("whole", count=5))
        await container.lines(named(ODD, count=1))
        await container.client.post("/invocations", json=named("failed", count=9, fail_after=3))
        async with container.client.stream(
            "POST", "/invocations", json=named("left", count=1000, rate=20)
        ) as answer:
            lines = answer.aiter_lines()
            while '"delta"' not in await anext(lines):
                pass
        await container.idle()
    logged = capsys.readouterr().out.split("\n")[:-1]
    assert all(line.isascii() and line.isprintable() for line in logged)
    found = {line["request_id"]: line for line in map(json.loads, logged)}
    assert found[ODD]["completion_tokens"] == 1
    assert found["whole"] == {
        "event": "generated",
        "request_id": "whole",
        "prompt_tokens": 7,
        "completion_tokens": 5,
        "error": None,
    }
    assert (found["failed"]["completion_tokens"], found["failed"]["error"]) == (3, "engine_error")
    assert 0 < found["left"]["completion_tokens"] < 249  # the context would be full
    assert found["left"]["error"] == "cancelled"
