"""Tool calls of other servers are told apart, and written as OpenAI writes them.

Each case is a list of chunks, and each chunk is the value of `tool_calls` in a delta.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.dialects.tool_calls import ToolCalls
from tests.support.model_answers import answer, chunk, sse


def call(name: Any = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """Return a tool call, or a piece of one, without the members that are None."""
    function = {"name": name, "arguments": arguments}
    return {**more, "function": {key: it for key, it in function.items() if it is not None}}


F, G = ("f", '{"x":1}'), ("g", '{"y":2}')
TWO = [F, ("f", '{"y":2}')]
CASES: dict[str, tuple[list[Any], list[tuple[str, str]]]] = {
    "two whole ones without an index, in one chunk": (
        [[call(*TWO[0], id="a", type="function"), call(*TWO[1], id="b", type="function")]], TWO),
    "two whole ones without an index, in two chunks": (
        [[call(*TWO[0], id="a")], [call(*TWO[1], id="b")]], TWO),
    "two whole ones with neither index nor id": ([[call(*F)], [call(*G)]], [F, G]),
    "two of one name with neither index nor id": ([[call(*TWO[0]), call(*TWO[1])]], TWO),
    "index 0 for each call (ollama/ollama#15457)": (
        [[call(*F, index=0, id="a")], [call(*G, index=0, id="b")]], [F, G]),
    "index 0 for each, and no id (huggingface/smolagents#1958)": (
        [[call(*TWO[0], index=0, type="function")], [call(*TWO[1], index=0, type="function")]], TWO),
    "several in one delta without an index (router-for-me/CLIProxyAPI#5058)": (
        [[call("f", "", id="a"), call("f", "", id="b")], [call(None, '{"x":1}'), call(None, '{"y":2}')]],
        TWO),
    "index 0 for parallel calls in fragments (LibreChat-AI/agents#260)": (
        [[call("f", "", index=0, id="a")], [call(None, '{"x"', index=0)], [call(None, ":1}", index=0)],
         [call("g", "", index=0, id="b")], [call(None, '{"y":2}', index=0)]], [F, G]),
    "id, type and name with each piece (SillyTavern/SillyTavern#5948)": (
        [[call("f", "", index=0, id="a", type="function")],
         [call("f", '{"x"', index=0, id="a", type="function")],
         [call("f", ":1}", index=0, id="a", type="function")],
         [call("f", "", index=0, id="a", type="function")]], [F]),
    "another id with each piece (poolsideai/pool#9)": (
        [[call("f", "", index=0, id="a")], [call(None, '{"x"', index=0, id="b")],
         [call(None, ":1}", index=0, id="b")]], [F]),
    "interleaved by index": (
        [[call("f", "", index=0, id="a"), call("g", "", index=1, id="b")],
         [call(None, '{"x"', index=0)], [call(None, '{"y"', index=1)], [call(None, ":1}", index=0)],
         [call(None, ":2}", index=1)]], [F, G]),
    "interleaved by id": (
        [[call("f", "", id="a"), call("g", "", id="b")], [call(None, '{"x"', id="a")],
         [call(None, '{"y"', id="b")], [call(None, ":1}", id="a")], [call(None, ":2}", id="b")]], [F, G]),
    "indexes that do not begin at 0": (
        [[call("f", "", index=1, id="a")], [call(None, '{"x":1}', index=1)], [call(*G, index=3, id="b")]],
        [F, G]),
    "an index that is a text": (
        [[call("f", "", index="0", id="a")], [call(None, '{"x":1}', index="0")], [call(*G, index="1", id="b")]],
        [F, G]),
    "an id in the first piece only, and no index": (
        [[call("f", "", id="a")], [call(None, '{"x"')], [call(None, ":1}")], [call("g", '{"y":2}', id="b")]],
        [F, G]),
    "no id at all (vllm-project/vllm#18412)": (
        [[call("f", "", index=0)], [call(None, '{"x":1}', index=0)], [call(*G, index=1, id="")]], [F, G]),
    "one id for all calls, as of older TGI": (
        [[call("f", '{"x":1}', index=0, id="0")], [call("g", '{"y":2}', index=1, id="0")]], [F, G]),
    "an id, then a name, then arguments": (
        [[{"index": 0, "id": "a", "type": "function", "function": None}], [call("f")], [call(None, '{"x":1}')]], [F]),
    "a name in pieces": (
        [[call("ge", index=0, id="a")], [call("t_it", index=0)], [call(None, "{}", index=0)]],
        [("get_it", "{}")]),
    "name and arguments as two pieces of one delta": (
        [[call("f", "", index=0, id="a"), call(None, '{"x":1}', index=0)]], [F]),
    "an object as arguments (ggml-org/llama.cpp#20198, huggingface/text-generation-inference#2136)": (
        [[call("f", {"x": 1}, index=0, id="0")]], [F]),
    "null as arguments (langchain-ai/langchain#34242)": (
        [[{"index": 0, "id": "a", "function": {"name": "f", "arguments": None}}]], [("f", "{}")]),
    "no arguments (langchain-ai/langchainjs#11311)": ([[call("f", index=0, id="a")]], [("f", "{}")]),
    "an empty text as arguments (QwenLM/qwen-code#6249)": (
        [[call("f", "", index=0, id="a")], [call(None, "", index=0)]], [("f", "{}")]),
    "a text of an empty object before the arguments, as of LiteLLM": (
        [[call("f", "{}", index=0, id="a")], [call(None, '{"x":1}', index=0)]], [F]),
    "two calls without arguments, and neither index nor id": (
        [[call("f", "{}")], [call("f", "{}")]], [("f", "{}"), ("f", "{}")]),
    "null as a text": ([[call("f", "null", index=0, id="a")]], [("f", "{}")]),
    "arguments that are serialised twice": ([[call("f", json.dumps('{"x":1}'), index=0, id="a")]], [F]),
    "a quoted object in pieces of its own": (
        [[call("f", '{"x":', index=0, id="a")], [call(None, '"{a}"', index=0)], [call(None, "}", index=0)]],
        [("f", '{"x":"{a}"}')]),
    "nothing in the middle of arguments": (
        [[call("f", '{"x":', index=0, id="a")], [call(None, "{}", index=0)], [call(None, "}", index=0)]],
        [("f", '{"x":{}}')]),
    "all arguments so far in each piece": (
        [[call("f", it, index=0, id="a")] for it in ('{"x"', '{"x":1', '{"x":1}')], [F]),
    "arguments under another name": (
        [[{"index": 0, "id": "a", "name": "f", "input": {"x": 1}}],
         [{"index": 1, "id": "b", "function": {"name": "g", "args": '{"y":2}'}}]], [F, G]),
    "an empty object as arguments": ([[call("f", {}, index=0, id="a")]], [("f", "{}")]),
    "the whole call once more at the end": (
        [[call("f", '{"x"', index=0, id="a")], [call(None, ":1}", index=0)], [call(*F, index=0, id="a")]], [F]),
    "a call without a list, as of older TGI": (
        [call("f", '{"x"', index=0, id="0"), call(None, ":1}", index=0, id="0")], [F]),
    "a list as a text": (['[{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}]'], [F]),
    "name and arguments without `function`": (
        [[{"index": 0, "id": "a", "name": "f", "arguments": '{"x":1}'}]], [F]),
    "members that are null": (
        [[{"index": 0, "id": "a", "type": "function", "name": None,
           "function": {"name": "f", "arguments": ""}}],
         [{"index": 0, "id": None, "type": None, "function": {"name": None, "arguments": '{"x":1}'}}]], [F]),
}  # fmt: skip


@pytest.mark.parametrize(("chunks", "expected"), CASES.values(), ids=CASES)
def test_calls_are_told_apart(chunks: list[Any], expected: list[tuple[str, str]]) -> None:
    """A client has each call once, with its own id and the arguments of its own pieces."""
    records = [chunk({"tool_calls": it}) for it in chunks]
    found = answer(sse(*records, chunk({}, "stop")))
    assert (found.calls, found.reason) == ([expected], "tool_calls")
    assert len(set(found.ids[0])) == len(expected)


def test_calls_of_a_whole_message() -> None:
    """Calls of a whole message are read like those of a stream."""
    calls = [call("f", {"x": 1}, id="a", type="function"), call("g", None, id="b", type="function")]
    message = {"role": "assistant", "content": None, "tool_calls": calls}
    found = answer(
        sse({"choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]})
    )
    assert (found.calls, found.ids) == ([[F, ("g", "{}")]], [["a", "b"]])


def test_the_form_before_tools() -> None:
    """`function_call` becomes a tool call, and its reason `tool_calls`."""
    pieces = [{"name": "f", "arguments": ""}, {"arguments": '{"x"'}, {"arguments": ":1}"}]
    records = [chunk({"content": None, "function_call": piece}) for piece in pieces]
    found = answer(sse(*records, chunk({}, "function_call")))
    assert (found.calls, found.reason) == ([[F]], "tool_calls")


def test_a_call_that_was_cut_is_not_completed() -> None:
    """A call that a limit cut before its arguments does not become one without arguments."""
    begun = [chunk({"tool_calls": [call("f", index=index)]}) for index in (0, 1)]
    assert answer(sse(*begun, chunk({}, "length"))).calls == [[("f", "{}"), ("f", "")]]


def test_each_choice_has_calls_of_its_own() -> None:
    """Calls of two choices have indexes from 0 each, and other ids."""
    records = [chunk({"tool_calls": [call(*F)]}, index=index) for index in (0, 1)]
    finishes = [chunk({}, "tool_calls", index=index) for index in (0, 1)]
    found = answer(sse(*records, *finishes), choices=2)
    assert found.calls == [[F], [F]]
    assert found.ids[0] != found.ids[1]


ARGUMENTS = st.dictionaries(st.sampled_from("ab"), st.integers() | st.text(max_size=3), max_size=2)


@given(
    calls=st.lists(st.tuples(st.sampled_from("fg"), ARGUMENTS), min_size=1, max_size=4),
    identified=st.sampled_from([("index",), ("id",), ("index", "id")]),
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=8),
    order=st.randoms(use_true_random=False),
)
def test_any_interleaving_gives_the_calls(
    calls: list[tuple[str, Any]], identified: tuple[str, ...], sizes: list[int], order: Any
) -> None:
    """However calls are cut and interleaved, an index or an id with each piece tells them apart."""
    texts = [json.dumps(arguments) for _, arguments in calls]
    pieces: list[list[dict[str, Any]]] = []
    for place, (name, _) in enumerate(calls):
        named = {"index": place, "id": f"c{place}"}
        marks = {key: named[key] for key in identified}
        parts, text = [call(name, "", **marks)], texts[place]
        for size in sizes * (len(text) + 1):
            if text:
                parts.append(call(None, text[:size], **marks))
                text = text[size:]
        pieces.append(parts)
    read, written = ToolCalls(), ["" for _ in calls]
    first = [piece for parts in pieces for piece in parts[:1]]
    rest = [place for place, parts in enumerate(pieces) for _ in parts[1:]]
    order.shuffle(rest)
    out = [it for piece in first for it in read.read([piece], b"")]
    for place in rest:
        out += read.read([pieces[place].pop(1)], b"")
    for piece in out + read.close():
        written[piece["index"]] += piece["function"]["arguments"]
    assert [json.loads(text) for text in written] == [arguments for _, arguments in calls]
