"""The positions at which a fault cuts a response."""

from itertools import pairwise

import pytest

from local.faults.parts import Boundary, Cutting, Joined, OneByte


@pytest.mark.parametrize("size", [1, 5, 40])
def test_parts(size: int) -> None:
    """A fault's parts end where the fault says, at any cuts of the bytes.

    Joined, they are the bytes.
    """
    data = "".join(f'{{"n": {number}, "text": "ä😀"}}\n' for number in range(10)).encode()

    def parts(cutter: Cutting) -> list[bytes]:
        pieces = (data[at : at + size] for at in range(0, len(data), size))
        cut = [part for piece in pieces for part in cutter.cut(piece)]
        return [part for part in [*cut, cutter.rest()] if part]

    assert parts(OneByte()) == [data[at : at + 1] for at in range(len(data))]
    for after in range(1, len(data)):
        assert parts(Boundary(after)) == [data[:after], data[after:]]
    joined = parts(Joined(4))
    assert b"".join(joined) == data
    assert all(part.count(b"\n") >= 4 for part, _ in pairwise(joined))
