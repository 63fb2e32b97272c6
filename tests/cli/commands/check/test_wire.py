"""How `sluice check` parses a stream."""

from cli.commands.check.wire import Response, parse_stream


def test_framing_that_some_client_stumbles_over() -> None:
    """Comments, other fields, missing spaces, invalid JSON and a missing end are faults.

    Each of them breaks some client.
    """
    for block in (
        b": ping\n\n",
        b"id: 1\ndata: {}\n\n",
        b"data:{}\n\n",
        b"data: {\n\n",
        b"data: {}",
        b"data: \xff\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
    ):
        assert parse_stream(Response(200, {}, [(0.1, block[:3]), (0.2, block[3:])])).faults, block
    assert parse_stream(Response(200, {}, [(0.1, b"data: {}\n\ndata: [DONE]\n\n")])).faults == []


def test_what_is_no_json_is_none() -> None:
    """Whatever bytes a body has."""
    for body in (b"", b"<html>", b"\xff", b"[" * 100_000, b"1" * 5000):
        assert Response(200, {}, [(0.1, body)]).json() is None
