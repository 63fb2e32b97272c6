"""How `sluice check` sends requests and parses a stream."""

import pytest

from cli.commands.check.wire import NoResponse, Response, Server, parse_stream


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


def test_an_authority_is_trusted(careless_tls: tuple[str, str]) -> None:
    """A certificate of the authority that is named is good."""
    url, authority = careless_tls
    assert Server(url, "k", authority=authority).send("GET", "/models").status == 200


def test_an_unknown_authority_is_told(careless_tls: tuple[str, str]) -> None:
    """The error says what to do where another authority signed the certificate."""
    with pytest.raises(NoResponse, match=r"not trusted: .*SSL_CERT_FILE="):
        Server(careless_tls[0], "k").send("GET", "/models")
