"""llama.cpp's own features: structured answers, rejections, weights and slow readers."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from demo_model import SHA256
from demo_model.chat import TEMPLATE
from model.engines.llama_cpp import BUFFERED_EVENTS, LlamaCppEngine
from model.engines.llama_cpp_chunks import ChunkReader, error_of, request_bodies
from model.errors import (
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    ModelError,
    NotReadyError,
    StartError,
)
from model.events import Delta, Event, Finish, Start, Usage
from model.generation import Generation
from tests.support import gguf_files
from tests.support.model import WEIGHTS, asked, settings_for, started, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

WEIGHTS_FILE = WEIGHTS / "sluice-demo.gguf"
QUESTION = {"messages": [{"role": "user", "content": "What is streaming?"}]}


@pytest.fixture
async def engine() -> AsyncIterator[Any]:
    """Yield the engine with the demo model."""
    async with started(settings_for("llama_cpp", context_tokens=2048)) as running:
        yield running


async def answer(engine: Any, **more: Any) -> str:
    """Return the text of the answer to the question."""
    async with contextlib.aclosing(engine.generate(asked(QUESTION, **more))) as batches:
        return "".join(
            [
                event.content
                async for batch in batches
                for event in batch
                if isinstance(event, Delta)
            ]
        )


async def full(engine: Any) -> None:
    """Wait until the buffer of the one running request is full."""
    (bridge,) = engine._bridges
    await until(lambda: len(bridge._events) >= BUFFERED_EVENTS)


async def test_schema(engine: Any) -> None:
    """An answer with a JSON schema is JSON that matches it."""
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Paris", "Rome"]}, "people": {"type": "integer"}},
        "required": ["city", "people"],
        "additionalProperties": False,
    }

    text = await answer(
        engine,
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
    )

    value = json.loads(text)
    assert value["city"] in ("Paris", "Rome")
    assert isinstance(value["people"], int)


async def test_json_object(engine: Any) -> None:
    """An answer in JSON mode begins as an object."""
    text = await answer(engine, response_format={"type": "json_object"}, max_tokens=60)

    assert text.lstrip().startswith("{")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "nonsense"}, "Invalid type: nonsense"),
        ({"type": "array", "items": {}, "minItems": 5, "maxItems": 2}, "minItems"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength"),
        ({"type": "string", "pattern": "^a{5,2}$"}, "regex parse error"),
        ({"$ref": "http://127.0.0.1/schema"}, "does not fetch resources"),
    ],
)
async def test_bad_schema(engine: Any, schema: dict[str, Any], why: str) -> None:
    """A schema that cannot constrain an answer is the caller's error, with the reason.

    The request is never answered without the constraint.
    """
    with pytest.raises(InvalidRequestError, match=why):
        await answer(
            engine,
            response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        )


# llguidance gives up at the number, long after the tokens for which a schema is tried.
LOST = {
    "type": "object",
    "properties": {
        "a": {"const": "a" * 60},
        "x": {
            "type": "integer",
            "minimum": -123456789012345678,
            "maximum": 987654321098765432,
            "multipleOf": 7919,
        },
    },
    "required": ["a", "x"],
}


@pytest.mark.parametrize("called", [False, True])
async def test_lost_guidance(engine: Any, called: bool) -> None:
    """If llguidance stops constraining an answer, the answer ends in an error."""
    more: dict[str, Any] = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": LOST}}
    }
    if called:
        function = {"name": "f", "parameters": LOST}
        more = {"tools": [{"type": "function", "function": function}], "tool_choice": "required"}
    with pytest.raises(EngineError, match="could not hold it to its schema"):
        await answer(engine, **more, max_tokens=1000, seed=3, temperature=1)


async def test_stop_string_in_json(engine: Any) -> None:
    """If a stop string ends a constrained answer, that is no error."""
    schema = {"type": "object", "properties": {"a": {"const": "one two"}}, "required": ["a"]}
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}

    assert (await answer(engine, response_format=form, stop="two")).endswith("one ")


@pytest.mark.parametrize(
    "text", ['{"a":1}', ' [1.5e300, "é", null]\n', "1" * 5000, "[" * 9000 + "]" * 9000]
)
def test_whole_json(text: str) -> None:
    """A constrained answer that is JSON ends normally, with any numbers and any depth."""
    assert guided_end(text) == [Delta(0, 1, text), Finish(0, "stop")]


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("text", ["Paris is", '{"a":1} and', '{"a":One}', '{"a":1,,'])
def test_no_json(text: str, stops: bool) -> None:
    """A constrained answer that is no JSON ends in an error.

    That is so even if a stop string may have ended it.
    """
    with pytest.raises(EngineError):
        guided_end(text, stops=stops)


def test_cut_json() -> None:
    """An incomplete answer that a stop string may have ended ends normally.

    Without stop strings it is an error.
    """
    whole = '{"a": [true, false, null, -1.5e+3, "x\\u00e9\\n"], "b": {}}'
    for size in range(len(whole)):
        assert guided_end(whole[:size], stops=True)[-1] == Finish(0, "stop")
        with pytest.raises(EngineError):
            guided_end(whole[:size])


def guided_end(text: str, *, stops: bool = False) -> list[Event]:
    """Return the events of a constrained answer that has this text and then stops."""
    reader = ChunkReader(0, 0, guided=True, stops=stops)
    said = {"choices": [{"index": 0, "delta": {"content": text}}], "timings": {"predicted_n": 1}}
    return reader.events(said) + reader.events(
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    )


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "Look something up.",
            "parameters": {
                "type": "object",
                "properties": {key: {"type": kind}},
                "required": [key],
            },
        },
    }
    for name, key, kind in (("get_weather", "city", "string"), ("get_count", "number", "integer"))
]


async def called(engine: Any, **more: Any) -> tuple[list[tuple[str, dict[str, Any]]], str, str]:
    """Return the tool calls of an answer with their arguments, its text and its finish reason."""
    calls: dict[int, list[str]] = {}
    text = reason = ""
    request = asked(
        {"messages": [{"role": "user", "content": "What is the weather in Rome?"}]},
        tools=TOOLS,
        **more,
    )
    async with contextlib.aclosing(engine.generate(request)) as batches:
        async for event in (event async for batch in batches for event in batch):
            if isinstance(event, Finish):
                reason = event.reason
            elif isinstance(event, Delta):
                text += event.content
                for part in event.tool_calls:
                    function = part["function"]
                    call = calls.setdefault(part["index"], ["", ""])
                    call[0] += function.get("name", "")
                    call[1] += function.get("arguments", "")
    return [(name, json.loads(arguments)) for name, arguments in calls.values()], text, reason


async def test_required_tool(engine: Any) -> None:
    """A required call is made with arguments of the tool's schema, for any response format."""
    calls, text, reason = await called(
        engine, tool_choice="required", response_format={"type": "json_object"}
    )

    assert (text, reason) == ("", "tool_calls")
    assert calls
    for name, arguments in calls:
        assert name in ("get_weather", "get_count")
        assert set(arguments) == {"city" if name == "get_weather" else "number"}


async def test_required_tool_where_a_model_would_rather_talk(engine: Any) -> None:
    """A required call is made at once, even if the model would answer in text."""
    hello = [{"role": "user", "content": "Hello!"}]
    calls, text, reason = await called(
        engine, tool_choice="required", messages=hello, temperature=0
    )
    assert (len(calls), text, reason) == (1, "", "tool_calls")


async def test_forced_tool(engine: Any) -> None:
    """The tool that the request names is called, once if only one call is allowed."""
    choice = {"type": "function", "function": {"name": "get_count"}}

    calls, text, _ = await called(engine, tool_choice=choice, parallel_tool_calls=False)

    [(name, arguments)] = calls
    assert (name, text) == ("get_count", "")
    assert isinstance(arguments["number"], int)


async def test_no_tools_chosen(engine: Any) -> None:
    """With the choice "none" the model does not see the tools, and calls none."""
    calls, text, reason = await called(engine, tool_choice="none", max_tokens=30, temperature=0)

    assert not calls
    assert "tool" not in text
    assert reason in ("stop", "length")


async def test_logit_bias(engine: Any) -> None:
    """A bias towards a token makes it the answer."""
    assert await answer(engine, logit_bias={"65": 100}, max_tokens=3, temperature=0) == "___"


async def test_temperature(engine: Any) -> None:
    """At temperature 0 the seed does not matter."""
    answers = {await answer(engine, temperature=0, seed=seed, max_tokens=20) for seed in range(3)}

    assert len(answers) == 1


async def test_roles_and_parts(engine: Any) -> None:
    """The developer's role, and text in parts, reach the template."""
    messages = [
        {"role": "developer", "content": "Be short."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is "},
                {"type": "text", "text": "streaming?"},
            ],
        },
    ]

    assert await answer(engine, messages=messages, max_tokens=5)


async def test_slow_reader(engine: Any) -> None:
    """A reader that pauses gets at most the buffer in one step, and loses nothing."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 800}
    fmt = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    sizes: list[int] = []
    tokens = 0
    async with contextlib.aclosing(
        engine.generate(asked(QUESTION, response_format=fmt, max_tokens=600, temperature=0))
    ) as batches:
        async for batch in batches:
            if not sizes:
                await full(engine)
            sizes.append(len(batch))
            tokens += sum(event.tokens for event in batch if isinstance(event, Delta))

    assert (
        BUFFERED_EVENTS <= max(sizes) <= BUFFERED_EVENTS + 8
    )  # the events of the last chunk may exceed it
    assert tokens == 600


async def test_leaving_while_the_writer_waits(engine: Any) -> None:
    """If the reader of a full buffer leaves, the thread that waits for room is freed."""
    schema = {"type": "array", "items": {"type": "integer"}, "minItems": 800}
    fmt = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    async with contextlib.aclosing(
        engine.generate(asked(QUESTION, response_format=fmt, max_tokens=900))
    ) as batches:
        await anext(batches)
        await full(engine)
        assert engine.active == 1

    await until(lambda: engine.active == 0)
    assert await answer(engine, max_tokens=3)


async def test_an_empty_prompt_is_counted() -> None:
    """A prompt without tokens is counted as such, and any other by its tokens."""
    empty = {"messages": [{"role": "assistant", "content": ""}], "continue_final_message": True}
    settings = settings_for("llama_cpp", context_tokens=2048)
    async with started(settings) as engine:
        generation = Generation(engine, settings)
        assert await generation.count(asked(empty, add_generation_prompt=False)) == 0
        assert await generation.count(asked(QUESTION)) > 3


async def test_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without chunks is no sign of a stuck engine while steps end.

    llama.cpp holds white space in the arguments of a call back.
    """
    monkeypatch.setattr("model.engines.llama_cpp._WATCH_SECONDS", 0.01)
    # The answer runs until it is read, however fast it is sampled.
    monkeypatch.setattr("model.engines.llama_cpp.BUFFERED_EVENTS", 1)
    async with started(settings_for("llama_cpp", context_tokens=2048)) as engine:
        assert engine.steps is not None
        quiet = engine.steps.begin()
        engine.steps.chunk(quiet, 1, 0.0)
        quiet.seen -= 100
        assert not engine.healthy
        stream = engine.generate(asked(QUESTION))
        async with contextlib.aclosing(stream):
            await anext(stream)
            await until(lambda: engine.healthy)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\0" * 4096, "magic"),
        (b"GGUF", "read|magic|failed|corrupt"),
        (None, "exactly one .* none"),
    ],
)
async def test_bad_weights(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """For weights that do not load, the error is one line with the reason."""
    if content is not None:
        (tmp_path / "model.gguf").write_bytes(content)
    engine = LlamaCppEngine(settings_for("llama_cpp", model_dir=tmp_path))

    with pytest.raises(StartError, match=reason) as caught:
        await engine.start()

    assert "\n" not in str(caught.value)
    await engine.close()


async def test_cut_weights(tmp_path: Path) -> None:
    """For truncated weights, the error says so."""
    (weights,) = WEIGHTS.glob("*.gguf")
    (tmp_path / "cut.gguf").write_bytes(weights.read_bytes()[:1_000_000])
    engine = LlamaCppEngine(settings_for("llama_cpp", model_dir=tmp_path))

    with pytest.raises(StartError, match=r"truncated.*download it again"):
        await engine.start()
    await engine.close()


@pytest.mark.parametrize(
    ("name", "more"),
    [("sluice-demo.gguf", {}), ("mine.gguf", {"weights_sha256": "0" * 64})],
)
async def test_other_weights(tmp_path: Path, name: str, more: dict[str, str]) -> None:
    """Weights that do not match the known checksum do not start. The reason has both checksums."""
    (tmp_path / name).write_bytes(b"GGUF")
    engine = LlamaCppEngine(settings_for("llama_cpp", model_dir=tmp_path, **more))

    with pytest.raises(StartError, match=r"its SHA-256 is [0-9a-f]{64}, [0-9a-f]{64} is expected"):
        await engine.start()
    await engine.close()


async def test_known_weights() -> None:
    """The demo model has the checksum in the code. A checksum that is set is enforced."""
    async with started(settings_for("llama_cpp", weights_sha256=SHA256)) as running:
        assert running.healthy


@pytest.mark.parametrize(
    "name", ["demo-{:05}-of-{:05}.gguf", "Demo-{:05}-of-{:05}.GGUF", "q8/demo-{}-of-{}.gguf"]
)
async def test_split_weights(tmp_path: Path, name: str) -> None:
    """All parts of a split model are loaded, whatever stands beside them."""
    (tmp_path / "q8").mkdir()
    gguf_files.split(tmp_path, name=name)
    gguf_files.write(tmp_path / "mmproj-demo.gguf", {"general.type": "mmproj"})
    gguf_files.write(tmp_path / "extra.gguf", {"general.type": "adapter"})
    async with started(settings_for("llama_cpp", model_dir=tmp_path)) as engine:
        assert await answer(engine, max_tokens=5, temperature=0)


async def test_a_missing_part(tmp_path: Path) -> None:
    """The part that is missing, empty or another one is named."""
    first, second, third = gguf_files.split(tmp_path)
    whole = second.read_bytes()
    for content, reason in (
        (None, r"demo-00002-of-00003\.gguf is not there"),
        (b"", r"demo-00002-of-00003\.gguf: the file is empty"),
        (WEIGHTS_FILE.read_bytes(), r"demo-00002-of-00003\.gguf: the file is a whole model"),
        (third.read_bytes(), r"demo-00002-of-00003\.gguf: the file is part 3 of 3"),
        (whole[:-5000], "the file is truncated"),
    ):
        second.unlink()
        if content is not None:
            second.write_bytes(content)
        assert re.search(reason, await refusal(tmp_path))
        second.write_bytes(whole)
    assert "is the checksum of one file" in await refusal(tmp_path, weights_sha256="0" * 64)
    first.rename(tmp_path / "renamed.gguf")
    second.unlink()
    third.unlink()
    assert "part 1 of 3 of a split model" in await refusal(tmp_path)


async def refusal(folder: Path, **more: Any) -> str:
    """Return the reason why the engine does not start with these weights."""
    engine = LlamaCppEngine(settings_for("llama_cpp", model_dir=folder, **more))
    with pytest.raises(StartError) as caught:
        await engine.start()
    await engine.close()
    assert "\n" not in str(caught.value)
    return str(caught.value)


async def test_a_chosen_model(tmp_path: Path) -> None:
    """Of two models, SLUICE_WEIGHTS_FILE chooses one. A vocabulary is none."""
    gguf_files.write(tmp_path / "a-Q4.gguf")
    gguf_files.write(tmp_path / "a-Q8.gguf", {"tokenizer.ggml.model": None})
    gguf_files.write(tmp_path / "vocab.gguf", None, [])
    assert "there are a-Q4.gguf, a-Q8.gguf; choose one" in await refusal(tmp_path)
    assert "no tokenizer" in await refusal(tmp_path, weights_file="a-Q8.gguf")
    settings = settings_for("llama_cpp", model_dir=tmp_path, weights_file="a-Q4.gguf")
    async with started(settings) as engine:
        assert engine.healthy


ALTERNATING = (
    "{% for m in messages %}{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('System message must be at the beginning.') }}{% endif %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}"
    "{% endif %}{% if 'crash' in m.content %}{{ m.nothing() }}{% endif %}"
    "{{ m.role }}: {{ m.content }}\n{% endfor %}"
)


REJECTED = {
    "Conversation roles must alternate user/assistant/user/assistant/...": ["user a", "user b"],
    "System message must be at the beginning.": ["user a", "system b"],
    "Callee is not a function: got Undefined (hint: 'nothing')": ["user crash"],
}


async def test_messages_that_the_template_rejects(tmp_path: Path) -> None:
    """The client gets a 400 about `messages` with the raised sentence, and none of the template.

    The engine serves the next request.
    """
    gguf_files.write(tmp_path / "a.gguf", {"tokenizer.chat_template": ALTERNATING})
    async with started(settings_for("llama_cpp", model_dir=tmp_path)) as strict:
        for said, turns in REJECTED.items():
            roles = [dict(zip(("role", "content"), it.split(), strict=True)) for it in turns]
            with pytest.raises(InvalidRequestError) as caught:
                await answer(strict, messages=roles)
            assert caught.value.message == (
                f"messages: the model's chat template does not accept them: {said}"
            )
            assert caught.value.param == "messages"
        assert await answer(strict, max_tokens=3)


async def test_a_template_that_always_fails(tmp_path: Path) -> None:
    """A template that is broken for every conversation is found when the container starts."""
    gguf_files.write(
        tmp_path / "a.gguf", {"tokenizer.chat_template": "{{ raise_exception('no') }}"}
    )
    assert (await refusal(tmp_path)).startswith(
        f"{tmp_path / 'a.gguf'}: the chat template fails for every conversation: no;"
    )


async def test_a_model_without_a_template(tmp_path: Path) -> None:
    """A file without a chat template is served by one that the settings name, else not at all."""
    gguf_files.write(tmp_path / "a.gguf", {"tokenizer.chat_template": " \n"})
    assert "the file has no chat template" in (said := await refusal(tmp_path))
    assert "set SLUICE_CHAT_TEMPLATE" in said
    name = Path("chat.jinja")
    assert "No such file" in await refusal(tmp_path, chat_template=name)
    (tmp_path / name).write_bytes(b"\xff")
    assert "not UTF-8 text" in await refusal(tmp_path, chat_template=name)
    (tmp_path / name).write_text("{{ raise_exception('no') }}")
    assert "chat.jinja: the chat template fails" in await refusal(tmp_path, chat_template=name)
    (tmp_path / name).write_text(TEMPLATE)
    settings = settings_for("llama_cpp", model_dir=tmp_path, chat_template=name)
    async with started(settings) as engine:
        assert await answer(engine, temperature=0)  # it ends by itself


async def test_a_model_with_other_marks(tmp_path: Path) -> None:
    """The model's own token ends an answer, and its own context bounds the settings' one."""
    # This model ends its turns with the full stop, which the demo model writes twice.
    tokens = gguf_files.tokens()
    changes = {
        "tokenizer.ggml.eos_token_id": tokens.index("."),
        "tokenizer.ggml.eot_token_id": None,
        "llama.context_length": 128,
    }
    gguf_files.write(tmp_path / "a.gguf", changes)
    assert "has a context of 128 tokens, and SLUICE_CONTEXT_TOKENS is 256" in await refusal(
        tmp_path
    )
    settings = settings_for("llama_cpp", model_dir=tmp_path, context_tokens=128)
    async with started(settings) as engine:
        text = await answer(engine, temperature=0)
    assert text.endswith(".")
    assert text.count(".") == 1


async def test_two_weights(tmp_path: Path) -> None:
    """Two weight files are an error. The engine does not guess."""
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).touch()
    engine = LlamaCppEngine(settings_for("llama_cpp", model_dir=tmp_path))

    with pytest.raises(StartError, match=r"a\.gguf, b\.gguf"):
        await engine.start()
    await engine.close()


def test_body() -> None:
    """llama.cpp's defaults apply to what a request leaves out. Every choice has its own seed."""
    request = asked(QUESTION, seed=-1, n=2, stop="x", logprobs=True)

    bodies = request_bodies(request)

    assert [body["seed"] for body in bodies] == [2**32 - 2, 0]
    assert bodies[0]["stop"] == ["x"]
    assert bodies[0]["top_logprobs"] == 1
    assert not {"temperature", "top_p", "max_tokens", "tools"} & set(bodies[0])


def test_chunks() -> None:
    """llama.cpp's chunks become events. A chunk of several tokens counts them."""
    reader = ChunkReader(1, 0)
    chunks: list[dict[str, Any]] = [
        {"choices": [], "prompt_progress": {"total": 9, "processed": 0}},
        {"choices": [], "prompt_progress": {"total": 9, "processed": 9}},
        {
            "choices": [
                {"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}
            ]
        },
        {"choices": [{"index": 0, "delta": {"content": "a"}}], "timings": {"predicted_n": 1}},
        {"choices": [{"index": 0, "delta": {"content": "é"}}], "timings": {"predicted_n": 4}},
        {
            "choices": [{"index": 0, "delta": {"reasoning_content": "r"}}],
            "timings": {"predicted_n": 5},
        },
        {
            "choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0}]}}],
            "timings": {"predicted_n": 6},
        },
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 7}},
    ]

    events: list[Event] = [event for chunk in chunks for event in reader.events(chunk)]

    assert events == [
        Start(9),
        Delta(1, 1, "a"),
        Delta(1, 3, "é"),
        Delta(1, 1, reasoning="r"),
        Delta(1, 1, tool_calls=({"index": 0},)),
        Finish(1, "stop"),
        Usage(9, 7),
    ]
    assert reader.whole


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8},
            ContextLengthError,
        ),
        ({"code": 400, "type": "invalid_request_error", "message": "m"}, InvalidRequestError),
        ({"code": 503, "type": "unavailable_error", "message": "m"}, NotReadyError),
        ({"code": 500, "type": "server_error", "message": "m"}, EngineError),
        ({"message": "m"}, EngineError),
        (ValueError("m"), InvalidRequestError),
        (RuntimeError("m"), EngineError),
        (RuntimeError("While executing X in source:\n...\nError: m"), InvalidRequestError),
        ({"code": 500, "message": "\nError: Jinja Exception: m"}, InvalidRequestError),
    ],
)
def test_errors(error: Any, kind: type[ModelError]) -> None:
    """Both forms of llama.cpp's errors become the container's."""
    assert type(error_of(error)) is kind


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n</think>\n{% endif %}"
    "{{ m.content or '' }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}"
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is false %}"
    "<think>\n\n</think>\n\n{% else %}<think>\n{% endif %}{% endif %}"
)


async def test_reasoning(tmp_path: Path) -> None:
    """With a template that reasons, reasoning comes apart and is counted, stops at its budget, can
    be turned off, and earlier reasoning is in the prompt.
    """
    gguf_files.write(tmp_path / "a.gguf", {"tokenizer.chat_template": THINKING})
    settings = settings_for("llama_cpp", model_dir=tmp_path, parallel=1)
    async with started(settings) as engine:
        generation = Generation(engine, settings)

        async def said(**more: Any) -> tuple[str, str, Usage, int]:
            request = asked(QUESTION, **{"max_tokens": 12, "temperature": 0, **more})
            async with generation.run(request) as run:
                batches = generation.batches(request, run)
                async with contextlib.aclosing(batches):
                    events = [event async for batch in batches for event in batch]
            deltas = [event for event in events if isinstance(event, Delta)]
            assert isinstance(events[0], Start)
            assert isinstance(events[-1], Usage)
            reasoning = "".join(event.reasoning for event in deltas)
            text = "".join(event.content for event in deltas)
            return reasoning, text, events[-1], events[0].prompt_tokens

        reasoning, text, usage, prompt = await said()
        assert reasoning.startswith("Streaming means")
        assert (text, usage.reasoning_tokens, usage.completion_tokens) == ("", 12, 12)
        cut, text, usage, _ = await said(thinking_token_budget=4)
        assert text
        assert reasoning.startswith(cut.rstrip())
        assert 0 < usage.reasoning_tokens <= 4 < usage.completion_tokens
        for more in ({"reasoning_effort": "none"}, {"response_format": {"type": "json_object"}}):
            reasoning, text, usage, _ = await said(**more)
            assert (reasoning, bool(text), usage.reasoning_tokens) == ("", True, 0)
        earlier = [
            {"role": "user", "content": "?"},
            {"role": "assistant", "content": "Yes.", "reasoning_content": "It is so. " * 5},
            *QUESTION["messages"],
        ]
        assert (await said(messages=earlier))[3] > prompt + 15


async def test_a_model_that_does_not_reason(engine: Any) -> None:
    """The demo model's template has nothing about reasoning, so a request for it is refused."""
    with pytest.raises(InvalidRequestError, match="does not reason") as refusal:
        await answer(engine, reasoning_effort="high", max_tokens=1)
    assert refusal.value.param == "reasoning_effort"
    assert await answer(engine, reasoning_effort="none", max_tokens=1)
