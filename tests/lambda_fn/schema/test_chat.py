"""Requests that are rejected, and their errors."""

import gzip
import json
import subprocess
import sys
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import Control, Rules, container_body, parse_chat
from tests.support.bad_requests import (
    ACCEPTED,
    BAD,
    DOCUMENT,
    GOOD,
    TOOLS,
    USER,
    Bad,
    body,
    documented,
    function,
)

CONTROL = Control(request_id="r", deadline_ms=5, max_prompt_tokens=9, caller="k")


def passed_on(change: dict[str, Any]) -> Any:
    """Return the body that the container gets for a request."""
    return json.loads(container_body(parse_chat(body(change)), CONTROL))


@pytest.mark.parametrize("bad", BAD, ids=[bad.shown for bad in BAD])
def test_wrong_fields_are_named(bad: Bad) -> None:
    """Each row of the table is a 400 with OpenAI's code. `param` is the path of the wrong field."""
    if bad.strict:
        assert parse_chat(body(bad.change)), "only `strict` rejects it"
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(body(bad.change), Rules(strict=bad.strict))
    assert (refusal.value.param, refusal.value.code, refusal.value.status) == (
        bad.param,
        bad.code,
        400,
    )
    assert bad.param in refusal.value.message or bad.code is None


WHOLE_NUMBERS: list[dict[str, Any]] = [
    {"max_tokens": 4.0},
    {"max_completion_tokens": 1e3},
    {"seed": -5.0},
    {"n": 2.0},
    {"logprobs": True, "top_logprobs": 0.0},
    {"max_tokens": 7.0, "n": 1.0, "seed": 0.0, "temperature": 1.0},
]


@pytest.mark.parametrize("change", WHOLE_NUMBERS, ids=json.dumps)
def test_whole_numbers_as_decimals(change: dict[str, Any]) -> None:
    """A whole number may be written as a decimal, as clients of untyped languages do."""
    whole = {name: int(value) if value is not True else value for name, value in change.items()}
    assert passed_on(change) == passed_on(whole)


@pytest.mark.parametrize(
    ("digits", "code"),
    [
        ("4.5", "invalid_type"),
        ("0.0", "integer_below_min_value"),
        ("-2e0", "integer_below_min_value"),
        ("1e8", "integer_above_max_value"),
        ("1e300", "invalid_type"),
        ('"4"', "invalid_type"),
        ("true", "invalid_type"),
        ("NaN", "invalid_json"),
        ("-Infinity", "invalid_json"),
    ],
)
def test_other_numbers(digits: str, code: str) -> None:
    """What is no whole number within the limits is an error that names the field."""
    text = body({}).decode()[:-1] + f', "max_tokens": {digits}}}'
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(text.encode())
    assert (refusal.value.param, refusal.value.code) == ("max_tokens", code)


def test_a_decimal_hides_no_other_fault() -> None:
    """The second reading of a body finds what the first one would have found."""
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(body({"n": 2.0, "stop": [5]}))
    assert refusal.value.param == "stop[0]"
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(body({"n": 2.0})[:-1] + b',"x":')
    assert refusal.value.code == "invalid_json"


def test_a_byte_order_mark() -> None:
    """A body may begin with a byte-order mark, as Windows' editors and shells write."""
    assert parse_chat(b"\xef\xbb\xbf" + body({})) == parse_chat(body({}))


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (body({}).decode().encode("utf-16"), "UTF-16"),
        (body({}).decode().encode("utf-16-le"), "UTF-16"),
        (body({}).decode().encode("utf-16-be"), "UTF-16"),
        (body({}).decode().encode("utf-32"), "UTF-32"),
        (gzip.compress(body({}), mtime=0), "content-encoding: gzip"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "zstd"),
    ],
)
def test_other_formats_are_named(data: bytes, name: str) -> None:
    """A body in another encoding is rejected by that encoding's name."""
    with pytest.raises(InvalidRequest, match=name) as refusal:
        parse_chat(data)
    assert refusal.value.code == "invalid_json"


@pytest.mark.parametrize(
    "choice", ["none", "required", {"type": "function", "function": {"name": "f"}}]
)
@pytest.mark.parametrize(
    "schema", [{"enum": list(range(501))}, {"type": "integer", "minimum": 10**15}]
)
def test_tools_that_are_not_called_at_will_may_have_what_forms_may(
    schema: dict[str, Any], choice: object
) -> None:
    """llama.cpp's own converter gets only tools whose choice is `auto`.

    Other tools may have any schema that llguidance accepts.
    """
    passed_on({"tools": [function(parameters=schema)], "tool_choice": choice})
    for refused in ({}, {"tool_choice": "auto"}):
        with pytest.raises(InvalidRequest):
            passed_on({"tools": [function(parameters=schema)], **refused})


@pytest.mark.parametrize("name", ACCEPTED)
def test_edges_are_accepted(name: str) -> None:
    """Values at the edge of a limit are accepted, and reach the container's body."""
    for change in ACCEPTED[name]:
        assert passed_on(change)["sluice"]["request_id"] == "r"


def test_the_documentation_has_the_table() -> None:
    """docs/reference/api.md contains this test's table. `make docs` writes it."""
    assert documented() == DOCUMENT.read_text()


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"\xff\xfe", None),
        (b"[1]", None),
        (b'""', None),
        (b"nul\x00", None),
        (b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}', "messages"),
        # Members that are not read are kept, too.
        (b'{"model":"m","messages":[{"role":"user","content":"x","y":"\xff"}]}', "messages"),
        (b'{"messages":[{"role":"user","content":"x"}],"model":"m","y":"\xff"}', "y"),
        (b'{"messages":[{"role":"user","content":"x\\ud800"}],"model":"m"}', "messages"),
        (b'{"messages":[{"role":"user","content":"x\x00"}],"model":"m"}', "messages"),
        (b'{"model":"m","user":' + b"[" * 900_000, "user"),
        (b'{"model":"m","messages":' + b'{"a":' * 100_000, "messages"),
        (
            b'{"model":"m","tools":[{"type":"function","function":{"name":"f","parameters":'
            + b'{"a":' * 500,
            "tools",
        ),
        (b'{"model":"m","messages":[' + b"{}," * 300_000 + b"{}]}", "messages"),
        (b'{"model":"m","seed":' + b"9" * 900_000 + b"}", "seed"),
        (b'{"model":"m","temperature":1e999}', "temperature"),
        (b'{"model":"m","stop":["' + b'\\"' * 400_000, "stop"),
        (b'{"model":"m","x":NaN}', "x"),
    ],
    ids=range(19),
)
def test_hostile_bodies(data: bytes, param: str | None) -> None:
    """A malformed, deep or huge body is a 400, quickly and in little memory.

    The error names the field, if there is one.
    """
    tracemalloc.start()
    started = time.process_time()
    with pytest.raises(InvalidRequest) as refusal:
        parse_chat(data)
    took, (_, most) = time.process_time() - started, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refusal.value.status == 400
    assert refusal.value.param == param
    assert took < 2, "bounded by the size of the body"
    assert most < 40_000_000


@given(st.binary(max_size=400))
def test_any_bytes_are_refused_politely(data: bytes) -> None:
    """No bytes raise anything but an InvalidRequest."""
    with pytest.raises(InvalidRequest):
        parse_chat(data)


def test_what_has_no_effect_is_not_passed_on() -> None:
    """Unknown parameters are ignored. The container gets only checked ones that have an effect."""
    found = passed_on(
        {"sluice": {"durable": True}, "store": True, "user": "u", "stop": ["a"], "seed": 0}
    )
    assert found == {
        "model": "m",
        "messages": [USER],
        "stop": ["a"],
        "seed": 0,
        "sluice": {
            "v": 1,
            "request_id": "r",
            "deadline_ms": 5,
            "max_prompt_tokens": 9,
            "caller": "k",
        },
    }


def test_one_name_for_the_limit() -> None:
    """The container gets the token limit under one name, whichever name the client used."""
    for name in ("max_tokens", "max_completion_tokens"):
        found = passed_on({name: 7})
        assert found["max_tokens"] == 7
        assert "max_completion_tokens" not in found


def test_allowed_tools_are_the_tools() -> None:
    """With `allowed_tools` the container gets only those tools, and their mode as the choice."""
    allowed = {"mode": "required", "tools": [function("g")]}
    found = passed_on(
        {
            "tools": [*TOOLS, function("g")],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed},
        }
    )
    assert [tool["function"]["name"] for tool in found["tools"]] == ["g"]
    assert found["tool_choice"] == "required"


def test_an_earlier_refusal_is_what_was_said() -> None:
    """A refusal in an earlier message reaches the container as content."""
    parts = [{"type": "text", "text": "Well. "}, {"type": "refusal", "refusal": "No."}]
    for message in ({"content": None, "refusal": "No."}, {"content": parts}):
        found = passed_on({"messages": [{"role": "assistant", **message}, USER]})
        assert found["messages"][0]["content"].endswith("No.")
        assert found["messages"][0].keys() == {"role", "content"}


def test_a_backslash_is_no_nul() -> None:
    """A text with an escaped backslash before u0000 has no NUL character, and is accepted."""
    assert passed_on({"messages": [{"role": "user", "content": "what is \\u0000?"}]})["messages"][
        0
    ]["content"]


def test_good_is_good() -> None:
    """The request that the table's rows change is itself accepted."""
    assert parse_chat(body({})).model == GOOD["model"]


def test_a_cold_start_has_no_part_in_schemas() -> None:
    """The check of schemas is imported by the first request that has a schema."""
    code = (
        "import sys, lambda_fn.stream.main, lambda_fn.schema as it; "
        "it.parse_chat(sys.argv[1].encode());"
        "assert 'schema_guard' not in sys.modules; it.parse_chat(sys.argv[2].encode());"
        "assert 'schema_guard' in sys.modules"
    )
    with_tool = body({"tools": [function(parameters={"type": "object"})]})
    subprocess.run([sys.executable, "-c", code, body({}).decode(), with_tool.decode()], check=True)
