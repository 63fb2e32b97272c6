"""Arguments of earlier tool calls, as clients send them back."""

import contextlib
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schema_guard import ArgumentsRefused, arguments_text
from schema_guard.arguments import MAX_ARGUMENTS_VALUES

NONE: list[Any] = [None, {}, "", " \n", "null", " null ", "[]", "{}", "\ufeff"]
KEPT = [
    *('{"a":' * 64 + "1" + "}" * 64, '{"a":0.' + "1" * 400 + "}", '{"a":' + "1" * 300 + "}"),
    *('{"a":"\x7f"}', '{"a":1,"a":2}', '{"a":1e-999}', '{"a":1e308}', '{"a":"' + "[" * 1000 + '"}'),
    *(r'{"\u0000":1}', r'{"a":"\ud83d\ude00"}', '{"é":"界"}', '{"a":[' + "[]," * 1000 + "1]}"),
]
REFUSED: dict[str, list[Any]] = {
    "are not JSON": [
        *("{", '"', '{"a":1}{"b":2}', "/*c*/{}", "{'a':1}", '{"a":1,}', '{"a":01}', '{"a":-}'),
        *('{"a":"\t"}', r'{"a":"\x"}', '{"city": "Par', "NaN", '{"a":Infinity}', "undefined"),
        *('{"a":{}}' * 500, "get_time()", "[object Object]"),
    ],
    "must be a JSON object": ["true", "5", '"x"', '"{}"', "[1]", '[{"a":1}]'],
    "too large": ['{"a":' + "1" * 5000 + "}", '{"a":' + "9" * 310 + ".5}", '{"a":-1e999}', "1e400"],
    "surrogate": [r'{"a":"\ud800"}', r'{"\ud800":1}', r'{"a":"\udc00\ud800"}'],
    "nested": [
        *('{"a":' * 65 + "1" + "}" * 65, '{"a":' + "[" * 5000 + "]" * 5000 + "}", "[" * 15_000),
        {"a": json.loads("[" * 70 + "]" * 70)},
    ],
    "more than 20000 values": ['{"a":[' + "1," * MAX_ARGUMENTS_VALUES + "1]}"],
    "must be the text": [5, True, ["x"]],
}


@pytest.mark.parametrize("arguments", NONE, ids=repr)
def test_none(arguments: Any) -> None:
    """A call without arguments has the empty object, in whatever way it is sent."""
    assert arguments_text(arguments) == "{}"


@pytest.mark.parametrize("arguments", KEPT, ids=lambda it: it[:20])
def test_kept(arguments: str) -> None:
    """An object's text is not changed, but for white space and a mark around it."""
    assert arguments_text(f"\ufeff {arguments}\n") == arguments


def test_an_object() -> None:
    """An object in place of its text is taken, as other APIs write it."""
    assert json.loads(arguments_text({"a": ["é", 1.5, None]})) == {"a": ["é", 1.5, None]}


@pytest.mark.parametrize("why", REFUSED)
def test_refused(why: str) -> None:
    """Everything else is refused in a sentence that says why."""
    for arguments in REFUSED[why]:
        with pytest.raises(ArgumentsRefused, match=why):
            arguments_text(arguments)


@given(st.text(st.sampled_from('{}[]",:\\u0dE8e-1. a\ufeff'), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text(text: str) -> None:
    """Any text is refused, or becomes the text of an object."""
    try:
        found = arguments_text(text)
    except ArgumentsRefused:
        return
    assert isinstance(json.loads(found), dict)


def test_cost() -> None:
    """The work is linear, and takes at most some times as long as parsing the JSON."""
    size = 900_000
    worst = {
        "pairs": "[]" * (size // 2),
        "quotes": "[" * 64 + "]" * 64 + '""' * (size // 2),
        "escapes": "[" * 65 + '"' + "\\\\" * (size // 2),
        "colons": '{"a":[],' * (size // 8),
        "one string": '{"a":"' + "\\u00e9" * (size // 6) + '"}',
        "numbers": '{"a":[' + "9" * (size - 20) + "]}",
    }
    body = json.dumps([[number] for number in range(size // 8)])

    def read(text: str) -> None:
        with contextlib.suppress(ArgumentsRefused):
            arguments_text(text)

    def seconds(work: Callable[[str], object], text: str) -> float:
        """Return the least CPU time of three runs."""
        took = []
        for _ in range(3):
            began = time.process_time()
            work(text)
            took.append(time.process_time() - began)
        return min(took)

    unit = seconds(json.loads, body)
    for name, text in worst.items():
        assert seconds(read, text) < 8 * unit + 0.02, name
