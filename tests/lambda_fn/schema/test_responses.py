"""Requests of the Responses API: what they become, and what is rejected under which name."""

import json
import typing
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambda_fn import dialects
from lambda_fn.errors import InvalidRequest
from lambda_fn.schema import ChatRequest, Control, Rules, container_body, plain_body
from lambda_fn.schema.responses import Asked, asked, parse_input_tokens, parse_responses, translate
from lambda_fn.schema.responses.request import ResponsesRequest
from model.schema import parse_invocation

CONTROL = Control(request_id="r", deadline_ms=1000, max_prompt_tokens=100_000, caller="k")
USER = {"role": "user", "content": "Hi"}
TOOL: dict[str, Any] = {"type": "function", "name": "f", "parameters": {"type": "object"}}
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "sunny"}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "content": [{"type": "reasoning_text", "text": "Hm."}],
    "encrypted_content": "gAAA",
}
SAID = {
    "type": "message",
    "id": "msg_1",
    "role": "assistant",
    "status": "completed",
    "phase": "commentary",
    "content": [{"type": "output_text", "text": "I look.", "annotations": [], "logprobs": []}],
}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "low"}


def read(change: dict[str, Any], rules: Rules | None = None) -> Asked:
    """Return a request with changes, translated."""
    body = json.dumps({"model": "m", "input": "Hi", **change}).encode()
    return asked(parse_responses(body), rules or Rules())


def body_of(change: dict[str, Any], rules: Rules | None = None) -> dict[str, Any]:
    """Return the body that our container gets, which takes it."""
    body = container_body(read(change, rules).chat, CONTROL)
    parse_invocation(body)
    found: dict[str, Any] = json.loads(body)
    return found


def messages_of(*items: Any, **more: Any) -> Any:
    """Return the messages that items become."""
    return body_of({"input": list(items), **more})["messages"]


def call(name: str) -> dict[str, Any]:
    """Return the call of a chat that `CALL` becomes, with another id."""
    function = {"name": "f", "arguments": '{"a": 1}'}
    return {"type": "function", "id": name, "function": function}


def test_an_agents_conversation() -> None:
    """Reasoning, texts and calls of a turn are one message, and outputs follow their calls."""
    found = messages_of(
        {"role": "developer", "content": [{"type": "input_text", "text": "Plan."}]},
        USER,
        THOUGHT,
        SAID,
        CALL,
        {**CALL, "call_id": "c2"},
        {**OUTPUT, "call_id": "c2", "output": [{"type": "input_text", "text": "rain"}]},
        OUTPUT,
        {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "So."}]},
        {"type": "message", "role": "assistant", "content": "Done."},
        {"type": "message", "role": "user", "content": "And?"},
        {"role": "system", "content": "Be quick."},
        instructions="Be brief.",
    )
    assert found == [
        {"role": "system", "content": "Be brief.\n\nPlan."},
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "content": "I look.",
            "tool_calls": [call("c1"), call("c2")],
            "reasoning_content": "Hm.",
        },
        {"role": "tool", "content": "sunny", "tool_call_id": "c1"},
        {"role": "tool", "content": "rain", "tool_call_id": "c2"},
        {"role": "assistant", "content": "Done.", "reasoning_content": "So."},
        {"role": "user", "content": "And?"},
        {"role": "system", "content": "Be quick."},
    ]


@pytest.mark.parametrize(
    ("items", "roles"),
    [
        ([USER, SAID, SAID], ["user", "assistant", "assistant"]),
        ([USER, CALL, SAID, OUTPUT], ["user", "assistant", "tool"]),
        ([USER, CALL, USER, OUTPUT], ["user", "assistant", "tool", "user"]),
        ([CALL, OUTPUT, CALL, OUTPUT], ["assistant", "tool", "assistant", "tool"]),
        ([{"role": "assistant", "content": []}], ["assistant"]),
        ([{"role": "system", "content": "x"}], ["system"]),
        ([THOUGHT], ["assistant"]),
        ([{"role": "system", "content": ""}, USER], ["user"]),
        ([SAID, {"role": "system", "content": "x"}], ["assistant", "system"]),
    ],
)
def test_turns(items: list[Any], roles: list[str]) -> None:
    """Whatever the order of its items, each call of a turn is followed by its output."""
    found = messages_of(*items)
    assert [message["role"] for message in found] == roles


def test_a_text_is_a_users_message() -> None:
    """An input that is a text is one message of the user."""
    assert body_of({"input": "Hello"})["messages"] == [{"role": "user", "content": "Hello"}]


def test_content_parts() -> None:
    """Parts that are all texts are one text, and images keep their place among others."""
    parts = [{"type": "input_text", "text": "a"}, {"type": "text", "text": "b"}]
    assert messages_of({**USER, "content": parts})[0]["content"] == "a\nb"
    found = read(
        {
            "input": [
                {**USER, "content": [parts[0], IMAGE]},
                CALL,
                {**OUTPUT, "output": [IMAGE]},
            ]
        }
    )
    messages = json.loads(container_body(found.chat, CONTROL))["messages"]
    image = {"type": "image_url", "image_url": {"url": IMAGE["image_url"], "detail": "low"}}
    assert messages[0]["content"] == [{"type": "text", "text": "a"}, image]
    assert messages[2]["content"] == [image]
    assert found.images == ("input[0].content[1].image_url", "input[2].output[0].image_url")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"max_output_tokens": 9}, {"max_tokens": 9}),
        ({"temperature": 0.5, "top_p": 0.9}, {"temperature": 0.5, "top_p": 0.9}),
        ({"presence_penalty": 1, "seed": 3}, {"presence_penalty": 1, "seed": 3}),
        ({"stop": ["x"], "top_k": 4}, {"stop": ["x"], "top_k": 4}),
        ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}),
        ({"include": ["message.output_text.logprobs"]}, {"logprobs": True}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning_effort": "low"}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
            {"response_format": {"type": "json_schema",
                                 "json_schema": {"name": "n", "schema": {}, "strict": True}}},
        ),
        ({"text": {"format": {"type": "text"}, "verbosity": "medium"}}, {}),
        (
            {"tools": [TOOL], "parallel_tool_calls": False},
            {"tools": [{"type": "function",
                        "function": {"name": "f", "parameters": {"type": "object"}}}],
             "parallel_tool_calls": False},
        ),
    ],
)  # fmt: skip
def test_parameters(change: dict[str, Any], expected: dict[str, Any]) -> None:
    """Each parameter that a model can honour reaches it under the name of a chat."""
    found = body_of(change)
    assert {name: it for name, it in found.items() if name not in ("model", "messages", "sluice")} \
        == expected  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "tools", "expected"),
    [
        ("none", 1, "none"),
        ("required", 1, "required"),
        ({"type": "function", "name": "f"}, 1, {"type": "function", "function": {"name": "f"}}),
        (
            {"type": "allowed_tools", "mode": "required",
             "tools": [{"type": "function", "name": "g"}]},
            2,
            "required",
        ),
        ("auto", 0, None),
        ("none", 0, None),
    ],
)  # fmt: skip
def test_choices_of_tools(choice: Any, tools: int, expected: Any) -> None:
    """Every form of `tool_choice` has its meaning. A choice among no tools is none."""
    given_tools = [TOOL, {**TOOL, "name": "g"}][:tools]
    found = body_of({"tools": given_tools, "tool_choice": choice, "parallel_tool_calls": True})
    assert found.get("tool_choice") == expected
    names = [tool["function"]["name"] for tool in found.get("tools", [])]
    assert names == (["g"] if tools == 2 else ["f"][:tools])


@pytest.mark.parametrize(
    "change",
    [
        {"store": False, "background": False},
        {"truncation": "auto", "max_tool_calls": 3, "service_tier": "flex"},
        {"user": "u", "safety_identifier": "s", "prompt_cache_key": "p", "metadata": {"a": "b"}},
        {"prompt_cache_retention": "24h", "include": ["reasoning.encrypted_content"]},
        {"previous_response_id": None, "conversation": None, "prompt": None, "moderation": None},
        {"context_management": [], "tools": [], "include": []},
        {"a_member_of_tomorrow": 1},
    ],
)
def test_what_has_no_effect(change: dict[str, Any]) -> None:
    """What changes no response is accepted, and the model does not get it."""
    assert body_of(change) == body_of({})


def test_what_a_response_repeats() -> None:
    """The echoes are small, and have what the request said beside its input."""
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}
    found = read(
        {
            "input": "x" * 1000,
            "text": {"format": form},
            "reasoning": {"effort": "low", "summary": "concise"},
            "temperature": 0,
            "top_logprobs": 3,
            "tool_choice": "none",
            "parallel_tool_calls": False,
            "truncation": "auto",
        }
    )
    echoes = json.loads(bytes(found.echoes))
    assert len(bytes(found.echoes)) < 1000
    assert found.summary
    assert echoes["text"]["format"] == form
    assert echoes["reasoning"] == {"effort": "low", "summary": "concise"}
    assert (echoes["temperature"], echoes["top_logprobs"]) == (0, 3)
    assert (echoes["tool_choice"], echoes["parallel_tool_calls"]) == ("none", False)
    assert echoes["truncation"] == "disabled"  # the input is never cut
    assert not read({"reasoning": {"effort": "low"}}).summary


def test_a_history_that_is_loose() -> None:
    """With the setting for it, calls and outputs may stand alone."""
    rules = Rules(loose_tool_history=True)
    found = body_of({"input": [USER, CALL, {**OUTPUT, "call_id": "x"}]}, rules)["messages"]
    assert [message["role"] for message in found] == ["user", "assistant", "tool"]


def test_strictness() -> None:
    """With the setting for it, what OpenAI refuses is refused under its name here."""
    with pytest.raises(InvalidRequest) as refused:
        read({"tools": [{**TOOL, "name": "a.b"}]}, Rules(strict=True))
    assert refused.value.param == "tools[0].name"
    assert body_of({"tool_choice": "auto", "parallel_tool_calls": True}, Rules(strict=True))


def item(**fields: Any) -> dict[str, Any]:
    """Return a change to an input of one item."""
    return {"input": [fields]}


def content(part: dict[str, Any], role: str = "user") -> dict[str, Any]:
    """Return a change to an input of one message with one part."""
    return {"input": [{"role": role, "content": [part]}]}


DEEP: dict[str, Any] = {}
for _ in range(70):
    DEEP = {"items": DEEP}
BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input"),
    ({"input": []}, "input"),
    ({"input": 5}, "input"),
    ({"model": ""}, "model"),
    (item(role="tool", content="x"), "input[0].role"),
    (item(role="user"), "input[0].content"),
    (item(content="x"), "input[0].role"),
    (item(role="user", content=5), "input[0].content"),
    (item(id="msg_1"), "input[0]"),
    (item(type="item_reference", id="msg_1"), "input[0]"),
    (item(type=None, id="msg_1"), "input[0]"),
    (item(type="web_search_call", id="x", status="completed"), "input[0].type"),
    (item(type="custom_tool_call", call_id="c", name="f", input="x"), "input[0].type"),
    (item(type="mcp_list_tools", id="x", tools=[]), "input[0].type"),
    (item(type="compaction", encrypted_content="x"), "input[0]"),
    (item(type="compaction", encrypted_content=None), "input[0].encrypted_content"),
    (item(type="compaction", id="cmp_1"), "input[0].encrypted_content"),
    (item(type="smell"), "input[0].type"),
    (content({"type": "smell"}), "input[0].content[0].type"),
    (content({"type": "input_file", "file_id": "f"}), "input[0].content[0].type"),
    (content({"type": "input_audio", "input_audio": {}}), "input[0].content[0].type"),
    (content({"type": "input_image", "file_id": "f"}), "input[0].content[0].file_id"),
    (content({"type": "input_image"}), "input[0].content[0].image_url"),
    (content(IMAGE, role="system"), "input[0].content[0].type"),
    (content(IMAGE, role="assistant"), "input[0].content[0].type"),
    (content({"type": "input_text"}), "input[0].content[0].text"),
    (content({"type": "input_text", "text": "a\0b"}), "input[0].content[0].text"),
    (item(type="function_call", name="f", arguments="{}"), "input[0].call_id"),
    (item(type="function_call", call_id="c", arguments="{}"), "input[0].name"),
    (item(type="function_call", call_id="c", name="f", arguments="[1]"), "input[0].arguments"),
    (item(type="function_call_output", call_id="c"), "input[0].output"),
    (item(type="function_call_output", call_id="c", output={}), "input[0].output"),
    (item(type="function_call_output", call_id="c", output="x"), "input[0].call_id"),
    ({"input": [OUTPUT, CALL]}, "input[0].call_id"),
    ({"input": [USER, CALL]}, "input[1]"),
    ({"input": [CALL, CALL, OUTPUT, OUTPUT]}, "input[1].call_id"),
    ({"input": [CALL, OUTPUT, OUTPUT]}, "input[2].call_id"),
    ({"store": True}, "store"),
    ({"background": True}, "background"),
    ({"background": True, "store": False}, "background"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"moderation": {"policy": None}}, "moderation.model"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"include": ["file_search_call.results"]}, "include[0]"),
    ({"include": ["reasoning.encrypted_content", "x"]}, "include[1]"),
    ({"stream_options": {"include_obfuscation": False}}, "stream_options"),
    ({"text": {"verbosity": "low"}}, "text.verbosity"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
    ({"text": {"format": {"type": "json_schema", "name": "n", "schema": DEEP}}},
     "text.format.schema"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "custom", "name": "f"}]}, "tools[0].type"),
    ({"tools": [{"type": "mcp", "server_label": "x"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{**TOOL, "name": "f g"}]}, "tools[0].name"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [{**TOOL, "parameters": DEEP}]}, "tools[0].parameters"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": "any"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "tool_choice.name"),
    ({"tools": [TOOL], "tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto"}},
     "tool_choice.tools"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto",
                                       "tools": [{"type": "function", "name": "g"}]}},
     "tool_choice.tools"),
    ({"reasoning": {"effort": "huge"}}, "reasoning.effort"),
    ({"reasoning": {"effort": "none", "enabled": True}}, "reasoning.effort"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 2, "min_tokens": 3}, "min_tokens"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"temperature": 3}, "temperature"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"metadata": {"x": "y" * 513}}, "metadata"),
    ({"safety_identifier": "x" * 65}, "safety_identifier"),
    ({"n_cmpl": 2}, "n_cmpl"),
    ({"vllm_xargs": {"a": 1}}, "vllm_xargs"),
    ({"guided_json": {"type": "object"}, "text": {"format": {"type": "json_object"}}},
     "guided_json"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "param"), BAD, ids=lambda it: it if isinstance(it, str) else "")
def test_what_is_wrong_is_named(change: dict[str, Any], param: str) -> None:
    """A member that cannot be honoured is rejected by its path in the body as it was sent."""
    with pytest.raises(InvalidRequest) as refused:
        read(change)
    assert (refused.value.param or "").startswith(param)
    for name in ("function.", "response_format", "messages["):
        assert name not in f"{refused.value.param}{refused.value.message}"


def test_what_needs_responses_that_are_kept() -> None:
    """The refusal of what needs storage names the setting."""
    for change in ({"store": True}, {"previous_response_id": "x"}, item(id="msg_1")):
        with pytest.raises(InvalidRequest, match="persistence"):
            read(change)


@pytest.mark.parametrize(("count", "makes"), [(128, True), (129, False)])
def test_calls_are_bounded(count: int, makes: bool) -> None:
    """A turn has at most as many calls as a message of a chat."""
    calls = [{**CALL, "call_id": f"c{number}"} for number in range(count)]
    outputs = [{**OUTPUT, "call_id": f"c{number}"} for number in range(count)]
    change = {"input": [*calls, *outputs]}
    if makes:
        assert len(body_of(change)["messages"]) == count + 1
    else:
        with pytest.raises(InvalidRequest, match="More than 128"):
            read(change)


def test_messages_are_bounded() -> None:
    """Items make at most as many messages as a chat has."""
    with pytest.raises(InvalidRequest, match="4096 messages"):
        read({"input": [USER] * 4097})
    with pytest.raises(InvalidRequest, match="length <= 8192"):
        read({"input": [USER] * 8193})


PARTS = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["input_text", "output_text", "reasoning_text", "text"]),
            "text": st.text(max_size=5),
        }
    ),
    st.sampled_from([IMAGE, {"type": "refusal", "refusal": "No."}, {"type": "smell"}, {}]),
)
ITEMS = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "developer"]),
            "content": st.text(max_size=5) | st.lists(PARTS, max_size=3),
        }
    ),
    st.builds(lambda name: {**CALL, "call_id": name}, st.sampled_from(["c1", "c2"])),
    st.builds(
        lambda name, said: {**OUTPUT, "call_id": name, "output": said},
        st.sampled_from(["c1", "c2"]),
        st.text(max_size=3) | st.lists(PARTS, max_size=2),
    ),
    st.sampled_from([THOUGHT, SAID]),
    st.dictionaries(st.sampled_from(["type", "content", "id", "output"]), st.text() | st.none()),
)


@settings(max_examples=80)
@given(items=st.lists(ITEMS, max_size=8), loose=st.booleans())
def test_any_input_is_taken_or_named(items: list[Any], loose: bool) -> None:
    """An input is rejected by the path of a member, or our container takes it whole."""
    try:
        chat = read({"input": items}, Rules(loose_tool_history=loose)).chat
    except InvalidRequest as error:
        if not error.param:
            raise
        return
    parse_invocation(container_body(chat, CONTROL))
    taken = json.dumps(msgspec.to_builtins(plain_body(chat)["messages"]))
    texts = [it["content"] for it in items if isinstance(it.get("content"), str)]
    assert all(json.dumps(text)[1:-1] in taken for text in texts)
    outputs = [it for it in items if it.get("type") == "function_call_output"]
    assert sum(message.__class__.__name__ == "Tool" for message in chat.messages) == len(outputs)


def test_a_count_needs_no_more_than_the_prompt() -> None:
    """A count has the members that make the prompt, and ignores others."""
    body = json.dumps({"model": "m", "input": "Hi", "instructions": "x", "tools": [TOOL]}).encode()
    found = asked(parse_input_tokens(body)).chat
    assert found.messages == read({"instructions": "x"}).chat.messages
    with pytest.raises(InvalidRequest, match="a count reads no kept responses"):
        parse_input_tokens(b'{"model":"m","input":"x","previous_response_id":"resp_1"}')


def test_other_servers_get_a_chat() -> None:
    """Every dialect makes its body of the chat, whose messages are plain."""
    chat = read({"input": [USER, THOUGHT, CALL, OUTPUT], "tools": [TOOL]}).chat
    for name in ("openai", "vllm", "sglang", "lmi"):
        body = json.loads(dialects.find(name).body(chat, CONTROL))
        assert [message["role"] for message in body["messages"]] == ["user", "assistant", "tool"]


def test_what_is_taken_over_as_it_is_has_the_type_of_a_chats() -> None:
    """A member that becomes the chat's without a translation is decoded with the chat's type.

    The chat is built from decoded values, which nobody decodes again.
    """
    ours, chats = (
        typing.get_type_hints(it, include_extras=True) for it in (ResponsesRequest, ChatRequest)
    )
    for name in (*translate.AS_THEY_ARE, *translate.EXTRAS):
        assert ours[name] == chats[name], name


@pytest.mark.parametrize("value", [True, 1, 0.5, "a", [None], {"a": []}, {"": 1}])
def test_template_arguments_are_an_object_of_plain_values(value: object) -> None:
    """Any other value is an error that names the member."""
    body = json.dumps({"model": "m", "input": "", "chat_template_kwargs": value}).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse_responses(body)
    assert (caught.value.param or "").startswith("chat_template_kwargs")
