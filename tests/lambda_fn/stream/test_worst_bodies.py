"""The cost of the worst bodies, and of callers without a key.

`worst_bodies` documents how it is measured.
"""

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lambda_fn import ids, limits
from lambda_fn.schema import ChatRequest, CompletionRequest
from lambda_fn.schema.responses import ResponsesRequest
from tests.support.corpus import BODIES, COMPLETIONS, MESSAGES, PLAIN, RESPONSES
from tests.support.worst_bodies import TIME, call, stubbed_app

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
MEMORY = 8
"""Times the body, and 16 MB."""


@pytest.fixture(scope="session")
def measured() -> dict[str, dict[str, Any]]:
    """Measure all bodies in one process, without the modules that pytest has imported."""
    command = [sys.executable, "-m", "tests.support.worst_bodies"]
    said = subprocess.run(command, check=True, capture_output=True, timeout=600).stdout
    return {line["name"]: line for line in map(json.loads, said.splitlines())}


@pytest.mark.parametrize("name", [*BODIES, *COMPLETIONS, *MESSAGES, *RESPONSES])
def test_no_body_costs_more_than_its_size(measured: dict[str, dict[str, Any]], name: str) -> None:
    """Any body costs a bounded multiple of its decoding time and of its size in memory."""
    found = measured[name]
    assert "failed" not in found
    assert found["status"] in {200, 400}, found
    assert found["ratio"] <= TIME, found
    assert found["growth"] <= MEMORY * found["size"] + 16_000_000, found


@pytest.mark.parametrize("name", [*BODIES, *COMPLETIONS, *RESPONSES])
def test_refusals_are_short(measured: dict[str, dict[str, Any]], name: str) -> None:
    """The error for a long request names the field in at most 200 characters."""
    if measured[name]["status"] == 400:
        error = json.loads(measured[name]["answer"])["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert len(error["param"] or "") <= 200


def test_a_caller_without_a_key_costs_the_same_with_any_body(
    measured: dict[str, dict[str, Any]],
) -> None:
    """The cost of a request without a valid key does not grow with its body."""
    small, large = measured["unknown"]["1000"], measured["unknown"][str(limits.MAX_BODY)]
    assert large < 3 * small


async def test_a_body_is_not_read_without_a_key() -> None:
    """If the key does not exist, no byte of the body is read."""

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body was read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for path in PATHS:
        headers = [
            (b"x-sluice-origin-secret", b"o"),
            (b"authorization", b"Bearer " + ids.new_key().encode()),
        ]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers,
            "query_string": b"",
            "state": {},
        }
        with stubbed_app() as app:
            await app(scope, receive, send)
        assert sent.pop(0)["status"] == 401
        sent.clear()


_TEXT = st.text(max_size=40)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=12,
)
_NAMES = st.sampled_from(
    sorted(
        {
            *ChatRequest.__struct_fields__,
            *CompletionRequest.__struct_fields__,
            *ResponsesRequest.__struct_fields__,
        }
    )
)
_BODIES = (
    st.binary(max_size=300)
    | st.dictionaries(_NAMES, _JSON, max_size=6).map(
        lambda fields: json.dumps(
            {
                "model": "m",
                "messages": [{"role": "user", "content": "x"}],
                "input": "x",
                **fields,
            }
        ).encode()
    )
    | st.tuples(st.integers(0, 200), st.binary(max_size=8)).map(
        lambda cut: (
            b'{"model":"m","messages":[{"role":"user","content":"a\\u0000b"}],"stop":["x"]}'[
                : cut[0]
            ]
            + cut[1]
        )
    )
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(body=_BODIES, path=st.sampled_from(PATHS))
def test_any_body_is_answered_or_refused(body: bytes, path: str) -> None:
    """Any bytes are a valid request, or get a 4xx in OpenAI's shape."""
    with stubbed_app() as app:
        status, said = asyncio.run(call(app, body, path=path))
    assert status == 200 or 400 <= status < 500
    if status != 200:
        assert json.loads(said)["error"].keys() == {"message", "type", "param", "code"}


def test_the_plain_body_is_answered(measured: dict[str, dict[str, Any]]) -> None:
    """The body with which the others are compared is an ordinary request."""
    assert (measured["plain"]["status"], len(PLAIN) > 0.99 * limits.MAX_BODY) == (200, True)
