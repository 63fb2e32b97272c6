"""The committed demo model, asked through its engine: readable, within what it was taught, the
whole context.
"""

import json
import random
import re
import secrets
import struct
from pathlib import Path
from typing import Any

import pytest
import xllamacpp

WEIGHTS = Path(__file__).parents[2] / "demo_model" / "weights" / "sluice-demo.gguf"
CONTEXT = 4096
UNKNOWN = "I don't know about that."

Message = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> xllamacpp.Server:
    """Yield the engine with one slot and one thread.

    Its own listener is on loopback, with a random key.
    """
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(WEIGHTS)
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [secrets.token_hex(16)]
    server = xllamacpp.Server(parameters)
    # a server that has answered nothing may hang when it is destroyed
    complete(server, "Hello", max_tokens=1)
    return server


def complete(server: xllamacpp.Server, *asked: str | Message, **options: Any) -> dict[str, Any]:
    """Return the whole reply to `asked`, whose texts are user messages.

    It is greedy unless `options` differ.
    """
    messages = [
        {"role": "user", "content": item} if isinstance(item, str) else item for item in asked
    ]
    request = {"messages": messages, "temperature": 0.0, "max_tokens": 400, **options}
    reply: dict[str, Any] = server.handle_chat_completions(request)
    assert "error" not in reply, reply
    return reply


def answer(server: xllamacpp.Server, *asked: str | Message, **options: Any) -> str:
    """Return the text of the reply to `asked`, which must have ended of itself."""
    choice = complete(server, *asked, **options)["choices"][0]
    assert choice["finish_reason"] == "stop"
    text: str = choice["message"]["content"]
    return text


def metadata(path: Path) -> dict[str, Any]:
    """Return the strings and numbers of a GGUF file's header; arrays are skipped."""
    plain = {
        0: "B",
        1: "b",
        2: "H",
        3: "h",
        4: "I",
        5: "i",
        6: "f",
        7: "?",
        10: "Q",
        11: "q",
        12: "d",
    }
    with path.open("rb") as file:

        def unpack(kind: str) -> Any:
            return struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))[0]

        def value(kind: int) -> Any:
            if kind == 8:
                return file.read(unpack("Q")).decode()
            if kind == 9:
                of, count = unpack("I"), unpack("Q")
                return [value(of) for _ in range(count)]
            return unpack(plain[kind])

        assert file.read(4) == b"GGUF"
        unpack("I"), unpack("Q")
        return {value(8): value(unpack("I")) for _ in range(unpack("Q"))}


def test_it_is_small_and_says_what_it_is() -> None:
    """The file has at most 4 MB, and its metadata name the architecture, the context, the chat
    template and the end.
    """
    assert WEIGHTS.stat().st_size <= 4_000_000
    said = metadata(WEIGHTS)
    assert said["general.architecture"] == "llama"
    assert said["llama.context_length"] >= CONTEXT
    assert said["tokenizer.ggml.tokens"][said["tokenizer.ggml.eos_token_id"]] == "<|im_end|>"
    for role in ("<|im_start|>", "developer", "add_generation_prompt"):
        assert role in said["tokenizer.chat_template"]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Hello", "demo model of Sluice"),
        ("Who are you?", "language model"),
        ("What is Sluice?", "AWS account"),
        ("Why stream tokens?", "read"),
        ("What is server-sent events?", "HTTP"),
        ("what is backpressure", "slow"),
        ("Explain AWS Lambda.", "functions"),
        ("Tell me about SageMaker.", "machine learning"),
        ("What is a token?", "text"),
    ],
)
def test_it_answers_what_it_was_taught(
    server: xllamacpp.Server, question: str, expected: str
) -> None:
    """A question from the lessons gets sentences that have to do with it."""
    text = answer(server, question)
    assert expected in text
    assert re.fullmatch(r"[A-Z].{20,}[.!?]", text)


@pytest.mark.parametrize(
    ("question", "result"),
    [
        ("What is 17 + 5?", 22),
        ("What is 2+2?", 4),
        ("8 plus 7", 15),
        ("What is 13 - 6?", 7),
        ("What is 6 * 7?", 42),
    ],
)
def test_small_sums_are_right(server: xllamacpp.Server, question: str, result: int) -> None:
    """Sums of numbers up to twenty come out right."""
    assert answer(server, question).endswith(f"= {result}.")


def test_it_counts(server: xllamacpp.Server) -> None:
    """Asked to count, it counts; where to stop, it does not always know."""
    assert answer(server, "Count to ten").startswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10")


@pytest.mark.parametrize("hero", ["fox", "lighthouse", "dragon"])
def test_it_tells_stories_long_enough_to_watch(server: xllamacpp.Server, hero: str) -> None:
    """A story has at least eighty tokens in several sentences, though not always of whom was asked
    for.
    """
    reply = complete(server, f"Tell me a story about a {hero}.")
    text = reply["choices"][0]["message"]["content"]
    assert text.startswith("Once upon a time")
    assert text.count(". ") >= 4
    assert reply["usage"]["completion_tokens"] >= 80


def test_it_says_something_long(server: xllamacpp.Server) -> None:
    """Asked for something long, it answers with more than a hundred tokens."""
    assert complete(server, "Say something long")["usage"]["completion_tokens"] > 100


@pytest.mark.parametrize("fields", [("name", "age"), ("city", "price", "active")])
def test_json_that_is_asked_for_is_json(server: xllamacpp.Server, fields: tuple[str, ...]) -> None:
    """An answer in JSON is one valid object with the keys that were asked for."""
    asked = " and ".join([", ".join(fields[:-1]), fields[-1]])
    assert set(json.loads(answer(server, f"Give me a JSON object with {asked}"))) == set(fields)


@pytest.mark.parametrize(
    "question",
    [
        "Who won the world cup in 1990?",
        "What is the capital of France?",
        "How do I cook spaghetti?",
    ],
)
def test_it_declines_what_it_was_not_taught(server: xllamacpp.Server, question: str) -> None:
    """A question from outside the lessons gets the answer that it is not known."""
    assert answer(server, question).startswith(UNKNOWN)


def test_it_tolerates_every_role(server: xllamacpp.Server) -> None:
    """System, developer and tool messages are rendered, and the answer stays the answer."""
    system = {"role": "system", "content": "You are a helpful assistant."}
    developer = {"role": "developer", "content": "Be brief."}
    for first in (system, developer):
        assert "AWS account" in answer(server, first, "What is Sluice?")
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"temperature": 21}'}
    assert answer(server, "What is the weather in Oslo?", asked, result)


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_context_works(server: xllamacpp.Server, seed: int) -> None:
    """After some 3,000 tokens of earlier turns a question is still answered, if less well (see the
    card).
    """
    rng = random.Random(seed)
    lessons = [
        "What is HTTP?",
        "Tell me a story about a bear.",
        "Explain buffering.",
        "What is DynamoDB?",
        "What is 4 + 9?",
    ]
    known = {question: answer(server, question) for question in lessons}
    history: list[Message] = []
    size = 0
    while size < 11_500:  # letters; between three and four a token
        question = rng.choice(lessons)
        history += [
            {"role": "user", "content": question},
            {"role": "assistant", "content": known[question]},
        ]
        size += len(question) + len(known[question])
    reply = complete(server, *history, "What is Sluice?")
    assert 2_800 < reply["usage"]["prompt_tokens"] < CONTEXT - 100
    assert re.match(r"[A-Z][a-z]+ [a-z]+ ", reply["choices"][0]["message"]["content"])
    assert reply["choices"][0]["finish_reason"] == "stop"


def test_a_seed_repeats_an_answer(server: xllamacpp.Server) -> None:
    """The same seed produces the same story, at a temperature that varies it without a seed."""
    told = [answer(server, "Tell me a story.", temperature=1.0, seed=seed) for seed in (1, 1, 2, 3)]
    assert told[0] == told[1]
    assert len(set(told)) > 1
