"""Repeats, the cache and continued answers, over the whole local cloud."""

import secrets
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from lambda_fn import ids
from lambda_fn.metering.keys import account_key
from local.cloud import LocalCloud
from tests.e2e.test_streaming import found, script, settled, text
from tests.support.deployments import SCRIPTED_MODEL, Deployment
from tests.support.faults import fault, listed

pytestmark = pytest.mark.e2e

CHAT = "/v1/chat/completions"
WORDS = 12
SAID = "".join(f" wört{number}" for number in range(WORDS))
MIDDLE = 300
"""The bytes of the start record and some more."""


@pytest.fixture
def http(scripted: Deployment) -> Iterator[httpx.Client]:
    """Yield a client with the deployment's key."""
    headers = {"authorization": f"Bearer {scripted.key}"}
    with httpx.Client(base_url=scripted.origin, headers=headers, timeout=60) as client:
        yield client


def body(**more: Any) -> dict[str, Any]:
    """Return a streamed chat that no other test asks for."""
    said = {"repeat": " wört{i}", "count": WORDS, "rate": 50}
    return {
        "model": SCRIPTED_MODEL,
        "stream": True,
        "user": secrets.token_hex(4),
        "messages": script(**said),
        **more,
    }


def booked(deployment: Deployment) -> list[Any]:
    """Return the sums of the key's account."""
    account = found(deployment, account_key(ids.key_id_of(deployment.key) or ""))
    return [account[name] for name in ("requests", "prompt_tokens", "completion_tokens", "cost")]


def test_the_stock_client_gets_the_rest_after_a_cut(
    cloud: LocalCloud, scripted: Deployment
) -> None:
    """openai-python repeats a request whose connection broke, and gets what was generated.

    With an `Idempotency-Key` its own retry is attached. The answer is generated and billed once.
    """
    key = secrets.token_hex(8)
    client = scripted.client.with_options(max_retries=6)
    asked: dict[str, Any] = {
        "model": SCRIPTED_MODEL,
        "messages": script(repeat=" wört{i}", count=WORDS, rate=4),
        "extra_headers": {"idempotency-key": key},
    }
    # The client times out in the middle of its first try, and sends the request again.
    raw = client.with_options(timeout=1.5).chat.completions
    answer = raw.with_raw_response.create(**asked)
    assert answer.parse().choices[0].message.content == SAID
    assert answer.retries_taken > 0
    assert answer.headers["x-sluice-replayed"] == "true"
    item = settled(scripted, answer.headers["x-sluice-stream"])
    assert (item["outcome"], item["completion_tokens"]) == ("complete", WORDS)
    before = booked(scripted)
    for _ in range(2):
        with client.chat.completions.with_streaming_response.create(**asked) as again:
            assert again.headers["x-sluice-replayed"] == "true"
            assert again.parse().id == answer.parse().id
    assert booked(scripted) == before


def test_a_stream_is_replayed_byte_by_byte(http: httpx.Client, scripted: Deployment) -> None:
    """A repeat of a stream, and a hit of the cache, have the same bytes. Sums do not change."""
    asked = body(sluice={"cache": 60})
    headers = {"idempotency-key": secrets.token_hex(8)}
    first = http.post(CHAT, json=asked, headers=headers)
    assert first.status_code == 200
    settled(scripted, first.headers["x-sluice-stream"])
    before = booked(scripted)
    for more in (headers, {}, {"idempotency-key": secrets.token_hex(8)}):
        again = http.post(CHAT, json=asked, headers=more)
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["x-sluice-replayed"] == "true"
    assert booked(scripted) == before
    wrong = http.post(CHAT, json={**asked, "seed": 1}, headers=headers)
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (409, "idempotency_key_reused")


@pytest.mark.parametrize("kind", ["container-killed", "stream-cut", "container-reset"])
def test_an_answer_whose_container_ends_is_continued(
    cloud: LocalCloud, scripted: Deployment, kind: str
) -> None:
    """The client sees one whole answer, and its first prompt. The second one is in the ledger."""
    fields = {"kind": kind, "after": MIDDLE, "containing": '"messages"'}
    with fault(cloud, scope="scripted*", **fields) as fault_id:
        stream = scripted.client.chat.completions.create(
            model=SCRIPTED_MODEL,
            messages=script(repeat=" wört{i}", count=WORDS, rate=100, prompt_tokens=5),
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"sluice": {"on_cut": "continue"}},
            timeout=60,
        )
        name = stream.response.headers["x-request-id"].removeprefix("req_")
        chunks = list(stream)
        assert listed(cloud, fault_id)["landed"] == 1
    assert text(chunks) == SAID
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (5, WORDS)
    item = settled(scripted, name)
    assert (item["outcome"], item["completion_tokens"]) == ("complete", WORDS)
    assert (item["prompt_tokens"], item["continued_prompt_tokens"]) == (10, 5)


def test_the_stock_client_learns_why_it_was_not_continued(scripted: Deployment) -> None:
    """A request that could not be continued is refused by name."""
    with pytest.raises(openai.BadRequestError) as refused:
        scripted.client.chat.completions.create(
            model=SCRIPTED_MODEL,
            messages=script(say=["a"]),
            n=2,
            extra_body={"sluice": {"on_cut": "continue"}},
        )
    assert refused.value.param == "sluice.on_cut"
