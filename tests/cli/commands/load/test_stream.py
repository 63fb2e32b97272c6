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


def test_tokens_of_a_chunk_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer's tokens are divided among its chunks by their characters.

    Two chunks of 2 and 6 characters and 8 tokens come 3 s apart: the second has six tokens, half a
    second apart.
    """
    found = stream([1.0, 4.0, 4.0, 4.0], monkeypatch)
    for piece in [chunk("ab"), chunk("cdefgh"), usage(8), DONE]:
        found.data(piece)
    tokens, chunks = Distribution(), Distribution()
    found.record.completion_tokens = 8
    found.count_gaps(tokens, chunks)
    assert (tokens.count, tokens.mean) == (6, 0.5)
    assert (chunks.count, chunks.mean) == (1, 3.0)


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
