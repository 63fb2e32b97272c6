"""A stream under each fault, as the stock OpenAI client sees it.

It gets a whole answer or an exception, and each request has a ledger item.
"""

import time
from dataclasses import dataclass, field
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from lambda_fn import ids, limits
from lambda_fn.metering.keys import account_key, ledger_key
from local.cloud import LocalCloud
from tests.e2e.test_streaming import script, settled, text
from tests.support.deployments import SCRIPTED_MODEL, Deployment
from tests.support.faults import fault, landed, listed

pytestmark = pytest.mark.e2e

WORDS = 12
SAID = "".join(f" wört{number}" for number in range(WORDS))
# The bytes of the start record and a few more.
MIDDLE = 300
BOUNDARIES = 10


@dataclass
class Seen:
    """What a client saw of one stream."""

    chunks: list[ChatCompletionChunk] = field(default_factory=list)
    error: openai.APIError | None = None
    request_id: str = ""

    @property
    def code(self) -> str | None:
        """The error's code, or None.

        It is the status if Lambda made the response, and `connection` if the connection broke.
        """
        if self.error is None:
            return None
        if isinstance(self.error, openai.APIConnectionError):
            return "connection"
        if isinstance(self.error, openai.APIStatusError) and self.error.code is None:
            return str(self.error.status_code)
        return self.error.code

    @property
    def whole(self) -> bool:
        """Whether the client got the whole text and a finish reason."""
        return text(self.chunks) == SAID and self.chunks[-1].choices[0].finish_reason == "stop"


def stream(deployment: Deployment, **said: Any) -> Seen:
    """Stream one answer of the scripted engine. Check what must hold for every stream."""
    seen = Seen()
    fields = {"repeat": " wört{i}", "count": WORDS, "rate": 100, **said}
    try:
        with deployment.client.chat.completions.with_streaming_response.create(
            model=SCRIPTED_MODEL, messages=script(**fields), stream=True, timeout=60
        ) as raw:
            seen.request_id = raw.headers.get("x-request-id", "").removeprefix("req_")
            seen.chunks.extend(raw.parse())
    except openai.APIError as error:
        seen.error = error
        if isinstance(error, openai.APIStatusError):
            seen.request_id = error.response.headers.get("x-request-id", "").removeprefix("req_")
    assert seen.whole or seen.error, f"a silent end after {text(seen.chunks)!r}"
    assert SAID.startswith(text(seen.chunks))
    return seen


def wait_for_container(deployment: Deployment) -> None:
    """Wait until a container serves again."""
    patient = deployment.client.with_options(max_retries=20)
    patient.chat.completions.create(model=deployment.model, messages=script(say=["here"]))


@pytest.mark.parametrize(
    ("fields", "code", "outcome"),
    [
        ({"kind": "one-byte-parts"}, None, "complete"),
        ({"kind": "joined-parts"}, None, "complete"),
        ({"kind": "container-stalled", "after": MIDDLE, "seconds": 0.5}, None, "complete"),
        ({"kind": "container-stalled", "seconds": 13}, None, "complete"),
        ({"kind": "container-killed"}, "upstream_error", "failed"),
        ({"kind": "container-killed", "after": MIDDLE}, "upstream_cut", "cut"),
        ({"kind": "container-reset"}, "upstream_error", "failed"),
        ({"kind": "container-reset", "after": MIDDLE}, "upstream_cut", "cut"),
        ({"kind": "container-error", "status": 500}, "upstream_error", "failed"),
        ({"kind": "container-error", "status": 404}, "upstream_error", "failed"),
        ({"kind": "container-garbage"}, "upstream_error", "failed"),
        ({"kind": "container-garbage", "after": MIDDLE}, "upstream_error", "cut"),
        ({"kind": "container-endless-line"}, "upstream_error", "failed"),
        ({"kind": "container-endless-line", "after": MIDDLE}, "upstream_error", "cut"),
        ({"kind": "stream-cut"}, "upstream_error", "failed"),
        ({"kind": "stream-cut", "after": MIDDLE}, "upstream_cut", "cut"),
        ({"kind": "table-throttled", "operation": "PutItem", "count": 3}, None, "complete"),
        ({"kind": "table-throttled", "operation": "UpdateItem"}, "service_unavailable", "refused"),
        ({"kind": "table-slow", "count": 4, "seconds": 0.5}, None, "complete"),
        ({"kind": "table-down", "count": 3}, None, "complete"),
        ({"kind": "table-unreachable", "count": 3}, None, "complete"),
        ({"kind": "table-answer-lost", "count": 3}, None, "complete"),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_a_stream_that_is_settled(
    cloud: LocalCloud, scripted: Deployment, fields: dict[str, Any], code: str | None, outcome: str
) -> None:
    """Under a fault of container, connection or table, the stream is whole or raises.

    The ledger is settled.
    """
    if not fields["kind"].startswith("table"):
        fields = {
            **fields,
            "containing": '"messages"',
        }  # not the call that releases the previous request
    with fault(cloud, scope="scripted*", **fields) as fault_id:
        seen = stream(scripted)
        assert seen.code == code
        assert settled(scripted, seen.request_id)["outcome"] == outcome
        if "parts" not in fields["kind"]:
            assert listed(cloud, fault_id)["landed"] == fields.get("count", 1)
    if fields["kind"] == "container-killed":
        wait_for_container(scripted)


def test_boundaries(cloud: LocalCloud, scripted: Deployment) -> None:
    """The client reads the same answer, though the event stream is cut in another place each time.

    Parts of one byte are cut at every place, and tests/lambda_fn/dialects has cuts at any places.
    """
    asked = {"scope": "scripted*", "containing": '"messages"', "after": MIDDLE // 2}
    with fault(cloud, kind="boundary", **asked, probability=1) as fault_id:
        said = script(say=["ö"])
        for _ in range(BOUNDARIES):
            chunks = list(
                scripted.client.chat.completions.create(
                    model=SCRIPTED_MODEL, messages=said, stream=True
                )
            )
            assert (text(chunks), chunks[-1].choices[0].finish_reason) == ("ö", "stop")
        assert listed(cloud, fault_id)["struck"] == BOUNDARIES


def test_a_meter_that_is_down(cloud: LocalCloud, scripted: Deployment) -> None:
    """While the table accepts nothing, a request is a 503 in OpenAI's shape.

    The model generates nothing.
    """
    for kind in ("table-throttled", "table-down", "table-unreachable"):
        with fault(cloud, kind=kind, scope="scripted*", probability=1):
            assert stream(scripted).code == "service_unavailable"


def test_a_settlement_that_cannot_be_written(cloud: LocalCloud, scripted: Deployment) -> None:
    """If only the settlement fails, the client still gets its whole answer.

    The settlement is tried until the table is back.
    """
    with scripted.client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=script(count=10, rate=10), stream=True
    ) as chunks:
        request_id = next(chunks).id.removeprefix("chatcmpl-")
        with fault(cloud, kind="table-down", scope="scripted*", probability=1) as fault_id:
            assert list(chunks)[-1].choices[0].finish_reason == "stop"
            ends = time.monotonic() + 60
            while (
                listed(cloud, fault_id)["struck"] < limits.META_MAX_ATTEMPTS
                and time.monotonic() < ends
            ):
                time.sleep(0.02)
    assert settled(scripted, request_id)["outcome"] == "complete"


SETTLING = {
    "kind": "caller-killed-before",
    "operation": "UpdateItem",
    "containing": '"SETTLED"',
    "seconds": 0.1,  # within which the response gets to its client
}
"""The fault that kills a function whose response is whole, and whose ledger item is OPEN."""


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "function-killed-at-start", "seconds": 0.3}, "502"),
        ({"kind": "function-killed-at-response"}, "502"),
        ({"kind": "function-killed-in-response", "after": 700}, "connection"),
        (SETTLING, None),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else None,
)
def test_a_function_that_is_killed(
    cloud: LocalCloud, scripted: Deployment, fields: dict[str, Any], code: str | None
) -> None:
    """If a function is killed, the connection breaks or the response is a 502.

    Its ledger item stays OPEN, and the next request succeeds.
    """
    before = in_flight(scripted)
    with fault(cloud, scope="scripted*", **fields) as fault_id:
        seen = stream(scripted, first_after=1)
        assert seen.code == code
        assert landed(cloud, fault_id) == 1
    [request_id] = in_flight(scripted) - before
    assert seen.request_id in {"", request_id}
    key = ledger_key(request_id)
    assert scripted.table.get_item(Key=key, ConsistentRead=True)["Item"]["state"] == "OPEN"
    assert stream(scripted).whole


def in_flight(deployment: Deployment) -> set[str]:
    """Return the requests of the test's key that are in flight."""
    key = account_key(ids.key_id_of(deployment.key) or "")
    return set(deployment.table.get_item(Key=key, ConsistentRead=True)["Item"]["in_flight"])


def test_a_slow_reader(scripted: Deployment) -> None:
    """A client that pauses reading gets all of a long answer, in order."""
    count, padding = 3000, "-" * 400
    said = script(repeat=f" {{i}}{padding}", count=count)
    with scripted.client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=said, stream=True, max_tokens=count
    ) as chunks:
        found = [next(chunks)]
        time.sleep(2)
        found.extend(chunks)
    assert text(found) == "".join(f" {number}{padding}" for number in range(count))
    assert settled(scripted, found[0].id)["completion_tokens"] == count


def test_a_client_that_goes_away(scripted: Deployment) -> None:
    """If a client leaves, the answer is generated to its end and settled in full.

    Lambda does not tell the function that the client left.
    """
    said = script(repeat=" x", count=20, rate=40)
    with scripted.client.chat.completions.create(
        model=SCRIPTED_MODEL, messages=said, stream=True
    ) as chunks:
        chat_id = next(chunks).id
    item = settled(scripted, chat_id)
    assert (item["outcome"], item["completion_tokens"]) == ("complete", 20)


def test_faults_that_make_no_sense(cloud: LocalCloud) -> None:
    """An invalid fault is rejected with a reason. A fault that does not exist cannot be cleared."""
    address, owner = (
        f"{cloud.endpoint_url}/_local/faults",
        {"authorization": f"Bearer {cloud.keys.token}"},
    )
    for content in (b"{", b"[]", b'{"kind": "flood"}'):
        answer = httpx.post(address, content=content, headers=owner)
        assert answer.status_code == 400
        assert answer.json()["message"]
    assert httpx.delete(f"{address}/f0", headers=owner).status_code == 404
