"""vLLM's own features, over the stand-in.

These are its arguments, tools, reasoning, adapters, rejections and death.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import types
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import TemplateError, UndefinedError

from model.engines import create
from model.engines.vllm import VllmEngine
from model.engines.vllm_arguments import engine_arguments
from model.engines.vllm_errors import error_of
from model.engines.vllm_outputs import ChoiceReader, request_body
from model.errors import (
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    ModelError,
    OverloadedError,
    StartError,
    UnknownModelError,
)
from model.events import Delta, Event, Finish, Start, Usage
from model.settings import Settings
from tests.support.model import Serve, asked, hugging_face_model, settings_for, started, until
from tests.support.pictures import image
from tests.support.vllm_stand_in import chat, values
from tests.support.vllm_stand_in.llm import AsyncLLM
from tests.support.vllm_stand_in.values import CompletionOutput

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = {"messages": [{"role": "user", "content": "What is the weather in Rome?"}]}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {
                "type": "object",
                "properties": {key: {"enum": [value]}},
                "required": [key],
            },
        },
    }
    for name, key, value in (("get_weather", "city", "Rome"), ("get_count", "number", 7))
]
ENDLESS = {"type": "array", "items": {"type": "integer"}, "minItems": 1000}


def guided(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a response format."""
    return {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}


def test_images_reach_the_template_as_parts() -> None:
    """A message with images keeps its parts, one without them becomes one text."""
    parts = [{"type": "text", "text": "?"}, image("data:image/png;base64,AA==")]
    for content, expected in ((parts, parts), (parts[:1], "?")):
        request = asked({"messages": [{"role": "user", "content": content}]})
        assert request_body(request)["messages"][0]["content"] == expected


def test_large_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses pictures of more than twice its limit."""
    pillow = types.ModuleType("PIL.Image")
    package = types.ModuleType("PIL")
    package.Image = pillow  # type: ignore[attr-defined]
    from model.engines import vllm as engine_module

    monkeypatch.setitem(sys.modules, "PIL", package)
    monkeypatch.setitem(sys.modules, "PIL.Image", pillow)
    engine_module._bound_pictures()
    assert 2 * pillow.MAX_IMAGE_PIXELS == engine_module.MAX_PIXELS


async def whole(engine: Any, **more: Any) -> list[Event]:
    """Return all events of the question's answer."""
    async with contextlib.aclosing(engine.generate(asked(QUESTION, **more))) as batches:
        return [event async for batch in batches for event in batch]


def text_of(events: list[Event]) -> str:
    """Return the text of an answer."""
    return "".join(event.content for event in events if isinstance(event, Delta))


def calls_of(events: list[Event]) -> list[tuple[str, Any]]:
    """Return the tool calls of an answer."""
    calls: dict[int, list[str]] = {}
    for part in (part for event in events if isinstance(event, Delta) for part in event.tool_calls):
        assert "id" not in part or "arguments" in part["function"]
        call = calls.setdefault(part["index"], ["", ""])
        call[0] += part["function"].get("name", "")
        call[1] += part["function"].get("arguments", "")
    return [(name, json.loads(arguments)) for name, arguments in calls.values()]


def test_arguments() -> None:
    """Settings become vLLM's arguments. By default all GPUs share the model."""
    settings = settings_for(
        "vllm",
        quantization="fp8",
        lora_adapters={"sql": "/a", "law": "/b"},
        lora_rank="64",
        reasoning_parser="qwen3",
    )

    arguments = engine_arguments(settings, 8)

    assert {
        "model": str(hugging_face_model()),
        "max_model_len": 256,
        "max_num_seqs": 4,
        "tensor_parallel_size": 8,
        "enable_prefix_caching": True,
        "quantization": "fp8",
        "enable_lora": True,
        "max_loras": 2,
        "max_lora_rank": 64,
        "reasoning_parser": "qwen3",
        "trust_remote_code": False,
    }.items() <= arguments.items()
    values.AsyncEngineArgs(**arguments)  # every argument exists in vLLM
    assert "limit_mm_per_prompt" not in arguments
    seeing = engine_arguments(settings_for("vllm", max_images=3), 1)
    assert seeing["limit_mm_per_prompt"] == {"image": 3}
    assert engine_arguments(settings_for("vllm", tensor_parallel=2), 8)["tensor_parallel_size"] == 2
    assert engine_arguments(settings_for("vllm", model_id="a/b"), 0)["model"] == "a/b"


def test_other_arguments() -> None:
    """Arguments without a setting are passed on.

    Unknown ones, or those of a setting, are errors.
    """
    assert (
        engine_arguments(settings_for("vllm", vllm_args={"enforce_eager": True}), 1)[
            "enforce_eager"
        ]
        is True
    )
    with pytest.raises(StartError, match="no argument enforce_eagre"):
        engine_arguments(settings_for("vllm", vllm_args={"enforce_eagre": True}), 1)
    with pytest.raises(StartError, match="max_model_len has its own setting"):
        engine_arguments(settings_for("vllm", vllm_args={"max_model_len": 9}), 1)


def folder(tmp_path: Path, **files: bytes | str) -> Path:
    """Return a folder with these files. In a name, `__` stands for a dot, and `_` for itself."""
    for name, content in files.items():
        data = content if isinstance(content, bytes) else content.encode()
        (tmp_path / name.replace("__", ".")).write_bytes(data)
    return tmp_path


def tensors_of(header: dict[str, Any]) -> bytes:
    """Return a safetensors file with this header, and no data."""
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text


TENSORS = (hugging_face_model() / "model.safetensors").read_bytes()
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, r"no config\.json"),
        ({"config__json": "{"}, r"config\.json: not readable as JSON"),
        ({"config__json": "[]"}, "not a JSON object"),
        ({"config__json": "{}"}, "no weights"),
        ({"config__json": "{}", "model__safetensors": TENSORS[:-1]}, "truncated or corrupt"),
        ({"config__json": "{}", "model__safetensors": TENSORS}, "no tokenizer"),
        ({"config__json": "{}", "model__safetensors": POINTER}, "run `git lfs pull`"),
        (
            # github.com/turboderp/exllama/issues/242
            {"config__json": "{}", "model__safetensors": TENSORS, "tokenizer__json": POINTER},
            r"tokenizer\.json: the file is a Git LFS pointer",
        ),
        ({"config__json": "{}", "a__gguf": b"GGUF"}, "set engine=llama_cpp"),
        ({"adapter_config__json": "{}", "adapter_model__safetensors": TENSORS}, "a LoRA adapter"),
        (
            {"config__json": "{}", "model-00002-of-00002__safetensors": TENSORS},
            r"model-00001-of-00002\.safetensors is missing",
        ),
        (
            {"config__json": "{}", "model__safetensors__index__json": '{"weight_map": {"a": 5}}'},
            "it has no weight_map of files",
        ),
        (
            {"config__json": "{}", "model__safetensors": tensors_of({"a": {"dtype": "F32"}})},
            "its header has a tensor without a place",
        ),
        (
            {
                "config__json": "{}",
                "pytorch_model__bin__index__json": '{"weight_map": {"a": "b.bin"}}',
            },
            r"b\.bin missing",
        ),
        (
            {"config__json": "{}", "model__safetensors": b"\0" * 64},
            "corrupt, or not a safetensors file",
        ),
        ({"config__json": "{}", "model__safetensors": b""}, "corrupt, or not a safetensors file"),
        (
            {
                "config__json": "{}",
                "model__safetensors__index__json": '{"weight_map": {"a": "x.safetensors"}}',
            },
            r"x\.safetensors missing",
        ),
    ],
)
async def test_bad_weights(tmp_path: Path, files: dict[str, Any], reason: str) -> None:
    """Missing, truncated or corrupt weights are one line of error, before vLLM takes the GPUs."""
    engine = create(settings_for("vllm", model_dir=folder(tmp_path, **files)))

    with pytest.raises(StartError, match=reason) as caught:
        await engine.start()

    assert "\n" not in str(caught.value)
    assert not engine.healthy
    await engine.close()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (
            {"quantization": "unknown"},
            "vLLM cannot serve .*: Unknown quantization method: unknown.$",
        ),
        ({"reasoning_parser": "none"}, "reasoning_parser_name='none' has not been registered"),
        ({"lora_adapters": {"sql": "/nowhere"}}, "sql: no adapter_config.json in /nowhere"),
        ({"model_dir": hugging_face_model() / "nothing"}, "No such file"),
    ],
)
async def test_cannot_start(more: dict[str, Any], reason: str) -> None:
    """If vLLM fails to start, the error is one line, the first of vLLM's own."""
    engine = create(settings_for("vllm", **more))

    with pytest.raises(StartError, match=reason):
        await engine.start()
    await engine.close()


async def test_a_snapshot_below_the_folder(tmp_path: Path) -> None:
    """A model in a cache of Hugging Face is served from its snapshot."""
    snapshot = tmp_path / "models--o--n" / "snapshots" / "9a"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(hugging_face_model())
    async with started(settings_for("vllm", model_dir=tmp_path)) as engine:
        assert engine.healthy
    arguments = engine_arguments(settings_for("vllm"), 1, snapshot)
    assert arguments["model"] == str(snapshot)


async def test_a_template_that_always_fails(tmp_path: Path) -> None:
    """A template that is broken for every conversation is found when the container starts."""
    (tmp_path / "broken.jinja").write_text("{nothing}")
    engine = create(settings_for("vllm", chat_template=tmp_path / "broken.jinja"))
    with pytest.raises(StartError, match="the chat template fails for every conversation"):
        await engine.start()
    await engine.close()


@pytest.mark.parametrize(
    "raised",
    [
        TemplateError("System role not supported"),
        UndefinedError("'dict object' has no attribute 'content'"),
        TypeError('can only concatenate str (not "NoneType") to str'),
    ],
)
async def test_messages_that_the_template_rejects(raised: Exception) -> None:
    """The client gets a 400 about `messages` with the raised sentence.

    vLLM passes it on in a ValueError (github.com/vllm-project/vllm/issues/17119).
    """

    async def render(request: Any) -> Any:
        raise ValueError(str(raised)) from raised

    async with started(settings_for("vllm")) as engine:
        engine._renderer.render_chat = render  # type: ignore[attr-defined]
        with pytest.raises(InvalidRequestError) as caught:
            await whole(engine)
    assert caught.value.message == (
        f"messages: the model's chat template does not accept them: {raised}"
    )
    assert caught.value.param == "messages"


async def test_other_version(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With another version of vLLM than the engine's, the start logs that and goes on."""
    monkeypatch.setattr("vllm.__version__", "0.34.1")
    async with started(settings_for("vllm")):
        assert capsys.readouterr().err == "model: made for vLLM 0.33.0, this is 0.34.1\n"


async def test_tools() -> None:
    """A required call is made with the named tool, and has the right finish reason."""
    named = {"type": "function", "function": {"name": "get_count"}}
    async with started(settings_for("vllm", tool_parser="hermes", context_tokens=1024)) as engine:
        required = await whole(engine, tools=TOOLS, tool_choice="required")
        forced = await whole(engine, tools=TOOLS, tool_choice=named)
        auto = await whole(engine, tools=TOOLS, max_tokens=9, seed=1)
        none = await whole(engine, tools=TOOLS, tool_choice="none", max_tokens=9, seed=1)

    assert calls_of(required) == [("get_weather", {"city": "Rome"})]
    assert calls_of(forced) == [("get_count", {"number": 7})]
    assert Finish(0, "tool_calls") in required
    assert Finish(0, "tool_calls") in forced
    assert text_of(required) == text_of(forced) == ""
    assert calls_of(auto) == calls_of(none) == []
    assert text_of(auto) == text_of(none) != ""
    starts = [
        event.prompt_tokens
        for events in (auto, none)
        for event in events
        if isinstance(event, Start)
    ]
    assert starts[0] > starts[1] + 100  # tools that may not be called are not shown to the model


async def test_the_first_request_of_each_kind_is_made_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What vLLM compiles at the first request of a kind, it has compiled before it is up.

    A kind that the model cannot do is told, and a model that answers nothing is not served.
    """
    made: list[Any] = []
    generate = VllmEngine.generate

    async def seen(engine: Any, request: Any) -> Any:
        made.append(request)
        if request.response_format is not None:
            raise EngineError("no grammar")
        async for batch in generate(engine, request):
            yield batch

    monkeypatch.setattr(VllmEngine, "generate", seen)
    async with started(settings_for("vllm", tool_parser="hermes")) as engine:
        assert engine.active == 0
    assert [bool(it.tools) for it in made] == [False, False, False, False, True]
    assert sum(bool(it.logprobs) for it in made) == 1
    assert "the first request with a schema failed: no grammar" in capsys.readouterr().err

    async def broken(engine: Any, request: Any) -> Any:
        if request is not None:
            raise EngineError("no words")
        yield

    monkeypatch.setattr(VllmEngine, "generate", broken)
    engine = create(settings_for("vllm"))
    with pytest.raises(StartError, match="the first request failed: no words"):
        await engine.start()
    await engine.close()


async def test_tools_without_a_parser() -> None:
    """Tools without a parser are rejected, and the error names the missing setting."""
    async with started(settings_for("vllm")) as engine:
        with pytest.raises(InvalidRequestError, match="SLUICE_TOOL_PARSER"):
            await whole(engine, tools=TOOLS)
        await until(lambda: engine.active == 0)


async def test_reasoning() -> None:
    """Reasoning is separate from the content, and its tokens count."""
    async with started(settings_for("vllm", reasoning_parser="qwen3")) as engine:
        events = await whole(engine, response_format=guided({"const": "yes"}))

    assert "".join(event.reasoning for event in events if isinstance(event, Delta)) == "because"
    assert text_of(events) == '"yes"'
    usage = events[-1]
    assert isinstance(usage, Usage)
    assert usage.completion_tokens == len('because</think>"yes"') + 1


async def test_how_to_reason() -> None:
    """The effort, the template's variables, the budget and earlier reasoning reach vLLM. Without a
    parser, a request for reasoning is refused.
    """
    earlier = {"role": "assistant", "content": "Yes.", "reasoning_content": "It is so."}
    asked_for = {
        "reasoning_effort": "high",
        "chat_template_kwargs": {"enable_thinking": True},
        "thinking_token_budget": 5,
    }
    messages = [earlier, {"role": "user", "content": "?"}]
    body = request_body(asked({"messages": messages}, **asked_for))
    assert asked_for.items() <= body.items()
    assert body["messages"][0] == earlier
    async with started(settings_for("vllm")) as engine:
        with pytest.raises(InvalidRequestError, match="SLUICE_REASONING_PARSER") as refusal:
            await whole(engine, reasoning_effort="low")
        assert refusal.value.param == "reasoning_effort"
        assert await whole(engine, reasoning_effort="none", max_tokens=1)


async def test_adapters(tmp_path: Path, serve: Serve) -> None:
    """An adapter is a model with its own name. An unknown name is a 404."""
    folder(tmp_path, adapter_config__json="{}")
    async with serve("vllm", lora_adapters={"sql": str(tmp_path)}) as container:
        texts = {}
        for name in (None, "sluice-demo", "sql"):
            body = {**QUESTION, "max_tokens": 9, "seed": 3} | ({"model": name} if name else {})
            answer = (await container.client.post("/v1/chat/completions", json=body)).json()
            texts[name] = answer["choices"][0]["message"]["content"]
            assert answer["model"] == (name or "sluice-demo")
        unknown = await container.client.post("/invocations", json={**QUESTION, "model": "law"})
        models = (await container.client.get("/v1/models")).json()["data"]
        metrics = (await container.client.get("/metrics")).text

    assert texts["sql"].startswith("[sql] ")
    assert texts[None] == texts["sluice-demo"] != texts["sql"]
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, UnknownModelError.code)
    assert [model["id"] for model in models] == ["sluice-demo", "sql"]
    assert 'gen_ai_request_model="sql",outcome="length"} 1.0' in metrics


async def test_logit_bias() -> None:
    """A bias reaches the sampler."""
    async with started(settings_for("vllm")) as engine:
        assert text_of(await whole(engine, logit_bias={"120": 100}, max_tokens=3)) == "xxx"


async def test_refusals() -> None:
    """A schema that vLLM's grammar compiler rejects is the caller's error, with its message."""
    async with started(settings_for("vllm")) as engine:
        with pytest.raises(
            InvalidRequestError, match=r"grammar: unknown type|Grammar error: Invalid type"
        ):
            await whole(engine, response_format=guided({"type": "nonsense"}))
        await until(lambda: engine.active == 0)


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [{"role": "user", "content": "a" * 9000}]},
        {"messages": [{"role": "user", "content": "a"}] * 257},
    ],
)
async def test_refused_before_vllm(monkeypatch: pytest.MonkeyPatch, more: dict[str, Any]) -> None:
    """A prompt that is too large for the context is rejected before vLLM sees it."""
    async with started(settings_for("vllm")) as engine:
        monkeypatch.setattr(engine, "_renderer", None)
        with pytest.raises(InvalidRequestError, match="tokens, or more"):
            await whole(engine, **more)


async def test_refused_by_return() -> None:
    """A rejection that vLLM's renderer returns, and does not raise, is handled in the same way."""
    async with started(settings_for("vllm")) as engine:
        with pytest.raises(InvalidRequestError, match="no template") as caught:
            await whole(engine, messages=[{"role": "user", "content": "no template for this"}])
        await until(lambda: engine.active == 0)

    assert caught.value.param == "messages"


async def test_leaving_is_felt_in_the_next_step() -> None:
    """If a reader leaves, the request is in no further step of vLLM's."""
    async with started(settings_for("vllm", context_tokens=100_000)) as engine:
        llm = engine._llm  # type: ignore[attr-defined]
        other = asyncio.create_task(whole(engine, response_format=guided(ENDLESS)))
        async with contextlib.aclosing(
            engine.generate(asked(QUESTION, n=2, response_format=guided(ENDLESS)))
        ) as batches:
            await anext(batches)
            await anext(batches)
            assert len(llm.running) == 3
            (left,) = [each for each in llm.collectors.values() if len(each.sequences) == 2]
        lengths = [each.length for each in left.sequences]
        steps = llm.steps
        assert len(llm.running) == 1
        await until(lambda: llm.steps > steps + 5)
        assert [each.length for each in left.sequences] == lengths
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


async def test_cancel_frees_the_sequence(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancel over HTTP frees the cache of the sequence, as vLLM's own metric shows."""
    # The request must not end by itself before the cancel.
    monkeypatch.setattr(AsyncLLM, "step_seconds", 0.05)
    body = {**QUESTION, "response_format": guided(ENDLESS), "sluice": {"v": 1, "request_id": "r"}}
    gauge = 'vllm:kv_cache_usage_perc{engine="0",model_name='
    async with (
        serve("vllm", context_tokens=100_000) as container,
        container.client.stream("POST", "/invocations", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        while '"delta"' not in await anext(lines):
            pass
        before = (await container.client.get("/metrics")).text
        cancelled = (
            await container.client.post("/invocations", json={"sluice": {"v": 1, "cancel": "r"}})
        ).json()
        records = [line async for line in lines if line]
        await container.idle()
        after = (await container.client.get("/metrics")).text

    assert cancelled == {"cancelled": True}
    assert json.loads(records[-1])["code"] == "cancelled"
    used = [
        float(text.partition(gauge)[2].partition("\n")[0].rpartition(" ")[2])
        for text in (before, after)
    ]
    assert used[0] > used[1] == 0.0
    assert "sluice_cache_usage_ratio 0.0\n" in after
    assert "sluice_cache_usage_ratio 0.0\n" not in before


async def test_slow_reader_loses_nothing() -> None:
    """Unread events are merged, with all of their tokens."""
    async with started(settings_for("vllm", context_tokens=2048)) as engine:
        llm = engine._llm  # type: ignore[attr-defined]
        batches: list[list[Event]] = []
        async with contextlib.aclosing(
            engine.generate(asked(QUESTION, response_format=guided(ENDLESS), max_tokens=600))
        ) as steps:
            async for batch in steps:
                batches.append(batch)
                if len(batches) == 2:
                    await until(lambda: llm.steps > 500)
    deltas = [event for batch in batches for event in batch if isinstance(event, Delta)]

    assert len(batches) < 300
    assert sum(delta.tokens for delta in deltas) == 600
    assert "".join(delta.content for delta in deltas) == ("[" + "7, " * 200)[:600]


async def test_death(serve: Serve) -> None:
    """If vLLM's core dies, running requests end with an error record, and /ping fails."""
    async with (
        serve("vllm", context_tokens=100_000) as container,
        container.client.stream(
            "POST", "/invocations", json={**QUESTION, "response_format": guided(ENDLESS)}
        ) as answer,
    ):
        lines = answer.aiter_lines()
        while '"delta"' not in await anext(lines):
            pass
        container.engine._llm.die()
        records = [line async for line in lines if line]
        ping = await container.client.get("/ping")

    assert json.loads(records[-1]) == {
        "type": "error",
        "code": "engine_error",
        "message": "vLLM: EngineDeadError",
    }
    assert ping.status_code == 503


async def test_close() -> None:
    """Closing the engine ends running requests and shuts vLLM down."""
    async with started(settings_for("vllm", context_tokens=100_000)) as engine:
        llm = engine._llm  # type: ignore[attr-defined]
        request = asyncio.create_task(whole(engine, response_format=guided(ENDLESS)))
        await until(lambda: bool(llm.running))
        await engine.close()
        with pytest.raises(EngineError, match="abort"):
            await request

    assert llm.shut_down


@pytest.mark.parametrize(
    ("error", "began", "kind", "message"),
    [
        (values.VLLMValidationError("m", parameter="stop"), True, InvalidRequestError, "^m$"),
        (
            values.VLLMValidationError("m", parameter="input_text", value=9),
            False,
            ContextLengthError,
            "9 characters",
        ),
        (values.GracefulHTTPError("busy", 503), True, OverloadedError, "busy"),
        (ValueError("bad template"), False, InvalidRequestError, "bad template"),
        (ValueError("a bug"), True, EngineError, "vLLM: ValueError"),
        (values.EngineDeadError("m"), True, EngineError, "EngineDeadError"),
        (KeyError("m"), False, EngineError, "KeyError"),
    ],
)
def test_errors(error: Exception, began: bool, kind: type[ModelError], message: str) -> None:
    """Each of vLLM's failures becomes one of the container's.

    Only some of them can be the request's fault.
    """
    found = error_of(error, 256, began=began)

    assert type(found) is kind
    assert re.search(message, found.message)


def test_wrapped_errors() -> None:
    """If vLLM wraps an error, its cause is reported."""
    wrapped = values.EngineGenerateError()
    wrapped.__cause__ = ValueError("LoRA is not enabled")

    assert type(error_of(wrapped, 256, began=False)) is InvalidRequestError


def output(text: str, tokens: list[int], finish: str | None = None) -> Any:
    """Return one output of vLLM's."""
    return CompletionOutput(
        index=0,
        text=text,
        token_ids=tokens,
        cumulative_logprob=None,
        logprobs=None,
        finish_reason=finish,
    )


def reader() -> ChoiceReader:
    """Return a reader of a plain chat."""
    request = chat.ChatCompletionRequest.model_validate({"messages": []})
    return ChoiceReader(
        0, chat.ChatStreamProcessor(request, None, enable_auto_tools=False, parser_cls=None), None
    )


def test_tokens_without_text() -> None:
    """Tokens whose text is held back count with the next text, or at the end."""
    choice = reader()

    events = [event for step in (
        output("", []), output("", [1, 2]), output("a", [3]), output("", [4, 5]), output("", [6], "length"),
        output("late", [7]),
    ) for event in choice.events(step, None)]  # fmt: skip

    assert events == [Delta(0, 3, "a"), Delta(0, 3, ""), Finish(0, "length")]
    assert choice.tokens == 6


@pytest.mark.parametrize("reason", ["error", "abort", "repetition"])
def test_broken_off(reason: str) -> None:
    """An answer that vLLM aborted does not end with the reason "stop"."""
    with pytest.raises(EngineError, match=reason):
        reader().events(output("a", [1], reason), None)


def test_settings() -> None:
    """The engine's settings come from the environment."""
    environment = {
        "SLUICE_ENGINE": "vllm",
        "SLUICE_TENSOR_PARALLEL": "4",
        "SLUICE_QUANTIZATION": "awq_marlin",
        "SLUICE_LORA_ADAPTERS": "sql=/opt/ml/model/sql, law=/opt/ml/model/law",
        "SLUICE_PREFIX_CACHING": "false",
        "SLUICE_VLLM_ARGS": '{"enforce_eager": true}',
    }

    settings = Settings.from_environment(environment)

    assert settings.models == ("sluice-demo", "sql", "law")
    assert settings.prefix_caching is False
    assert engine_arguments(settings, 8)["tensor_parallel_size"] == 4
