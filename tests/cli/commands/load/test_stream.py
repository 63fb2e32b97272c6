"""One request's record. tests/cli/commands/load/test_generator.py has it over connections."""

import pytest

from cli.commands.load.distribution import Distribution
from cli.commands.load.endings import Ending
from cli.commands.load.forms import FORMS
from cli.commands.load.plan import Ask, Planned
from cli.commands.load.stream import Record, Stream
from tests.support.lying_api import DONE, WHOLE, chunk, usage


def stream(moments: list[float], monkeypatch: pytest.MonkeyPatch) -> Stream:
    """Return a stream whose clock is at these moments, one for each time that it is read."""
    clock = iter([0.0, 0.0, *moments])
    last = [0.0]

    def monotonic() -> float:
        last[0] = next(clock, last[0])
        return last[0]

    monkeypatch.setattr("cli.commands.load.stream.time.monotonic", monotonic)
    found = Stream(Planned(0, 0.0, Ask("x", 9)), Record(0, "normal", -1.0), FORMS["chat"])
    found.status(200, {"x-request-id": "req_1"})
    return found


def test_figures_of_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first token counts from the planned moment, and those after it from the first."""
    found = stream([1.0, 1.5, 2.0, 3.0, 3.0, 3.0], monkeypatch)
    for piece in [chunk("ab"), chunk("cd"), chunk("ef"), *WHOLE[-3:-2], usage(5), DONE]:
        found.data(piece)
    found.ended(whole=True)
    record = found.record
    assert record.ending == Ending("complete")
    assert (record.ttft, record.itl, record.longest_gap) == (2.0, 0.25, 0.5)
    assert (record.chunks, record.tokens, record.request_id) == (3, 5, "req_1")


@pytest.mark.parametrize(
    ("texts", "count", "gaps"),
    [
        # each chunk has a token, and five of the six others are those of the longer one
        (["a", "bcdef"], 8, [0.5] * 6),
        # as many tokens as chunks: long words have one token each, too
        (["a", "bcdefghijk", "l", "mn"], 4, [3.0, 3.0, 3.0]),
        # a token that comes in two chunks ends with the second, after 6 s
        (["ab", "c", "d", "ef"], 3, [6.0, 3.0]),
    ],
)
def test_tokens_of_a_chunk_are_counted(
    monkeypatch: pytest.MonkeyPatch, texts: list[str], count: int, gaps: list[float]
) -> None:
    """A chunk has a token, and more by its characters if the answer has more. Chunks are 3 s apart.

    Where there are as many tokens as chunks, both distributions are the same.
    """
    times = [1.0 + 3.0 * number for number in range(len(texts))]
    found = stream([*times, times[-1], times[-1]], monkeypatch)
    for piece in [*map(chunk, texts), usage(count), DONE]:
        found.data(piece)
    found.record.completion_tokens = count
    tokens, chunks = Distribution(), Distribution()
    found.count_gaps(tokens, chunks)
    assert (chunks.count, chunks.mean) == (len(texts) - 1, 3.0)
    assert (tokens.count, tokens.total) == (len(gaps), sum(gaps))
    assert (tokens.minimum, tokens.maximum) == (min(gaps), max(gaps))
    if count == len(texts):
        assert tokens.figures() == chunks.figures()


def test_without_usage_a_chunk_is_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer without usage has as many tokens as chunks."""
    found = stream([1.0, 2.0], monkeypatch)
    found.data(chunk("a"))
    found.data(chunk("bcd"))
    tokens, chunks = Distribution(), Distribution()
    found.count_gaps(tokens, chunks)
    assert tokens.count == chunks.count == 1


def test_only_the_first_end_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the end, as the loss of the connection, changes nothing."""
    found = stream([1.0], monkeypatch)
    found.leave("late")
    found.ended(whole=False)
    found.unreachable("x")
    assert found.record.ending == Ending("slow", "late")


class Left:
    """An exchange that notes that it was left."""

    def __init__(self) -> None:
        self.left = 0

    def leave(self) -> None:
        self.left += 1


def numbered(text: str, number: int) -> bytes:
    """Return a chunk with its wire number."""
    return chunk(text).replace(b"}\n\n", b',"sluice":{"n":%d}}\n\n' % number)


def resumer() -> tuple[Stream, Left]:
    """Return the stream of a client that leaves after two chunks, and its exchange."""
    found = Stream(
        Planned(0, 0.0, Ask("x", 9), "resumer", 2), Record(0, "resumer", 0.0), FORMS["chat"]
    )
    exchange = Left()
    found.attach(exchange)
    found.status(200, {"x-request-id": "req_1", "x-sluice-stream": "01h"})
    return found, exchange


def address(stream: Stream) -> str | None:
    """Return where a client gets the rest now."""
    return stream.resumed_at


def test_a_resumer_comes_back_for_the_rest() -> None:
    """It leaves once, behind all that it has read, and its answer is whole over both responses."""
    found, exchange = resumer()
    assert address(found) is None
    found.data(numbered("a", 1) + numbered("b", 2) + numbered("c", 3) + b'data: {"choi')
    assert exchange.left == 1
    assert address(found) == "/sluice/streams/01h?starting_after=3"
    found.resume()
    assert address(found) is None
    found.status(200, {"x-request-id": "req_2", "x-sluice-stream": "01h"})
    for piece in (numbered("d", 4), *WHOLE[-3:-2], usage(4), DONE):
        found.data(piece)
    found.ended(whole=True)
    record = found.record
    assert (record.ending, record.chunks, record.characters) == (Ending("complete"), 4, 4)
    assert (record.request_id, record.resumed, record.is_timed) == ("req_1", True, False)
    assert exchange.left == 1


def test_an_answer_that_cannot_be_resumed_is_read_to_its_end() -> None:
    """Without numbers, or once its end has come, a resumer does not leave."""
    found, exchange = resumer()
    found.data(chunk("a") + chunk("b"))
    assert exchange.left == 0
    found, exchange = resumer()
    found.data(numbered("a", 1) + numbered("b", 2) + WHOLE[-3] + usage(2) + DONE)
    found.ended(whole=True)
    assert exchange.left == 0
    assert found.record.ending == Ending("complete")


def test_a_resume_that_is_refused() -> None:
    """The answer ends with the status of the second response."""
    found, _ = resumer()
    found.data(numbered("a", 1) + numbered("b", 2))
    found.resume()
    found.status(404, {})
    found.data(b'{"error":{"code":"response_not_found"}}')
    found.ended(whole=True)
    assert found.record.ending == Ending("refused", "404 response_not_found")
