"""The container's routes over a real server."""

from __future__ import annotations

import json
from typing import Any

import pytest

from model.traced_lines import HEADER
from tests.support.asking import ENDLESS, error_of, first_record
from tests.support.model import Serve, scripted


async def test_lines(serve: Serve) -> None:
    """An invocation answers with exactly the records of the format."""
    async with serve() as container:
        answer = await container.client.post(
            "/invocations", json=scripted(say=["Hi", ' "😀"\n'], prompt_tokens=12)
        )

    assert answer.headers["content-type"] == "application/jsonlines"
    assert "content-encoding" not in answer.headers
    assert answer.content.decode() == (
        '{"type":"start","prompt_tokens":12}\n'
        '{"type":"delta","index":0,"delta":{"content":"Hi"},"tokens":1}\n'
        '{"type":"delta","index":0,"delta":{"content":" \\"😀\\"\\n"},"tokens":1}\n'
        '{"type":"finish","index":0,"finish_reason":"stop"}\n'
        '{"type":"usage","prompt_tokens":12,"completion_tokens":2}\n'
        '{"type":"end"}\n'
    )


async def test_a_traced_invocation(serve: Serve) -> None:
    """The last record of a request that is sampled has the container's times, in order."""
    parent = f"traceparent=00-{'a' * 32}-{'b' * 16}-01"
    async with serve() as container:
        answer = await container.client.post(
            "/invocations", json=scripted(say=["Hi"]), headers={HEADER: parent}
        )
    *_, last = answer.content.splitlines()
    times = json.loads(last)["trace"]
    assert len(times.pop("span_id")) == 16
    assert list(times) == ["began", "started", "first_token", "ended"]
    assert list(times.values()) == sorted(times.values())


async def test_tokens(serve: Serve) -> None:
    """A text has tokens and they have a text, at the one route, if it is not too long."""

    async def post(**asked: Any) -> Any:
        return await container.client.post("/invocations", json={"sluice": {"v": 1, **asked}})

    async with serve() as container:
        tokens = (await post(tokenize='Hi "{', special=False)).json()
        assert tokens == {"tokens": [ord(character) for character in 'Hi "{']}
        assert (await post(detokenize=tokens["tokens"])).json() == {"text": 'Hi "{'}
        for asked, param in (
            ({"tokenize": "x" * 9000}, "prompt"),
            ({"detokenize": [0xD800]}, "tokens"),
            ({"tokenize": 5}, "sluice.tokenize"),
            ({"tokenize": "a", "detokenize": [1]}, "sluice"),
        ):
            answer = await post(**asked)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


async def test_a_count_samples_nothing(serve: Serve) -> None:
    """A request with `count` is answered with its prompt's tokens only, and frees its place."""
    asked = scripted(say=["Hi"], prompt_tokens=12, die_after=0)
    async with serve(parallel=1, queue=0) as container:
        for _ in range(3):
            answer = await container.client.post(
                "/invocations", json={**asked, "sluice": {"v": 1, "count": True}}
            )
            assert answer.content == b'{"type":"start","prompt_tokens":12}\n{"type":"end"}\n'
        assert container.engine.active == 0
        long = scripted(prompt_tokens=10**6)
        refused = await container.client.post(
            "/invocations", json={**long, "sluice": {"v": 1, "count": True}}
        )
    assert answer.headers["content-type"] == "application/jsonlines"
    assert error_of(refused)["code"] == "context_length_exceeded"


async def test_a_stop_string_is_named(serve: Serve) -> None:
    """The record of a choice that a stop string ended has that string."""
    async with serve() as container:
        answer = await container.client.post(
            "/invocations", json={**scripted(say=["a", '"E', "ND"]), "stop": ["X", '"END']}
        )
    assert (
        '{"type":"finish","index":0,"finish_reason":"stop","stop_sequence":"\\"END"}\n'
        in answer.text
    )


async def test_sse(serve: Serve) -> None:
    """The OpenAI route streams chunks: role, text, finish, usage, DONE."""
    body = {
        **scripted(say=["a", "b"], prompt_tokens=3),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with serve() as container:
        answer = await container.client.post("/v1/chat/completions", json=body)

    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-2]]
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a"},
        {"content": "b"},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
    assert chunks[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1


async def test_whole(serve: Serve) -> None:
    """Without stream the OpenAI route answers with one body."""
    async with serve() as container:
        answer = await container.client.post(
            "/v1/chat/completions", json={**scripted(say=["a", "b"]), "n": 2}
        )

    body = answer.json()
    assert [choice["message"]["content"] for choice in body["choices"]] == ["ab", "ab"]
    assert body["object"] == "chat.completion"
    assert body["usage"]["completion_tokens"] == 4


async def test_whole_failure(serve: Serve) -> None:
    """A failure of the engine before the first byte is a status."""
    async with serve() as container:
        answer = await container.client.post(
            "/v1/chat/completions", json=scripted(count=9, fail_after=3)
        )

    assert answer.status_code == 500
    assert error_of(answer)["code"] == "engine_error"


async def test_models_and_ping(serve: Serve) -> None:
    """The container lists its models, and reports that it is healthy."""
    async with serve(model_name="a-model") as container:
        models = (await container.client.get("/v1/models")).json()
        assert (await container.client.get("/ping")).status_code == 200
        await container.engine.close()
        ping = await container.client.get("/ping")
        refused = await container.client.post("/invocations", json=ENDLESS)

    assert [model["id"] for model in models["data"]] == ["a-model"]
    assert ping.status_code == refused.status_code == 503
    assert error_of(refused)["code"] == "not_ready"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b'{"messages":', None),
        (b"[]", None),
        (b"\xff\xfe", None),
        (b'{"messages":[]}', "messages"),
        (b'{"messages":[{"role":"king","content":"a"}]}', "messages.0.role"),
        (b'{"messages":[{"role":"user","content":7}]}', "messages.0.content"),
        (b'{"messages":[{"role":"user"}]}', "messages.0"),
        (b'{"messages":[{"role":"user","content":"a"}],"max_tokens":-1}', "max_tokens"),
        (b'{"messages":[{"role":"user","content":"a"}],"n":9}', "n"),
        (b'{"messages":[{"role":"user","content":"a"}],"n":5}', "n"),
        (b'{"messages":[{"role":"user","content":"a"}],"temperature":"hot"}', "temperature"),
        (
            b'{"messages":[{"role":"user","content":"a"}],"stop":["a"' + b',"a"' * 32 + b"]}",
            "stop",
        ),
        (b'{"messages":[{"role":"user","content":"a"}],"stream_options":{}}', None),
        (b'{"messages":[{"role":"user","content":"a"}],"top_logprobs":2}', None),
        (b'{"messages":[{"role":"user","content":"a"}],"sluice":{"v":2}}', "sluice.v"),
        (
            b'{"messages":[{"role":"user","content":"a"}],"sluice":{"v":1,"deadline_ms":0}}',
            "sluice.deadline_ms",
        ),
        (b'{"messages":[{"role":"user","content":"{}}"}]}', "messages"),
        (
            b'{"messages":[{"role":"user","content":"a"}],"logit_bias":{"word":1}}',
            "logit_bias.word",
        ),
        (b'{"messages":[{"role":"user","content":"a"}],"logit_bias":{"7":101}}', "logit_bias.7"),
        (
            b'{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"search"}]}',
            "tools.0.type",
        ),
        (b'{"messages":[{"role":"user","content":"a"}],"tool_choice":"required"}', None),
        (
            (
                b'{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":'
                b'{"schema":{"type":"string","pattern":"^a{5,2}$"}}}}'
            ),
            "response_format.json_schema.schema.pattern",
        ),
        (
            (
                b'{"messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f",'
                b'"parameters":{"properties":{"a":{"minItems":5,"maxItems":2}}}}}]}'
            ),
            "tools[0].function.parameters.properties.a.minItems",
        ),
        (
            (
                b'{"messages":[{"role":"user","content":"a"}],"response_format":{"type":"json_schema","json_schema":'
                b'{"schema":{"type":"integer","minimum":Infinity}}}}'
            ),
            "response_format.json_schema.schema.minimum",
        ),
        (
            b'{"messages":[{"role":"user","content":"a"}],"tools":null,"tool_choice":"any"}',
            "tool_choice",
        ),
    ],
)
async def test_invalid(serve: Serve, body: bytes, param: str | None) -> None:
    """An invalid request is a 400 that names the field."""
    async with serve() as container:
        for path in ("/invocations", "/v1/chat/completions"):
            answer = await container.client.post(path, content=body)
            assert answer.status_code == 400, path
            assert error_of(answer)["code"] == "invalid_request"
            assert error_of(answer)["param"] == param


async def test_unknown_routes(serve: Serve) -> None:
    """Unknown paths and methods have errors of the same shape."""
    async with serve() as container:
        unknown = await container.client.get("/v2")
        wrong = await container.client.get("/invocations")

    assert (unknown.status_code, error_of(unknown)["code"]) == (404, "not_found")
    assert (wrong.status_code, error_of(wrong)["code"]) == (405, "method_not_allowed")


async def test_context_too_long(serve: Serve) -> None:
    """A prompt over the context, or over the caller's own bound, is a 400 with both numbers."""
    async with serve() as container:
        over = await container.client.post(
            "/invocations", json=scripted(say=["a"], prompt_tokens=300)
        )
        bound = {
            **scripted(say=["a"], prompt_tokens=30),
            "sluice": {"v": 1, "max_prompt_tokens": 29},
        }
        over_bound = await container.client.post("/invocations", json=bound)
        await container.idle()

    assert over.status_code == over_bound.status_code == 400
    assert error_of(over)["code"] == error_of(over_bound)["code"] == "context_length_exceeded"
    assert "300" in error_of(over)["message"]
    assert "256" in error_of(over)["message"]
    assert "30" in error_of(over_bound)["message"]
    assert "29" in error_of(over_bound)["message"]


async def test_failure_before_the_first_token(serve: Serve) -> None:
    """A failure before the first token has its status."""
    async with serve() as container:
        answer = await container.client.post("/invocations", json=scripted(count=9, fail_after=0))

    assert answer.status_code == 500
    assert error_of(answer)["code"] == "engine_error"


async def test_failure_after_the_first_token(serve: Serve) -> None:
    """A failure after the first token is the last record. The tokens before it arrive."""
    async with serve() as container:
        records = await container.lines(scripted(count=9, fail_after=2))
        body = {**scripted(count=9, fail_after=2), "stream": True}
        sse = await container.client.post("/v1/chat/completions", json=body)

    assert [record["type"] for record in records] == ["start", "delta", "delta", "error"]
    assert records[-1]["code"] == "engine_error"
    last = sse.text.strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "engine_error"


async def test_llama_cpp_over_http(serve: Serve) -> None:
    """The demo model streams through the same routes. A client that leaves frees its slot."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 500}
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": "Hello."}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    }
    async with serve("llama_cpp", parallel=1) as container:
        async with container.client.stream("POST", "/invocations", json=body) as answer:
            lines = answer.aiter_lines()
            await first_record(lines)
        await container.idle()
        records = await container.lines(
            {"messages": [{"role": "user", "content": "Hello."}], "max_tokens": 5}
        )
        refused = await container.client.post(
            "/invocations", json={"messages": [{"role": "user", "content": "word " * 400}]}
        )
        names = {f"word{number}": {"type": "string"} for number in range(100)}
        wide = {"name": "f", "parameters": {"type": "object", "properties": names}}
        by_tools = await container.client.post(
            "/invocations", json={**body, "tools": [{"type": "function", "function": wide}]}
        )

    assert error_of(by_tools)["code"] == "context_length_exceeded"
    assert error_of(by_tools)["param"] == "tools"
    assert error_of(refused)["param"] == "messages"
    assert [records[0]["type"], records[-1]["type"]] == ["start", "end"]
    assert refused.status_code == 400
    assert error_of(refused)["code"] == "context_length_exceeded"
