"""The rule of `sluice check` for a stream's timing."""

import json

import pytest

from cli.commands.check.rules import buffered
from cli.commands.check.wire import Response, parse_stream

CHUNK = (
    b"data: "
    + json.dumps({"choices": [{"index": 0, "delta": {"content": "x"}}]}).encode()
    + b"\n\n"
)


@pytest.mark.parametrize(
    ("times", "held"),
    [
        ([0.1 + number / 20 for number in range(20)], False),
        ([2.0] * 20, True),
        ([0.01] * 20, None),
        ([0.1], None),
    ],
    ids=["as sampled", "all at once, late", "all at once, soon", "too short"],
)
def test_buffering_on_the_way(times: list[float], held: bool | None) -> None:
    """Chunks that all arrive at the end were held back. For a quick response this is unknown."""
    pieces = [(when, CHUNK) for when in times]
    assert buffered(parse_stream(Response(200, {}, pieces)))[0] is held
