"""What an answer may hold: its size while it is put together, and the characters that reach a terminal."""

import json
import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest

from lambda_fn import limits
from lambda_fn.decode import LineDecoder
from lambda_fn.dialects.stream import StreamDecoder
from lambda_fn.encode import ChatBody, CompletionBody, Head, PlainText
from lambda_fn.errors import AnswerTooLarge
from lambda_fn.events import Delta, End, Failure, Finish, Usage

HEAD = Head("1", 1, "m", choices=8)
TOP = [{"token": f" word{number}", "logprob": -number / 3, "bytes": [*b" word", number]} for number in range(20)]
LOGPROBS = msgspec.Raw(json.dumps({"content": [{**TOP[0], "top_logprobs": TOP}], "refusal": None}).encode())
DELTA = b'{"content":" word0"}'


def deltas() -> Iterator[Delta]:
    """Give tokens of eight choices with twenty log probabilities each, until they pass the bound."""
    for number in range(limits.MAX_WHOLE // (len(LOGPROBS) + len(DELTA)) + 1):
        yield Delta(msgspec.Raw(bytes(DELTA)), number % 8, 1, msgspec.Raw(bytes(bytearray(LOGPROBS))))


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody])
def test_a_whole_answer_is_bounded(kind: type[ChatBody] | type[CompletionBody]) -> None:
    """An answer that is held until its end is refused once it passes the bound; until there it takes no more than that
    in memory.
    """
    encoder = kind(HEAD)
    *held, last = deltas()
    tracemalloc.start()
    for delta in held:
        assert encoder.encode([delta]) == b""
    with pytest.raises(AnswerTooLarge, match="stream"):
        encoder.encode([last])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1.5 * limits.MAX_WHOLE


@pytest.mark.parametrize("kind", [ChatBody, CompletionBody])
def test_a_whole_answer_up_to_the_bound_is_given(kind: type[ChatBody] | type[CompletionBody]) -> None:
    """Just under the bound the answer is whole, and putting it together takes at most four times its size."""
    encoder, all_deltas = kind(HEAD), list(deltas())[:-1]
    tracemalloc.start()
    for delta in all_deltas:
        encoder.encode([delta])
    answer = encoder.encode([*(Finish("stop", index) for index in range(8)), Usage(1, 1), End()])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 4 * limits.MAX_WHOLE
    choices = json.loads(answer)["choices"]
    entries = [choice["logprobs"]["content" if kind is ChatBody else "tokens"] for choice in choices]
    assert sum(map(len, entries)) == len(all_deltas)


def test_bare_text_has_no_controls() -> None:
    """Of control characters, bare text has line feeds and tabs only: no terminal is told to do anything."""
    said = "".join(map(chr, range(0x100))) + "\x1b]0;title\x07\x9b31mred"
    text = PlainText().encode([Delta(msgspec.Raw(msgspec.json.encode({"content": said})))]).decode()
    assert {character for character in text if ord(character) < 32 or 127 <= ord(character) < 160} == {"\n", "\t"}
    assert "red" in text
    assert "é" in text


@pytest.mark.parametrize("make", [LineDecoder, lambda: StreamDecoder(done=True)])
def test_a_record_in_small_parts_is_put_together_once(make: type[LineDecoder]) -> None:
    """A record that comes in parts is held in little more than its size, and read when it is whole."""
    decoder = make()
    part = b"x" * 64
    tracemalloc.start()
    for _ in range(limits.MAX_LINE // len(part)):
        assert decoder.feed(part) == []
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2 * limits.MAX_LINE
    assert [type(event) for event in decoder.feed(part)] == [Failure]
