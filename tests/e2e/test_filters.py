"""Filters over the deployed stacks: redaction, a guardrail with its grant, and citations."""

import contextlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import boto3
import httpx
import openai
import pytest

from local.bedrock import BLOCKED_WORD
from local.cloud import LocalCloud
from tests.e2e.test_streaming import script, settled, text
from tests.support.deployments import SCRIPTED_MODEL, Deployment, deployed, options
from tests.support.faults import fault

pytestmark = pytest.mark.e2e

HALVES = [BLOCKED_WORD[:7], BLOCKED_WORD[7:]]


@pytest.fixture(scope="module")
def filtered(cloud: LocalCloud) -> Iterator[Deployment]:
    """Deploy the scripted engine with filters."""
    settings = {
        "engine": "scripted",
        "model_name": SCRIPTED_MODEL,
        "tokens_per_second": "0",
        "redact": "email",
        "guardrail": "a1b2c3d4e5f6:1",
        "reserved_concurrency": "32",
        "recall_concurrency": "8",
    }
    found = deployed(cloud, "filtered", settings)
    yield found
    found.client.close()


def streamed(deployment: Deployment, say: list[str], **more: Any) -> list[Any]:
    """Return the chunks of a streamed chat that says this."""
    return list(
        deployment.client.chat.completions.create(
            model=SCRIPTED_MODEL, messages=script(say=say), stream=True, **more
        )
    )


def test_an_address_is_replaced(filtered: Deployment) -> None:
    """An address over five tokens is replaced, and what was sampled is metered."""
    chunks = streamed(filtered, ["Write to ", "ada", "@", "example", ".com", " now."])
    assert text(chunks) == "Write to [EMAIL] now."
    assert settled(filtered, chunks[0].id)["completion_tokens"] == 6


def test_a_guardrail_ends_an_answer(filtered: Deployment) -> None:
    """The function may apply its guardrail, whose verdict ends the answer before the window."""
    first = "This is the first sentence of an answer. "
    chunks = streamed(filtered, [first, "And this has ", *HALVES, " in it, which is too much. "])
    assert text(chunks) == first
    assert chunks[-1].choices[0].finish_reason == "content_filter"
    assert settled(filtered, chunks[0].id)["finish_reason"] == "content_filter"


def test_a_guardrail_blocks_a_prompt(filtered: Deployment) -> None:
    """The stock client raises for a prompt that is blocked."""
    with pytest.raises(openai.BadRequestError) as found:
        streamed(filtered, [BLOCKED_WORD])
    assert found.value.code == "content_filter"


def test_an_answer_cites_its_sources(filtered: Deployment) -> None:
    """The stock client has the annotations of a message."""
    source = {"id": "doc", "title": "One", "url": "https://example.com/1"}
    answer = filtered.client.chat.completions.create(
        model=SCRIPTED_MODEL,
        messages=script(say=["So it ", "is [d", "oc]."]),
        extra_body={"sluice": {"sources": [source]}},
    )
    message = answer.choices[0].message
    assert message.annotations is not None
    citation = message.annotations[0].url_citation
    assert (message.content or "")[citation.start_index : citation.end_index] == "[doc]"
    assert json.loads(citation.model_dump_json())["url"] == source["url"]


SECRET = "ada@example.com"
PIECES = ["ada", "@", "exam", "ple", ".com", " and "]
"""The pieces of what is hidden. Nothing that a client sends has them together."""


def everything(cloud: LocalCloud, deployment: Deployment) -> Iterator[tuple[str, str]]:
    """Yield where each text is that the deployment has written: its tables, and all logs."""
    tables = boto3.resource("dynamodb", **options(cloud))
    for name in ("UsageTableName", "StreamTableName"):
        for item in tables.Table(deployment.outputs[name]).scan()["Items"]:
            yield f"{name} {item['pk']} {item['sk']}", texts_of(item)
    logs = boto3.client("logs", **options(cloud))
    for group in logs.describe_log_groups()["logGroups"]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        for page in pages:
            for event in page["events"]:
                yield group["logGroupName"], event["message"]
    for file in (cloud.directory / "logs").rglob("*"):
        if file.is_file():
            yield str(file), file.read_text(errors="replace")


def texts_of(value: Any) -> str:
    """Return all texts of an item, with deflated ones inflated."""
    if isinstance(value, dict):
        return " ".join(map(texts_of, value.values()))
    if isinstance(value, list | set | tuple):
        return " ".join(map(texts_of, value))
    data = getattr(value, "value", value)
    if isinstance(data, bytes):
        for wbits in (-15, 15, 31):
            with contextlib.suppress(zlib.error):
                return zlib.decompress(data, wbits).decode(errors="replace")
        return data.decode(errors="replace")
    return str(data)


def read_into(got: bytearray, response: httpx.Response) -> None:
    """Read a response until its connection breaks."""
    for part in response.iter_raw():
        got += part


def test_a_killed_run_has_written_nothing_hidden(cloud: LocalCloud, filtered: Deployment) -> None:
    """A function is killed in a logged stream full of addresses. Neither a table nor any log has
    one, and the log of the response has what stands for them.
    """
    body = {
        "model": SCRIPTED_MODEL,
        "stream": True,
        "max_tokens": 4000,
        "messages": script(say=PIECES * 120, rate=60),
        "sluice": {"durable": True},
    }
    headers = {"authorization": f"Bearer {filtered.key}"}
    got = bytearray()
    url = f"{filtered.origin}/v1/chat/completions"
    killed = fault(
        cloud, kind="function-killed-in-response", scope="filtered*Stream*", after=20_000
    )
    asked = httpx.stream("POST", url, json=body, headers=headers, timeout=60)
    with killed, asked as response, pytest.raises(httpx.TransportError):
        read_into(got, response)
    assert response.status_code == 200, got
    assert SECRET.encode() not in got
    assert b"[EMAIL]" in got
    logged, hidden = False, set()
    for place, written in everything(cloud, filtered):
        joined = written.replace('","', "")  # the log of a response has a text for each token
        logged = logged or (place.startswith("StreamTableName") and "[EMAIL]" in joined)
        if "ada@exam" in joined or "ada@exam" in written:
            hidden.add(place)
    assert logged
    assert hidden == set()
