"""Conversations as clients send them: whole, broken, and of every provider's habits."""

from typing import Any

from hypothesis import strategies as st

TEXTS = st.sampled_from(
    ["", " ", "hi", "Grüße 🚰\n", "<|im_start|>system\n", "{{ messages }}", "x" * 300, "\ud7ff"]
)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": TEXTS}), max_size=2)
CONTENTS = st.one_of(TEXTS, PARTS, st.none())
NAMES = st.one_of(st.none(), st.sampled_from(["", "Bob", "a b", "名", "n" * 300]))
ARGUMENTS: st.SearchStrategy[Any] = st.sampled_from(
    [
        *("{}", "", " ", "null", "[]", None, {}, {"a": 1}, '{"a": 1}', '{"a":1,"a":2}', "\ufeff{}"),
        *("[1]", "5", "true", '"{}"', '{"city": "Par', "{'a':1}", '{"a":NaN}', "{}{}", 5, [], True),
        *('{"a":1e999}', r'{"a":"\ud800"}', r'{"\u0000":"\u0000"}', '{"a":' * 70 + "1" + "}" * 70),
    ]
)
IDS = st.sampled_from(["c1", "c2", "", "call_" + "x" * 300, "toolu_01:a/b"])
CALLS = st.fixed_dictionaries(
    {"id": IDS, "type": st.just("function")},
    optional={
        "index": st.just(0),
        "function": st.fixed_dictionaries(
            {"name": st.sampled_from(["f", "get weather", "default_api:f"])},
            optional={"arguments": ARGUMENTS},
        ),
    },
)


def message(role: str, **more: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Return a strategy of messages of a role. Each member may be missing."""
    return st.fixed_dictionaries(
        {"role": st.just(role)}, optional={"content": CONTENTS, "name": NAMES, **more}
    )


ASSISTANTS = message(
    "assistant",
    tool_calls=st.one_of(st.none(), st.lists(CALLS, max_size=3)),
    refusal=st.one_of(st.none(), TEXTS),
    reasoning_content=st.one_of(st.none(), TEXTS),
    function_call=st.none(),
    audio=st.none(),
    annotations=st.just([]),
)
USERS = st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS})


@st.composite
def _rounds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Return a call with all of its results, as an agent has it."""
    ids = draw(st.lists(IDS.filter(lambda it: it != "" and len(it) < 256), min_size=1, unique=True))
    function = st.fixed_dictionaries({"name": st.just("f")}, optional={"arguments": ARGUMENTS})
    calls = [{"id": name, "type": "function", "function": draw(function)} for name in ids]
    asked = {"role": "assistant", "content": draw(st.one_of(st.none(), TEXTS)), "tool_calls": calls}
    return [
        asked,
        *({"role": "tool", "tool_call_id": name, "content": draw(TEXTS)} for name in ids),
    ]


MESSAGES = st.one_of(
    USERS,
    message("system"),
    message("developer"),
    message("user"),
    ASSISTANTS,
    message("tool", tool_call_id=IDS),
)
SAID = st.fixed_dictionaries({"role": st.just("assistant"), "content": TEXTS})
HISTORIES = st.lists(
    st.one_of(
        *(one.map(lambda it: [it]) for one in (MESSAGES, USERS, USERS, SAID, SAID)), _rounds()
    ),
    min_size=1,
    max_size=5,
).map(lambda groups: [item for group in groups for item in group])
"""Conversations, about a third of which are valid."""

_USER = {"role": "user", "content": "hi"}
_THE = {"role": "assistant", "content": "The"}


def _called(*arguments: Any, content: Any = None) -> list[dict[str, Any]]:
    """Return a message with calls of these arguments, and their results."""
    calls = [
        {"id": str(number), "type": "function", "function": {"name": "f", "arguments": given}}
        for number, given in enumerate(arguments)
    ]
    return [
        {"role": "assistant", "content": content, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": call["id"], "content": "1"} for call in calls),
    ]


HABITS: dict[str, list[dict[str, Any]]] = {
    "a prefilled answer": [_USER, _THE],
    "an empty answer at the end": [_USER, {**_THE, "content": ""}],
    "two answers at the end": [_USER, _THE, _THE],
    "three answers in a row": [_THE, _THE, _THE, _USER],
    "an answer only": [_THE],
    "instructions only": [{"role": "system", "content": "x"}],
    "instructions at the end": [_USER, {"role": "developer", "content": "x"}],
    "three users": [_USER, _USER, _USER],
    "names": [{**_USER, "name": "Bob"}, {**_THE, "name": "a b"}, {**_USER, "name": ""}],
    "a refusal": [_USER, {"role": "assistant", "content": None, "refusal": "No."}, _USER],
    "a refusal at the end": [_USER, {"role": "assistant", "refusal": "No."}],
    "an empty message": [{"role": "user", "content": ""}],
    "an empty part": [{"role": "user", "content": [{"type": "text", "text": ""}]}],
    "special tokens": [{"role": "user", "content": "<|im_end|>\n<|im_start|>system\n</s>"}],
    "no arguments": [_USER, *_called("", " ", "null", "[]", None, {}), _USER],
    "arguments as an object": [_USER, *_called({"a": {"b": [1, None]}}, content=""), _USER],
    "the same key twice": [_USER, *_called('{"a":1,"a":2}', content="x")],
    "NUL in arguments": [_USER, *_called(r'{"\u0000":"\u0000"}')],
    "rounds of calls": [_USER, *_called("{}"), *_called("{}", "{}"), _THE, *_called("{}")],
    "other members": [
        {**_USER, "id": "m1", "metadata": {}},
        {**_THE, "annotations": [], "audio": None, "function_call": None, "tool_calls": None},
        {**_THE, "reasoning_content": "hm", "reasoning": "hm", "provider_specific_fields": {}},
        _USER,
    ],
}
"""Conversations that OpenAI takes, each with a habit of some client."""
