"""What the local OTLP endpoints have in common."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from local.otlp import Line, Receiver, Send, is_recent
from tests.support import otlp
from tests.support.otlp import Endpoint

MAX_BODY = 200_000


def lines(content: Any) -> Iterator[Line]:
    """Yield a line for each number of a request."""
    for number in content["numbers"]:
        yield Line(int(number) * 10**9, {"é": 1 / number})


def receiver(send: Send) -> Receiver:
    """Return an endpoint for lists of numbers."""
    return Receiver(send, lines, group="group", service="service", max_body=MAX_BODY)


@pytest.fixture(name="endpoint")
async def _endpoint() -> AsyncIterator[Endpoint]:
    async with otlp.endpoint(receiver, "service") as found:
        yield found


async def test_lines(endpoint: Endpoint) -> None:
    """Each record is a line with its time in milliseconds, in the region of the signature."""
    assert await endpoint(b'{"numbers": [2, 4]}') == (200, {})
    assert endpoint.items == [
        {
            "region": "eu-west-1",
            "group": "group",
            "stream": "default",
            "timestamp": number * 1000,
            "message": '{"é":%s}' % (1 / number),
        }
        for number in (2, 4)
    ]


async def test_nothing_to_send(endpoint: Endpoint) -> None:
    """A request without records is taken, and nothing is sent on."""
    assert await endpoint(b'{"numbers": []}') == (200, {})
    assert endpoint.items == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"{}", "application/x-protobuf", 415),
        (b"", "application/json", 400),
        (b"no JSON", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"numbers": ["2"]}', "application/json", 400),
        (b'{"numbers": [2, 1e999]}', "application/json", 400),
        (b" " * MAX_BODY, "application/json", 400),
        (b" " * (MAX_BODY + 1), "application/json", 413),
    ],
)
async def test_what_is_refused(endpoint: Endpoint, body: bytes, kind: str, status: int) -> None:
    """A request that is no JSON of the signal, or too large, is refused as a whole, with why."""
    found, answer = await endpoint(body, kind)
    assert (found, bool(answer["message"])) == (status, True)
    assert endpoint.items == []


@pytest.mark.parametrize(
    ("hours", "taken"), [(-14 * 24 - 1, False), (-14 * 24 + 1, True), (1, True), (3, False)]
)
def test_is_recent(hours: int, taken: bool) -> None:
    """Records of the last two weeks are taken, and two hours of clocks that are ahead."""
    assert is_recent(time.time_ns() + hours * 3600 * 10**9) is taken
