"""Filters over the deployed stacks: redaction, a guardrail with its grant, and citations."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from local.bedrock import BLOCKED_WORD
from local.cloud import LocalCloud
from tests.e2e.test_streaming import script, settled, text
from tests.support.deployments import SCRIPTED_MODEL, Deployment, deployed

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
