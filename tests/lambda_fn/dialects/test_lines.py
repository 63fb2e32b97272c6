"""The buffer of lines: any cuts give the same lines, in linear time and within the limit."""

from itertools import pairwise
from time import thread_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn import dialects, limits
from lambda_fn.dialects.lines import MALFORMED_RECORD, Choices, LineBuffer, is_one_line_of_text
from lambda_fn.events import Delta, Failure

LIMIT = 10


def lines_of(data: bytes, cuts: list[int]) -> tuple[list[bytes], bytes, bool]:
    """Feed bytes that are cut at the given positions.

    Return the lines, the rest, and whether a line was too long.
    """
    buffer = LineBuffer()
    lines: list[bytes] = []
    for start, end in pairwise([0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]):
        lines += buffer.feed(data[start:end])
        if buffer.too_long:
            return lines, b"", True
    return lines, bytes(buffer.rest), False


@given(
    data=st.text("ab\n\r ", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(0, 60), max_size=20),
)
def test_cuts_change_nothing(data: bytes, cuts: list[int]) -> None:
    """The lines are those of `split`, up to the first one over the limit, at any cuts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "MAX_LINE", LIMIT)
        lines, rest, too_long = lines_of(data, cuts)
        assert (lines, rest, too_long) == lines_of(data, [])
    *whole, last = data.split(b"\n")
    kept = [
        line for number, line in enumerate(whole) if max(map(len, whole[: number + 1])) <= LIMIT
    ]
    assert lines == kept
    assert too_long == (max(map(len, [*whole, last])) > LIMIT)
    assert too_long or rest == last


@pytest.mark.parametrize("dialect", dialects.DIALECTS)
@pytest.mark.parametrize("more", [0, 1])
def test_a_record_of_the_limit_is_read_however_it_is_cut(dialect: str, more: int) -> None:
    """A line of `MAX_LINE` bytes is read, and one of a byte more is malformed.

    It makes no difference whether it arrives in one piece or in two.
    """
    start, end = {
        "sluice": (b'{"type":"delta","delta":{"content":"', b'"}}'),
        "openai": (b'data: {"choices":[{"delta":{"content":"', b'"}}]}'),
    }.get(dialect, (b'{"choices":[{"delta":{"content":"', b'"}}]}'))
    line = start + b"x" * (limits.MAX_LINE + more - len(start) - len(end)) + end
    for pieces in ([line + b"\n"], [line, b"\n"], [line[:-1], line[-1:] + b"\n"]):
        decoder = dialects.find(dialect).decoder(1)
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert (events == [MALFORMED_RECORD]) == bool(more)
        assert isinstance(events[-1], Failure if more else Delta)


def test_time_is_linear_in_the_bytes() -> None:
    """Time is linear in the bytes.

    The longest line is fed in pieces of 16 bytes. Joining it again for each piece would copy 500
    GB.
    """
    buffer, piece = LineBuffer(), b"x" * 16
    began = thread_time()
    for _ in range(limits.MAX_LINE // len(piece)):
        assert buffer.feed(piece) == []
    assert buffer.feed(b"\n") == [piece * (limits.MAX_LINE // len(piece))]
    assert thread_time() - began < 20  # it takes a tenth of a second


@pytest.mark.parametrize(
    ("data", "passable"),
    [(b"", True), ("é\n🚰".encode(), True), (b"a\rb", False), (b"\xff", False), (b"\xc3", False)],
)
def test_what_may_be_passed_on_unread(data: bytes, passable: bool) -> None:
    """UTF-8 without a carriage return may be passed on unread."""
    assert is_one_line_of_text(data) == passable


def test_a_choice_that_was_not_requested() -> None:
    """Only indexes of requested choices are accepted. All choices are unfinished at first."""
    choices = Choices(2)
    assert choices.unfinished == {0, 1}
    choices.check(1)
    with pytest.raises(ValueError, match="not requested"):
        choices.check(2)
