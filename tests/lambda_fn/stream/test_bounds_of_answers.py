"""Bounds of a response: its size in memory, and the characters that reach a terminal."""

import json
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.dialects.sse import StreamDecoder
from lambda_fn.encode import ChatBody, CompletionBody, Head, PlainText
from lambda_fn.errors import ResponseTooLarge
from lambda_fn.events import Delta, End, Failure, Finish, Usage
from lambda_fn.settings import Settings, SettingsError

HEAD = Head("1", 1, "m", choices=8)
TOP = [
    {"token": f" word{number}", "logprob": -number / 3, "bytes": [*b" word", number]}
    for number in range(20)
]
LOGPROBS = msgspec.Raw(
    json.dumps({"content": [{**TOP[0], "top_logprobs": TOP}], "refusal": None}).encode()
)
DELTA = b'{"content":" word0"}'


def deltas() -> Iterator[Delta]:
    """Yield tokens of eight choices with log probabilities, until they pass the bound."""
    for number in range(limits.MAX_WHOLE // (len(LOGPROBS) + len(DELTA)) + 1):
        yield Delta(
            msgspec.Raw(bytes(DELTA)), number % 8, 1, msgspec.Raw(bytes(bytearray(LOGPROBS)))
        )


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody])
def test_a_whole_answer_is_bounded(kind: type[ChatBody] | type[CompletionBody]) -> None:
    """A response in one body fails once it passes the bound, and takes no more memory than that."""
    encoder = kind(HEAD)
    *held, last = deltas()
    tracemalloc.start()
    for delta in held:
        assert encoder.encode([delta]) == b""
    with pytest.raises(ResponseTooLarge, match="stream"):
        encoder.encode([last])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.5 * limits.MAX_WHOLE


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody])
def test_a_whole_answer_up_to_the_bound_is_given(
    kind: type[ChatBody] | type[CompletionBody],
) -> None:
    """A response just under the bound is whole. Its assembly takes at most four times its size."""
    encoder, all_deltas = kind(HEAD), list(deltas())[:-1]
    tracemalloc.start()
    for delta in all_deltas:
        encoder.encode([delta])
    answer = encoder.encode([*(Finish("stop", index) for index in range(8)), Usage(1, 1), End()])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * limits.MAX_WHOLE
    choices = json.loads(answer)["choices"]
    entries = [
        choice["logprobs"]["content" if kind is ChatBody else "tokens"] for choice in choices
    ]
    assert sum(map(len, entries)) == len(all_deltas)


@pytest.mark.parametrize(
    ("memory", "concurrency", "most"),
    [
        ("512", "", limits.MAX_WHOLE),
        ("128", "1", limits.MAX_WHOLE),
        ("512", "16", 2**22),
        ("2048", "64", 2**22),
    ],
)
def test_the_whole_answers_of_an_environment_are_bounded(
    memory: str, concurrency: str, most: int
) -> None:
    """All concurrent responses of an environment take at most half of its memory."""
    environment = {
        "AWS_REGION": "eu-west-1",
        "SLUICE_MODELS": '{"m":{"endpoint":"e","context_tokens":1}}',
        "SLUICE_USAGE_TABLE": "t",
        "SLUICE_ORIGIN_SECRET": "o",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory,
        "AWS_LAMBDA_MAX_CONCURRENCY": concurrency,
    }
    found = Settings.from_environment(environment).max_whole
    assert found == most
    assert limits.WHOLE_TIMES * found * int(concurrency or "1") <= int(memory) * 2**20 // 2
    with pytest.raises(SettingsError, match="AWS_LAMBDA_MAX_CONCURRENCY"):
        Settings.from_environment({**environment, "AWS_LAMBDA_MAX_CONCURRENCY": "0"})


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody])
def test_a_whole_answer_keeps_to_the_bound_that_it_is_given(
    kind: type[ChatBody] | type[CompletionBody],
) -> None:
    """A response fails at the bound of its environment, which the error names."""
    encoder = kind(Head("1", 1, "m", max_bytes=1000))
    delta = Delta(msgspec.Raw(msgspec.json.encode({"content": "x" * 400})))
    assert encoder.encode([delta, delta]) == b""
    with pytest.raises(ResponseTooLarge, match="over 1000 bytes"):
        encoder.encode([delta])


def test_bare_text_has_no_controls() -> None:
    """Bare text has only line feeds and tabs as control characters.

    So it cannot control a terminal.
    """
    said = "".join(map(chr, range(0x100))) + "\x1b]0;title\x07\x9b31mred"
    text = (
        PlainText(HEAD)
        .encode([Delta(msgspec.Raw(msgspec.json.encode({"content": said})))])
        .decode()
    )
    assert {
        character for character in text if ord(character) < 32 or 127 <= ord(character) < 160
    } == {"\n", "\t"}
    assert "red" in text
    assert "é" in text


@pytest.mark.parametrize("make", [LineDecoder, lambda: StreamDecoder(done=True)])
def test_a_record_in_small_parts_is_put_together_once(make: type[LineDecoder]) -> None:
    """A record in parts takes little more memory than its size. It is parsed once it is whole."""
    decoder = make()
    part = b"x" * 64
    tracemalloc.start()
    for _ in range(limits.MAX_LINE // len(part)):
        assert decoder.feed(part) == []
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * limits.MAX_LINE
    assert [type(event) for event in decoder.feed(part)] == [Failure]
