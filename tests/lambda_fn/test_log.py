"""The log: each call writes one line of printable ASCII, for any fields."""

import json
import sys
from typing import Any

import pytest

from lambda_fn.log import log

ODD = [
    *map(chr, range(0x20)),
    *map(chr, range(0x7F, 0xA0)),
    "\u2028",
    "\u2029",
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    "\ufeff",
    "\ud800",
    "\udfff",
    "é",
    "\U0001f600",
    "\U000e0041",
]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: f"U+{ord(odd):04X}")
def test_a_line_is_printable_ascii(odd: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No character of a name or value ends a line or controls a terminal.

    Each can be read back.
    """
    fields: dict[str, Any] = {
        "text": f"a{odd}b",
        "inner": {odd: [odd]},
        "number": 1.5,
        "none": None,
    }
    log("odd", **fields)
    line = capsys.readouterr().out.removesuffix("\n")
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line) == {"event": "odd", **fields}


def test_an_ordinary_line_is_encoded_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields of plain text do not take the slow path."""
    monkeypatch.setattr(sys.modules["lambda_fn.log"].json, "dumps", None)
    log("request", request_id="01", status=200, tokens=[1, 2])
    assert json.loads(capsys.readouterr().out) == {
        "event": "request",
        "request_id": "01",
        "status": 200,
        "tokens": [1, 2],
    }
