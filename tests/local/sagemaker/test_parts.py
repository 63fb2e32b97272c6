"""The positions at which a container's response is cut into payload parts."""

from hypothesis import given
from hypothesis import strategies as st

from local.sagemaker.parts import Cutter


@given(st.lists(st.binary(max_size=50), max_size=20), st.integers())
def test_cutter_loses_nothing(reads: list[bytes], seed: int) -> None:
    """The pieces add up to the bytes, and none is empty. The same seed cuts at the same places."""
    pieces = [list(Cutter(seed).cut(read)) for read in reads]
    assert b"".join(piece for some in pieces for piece in some) == b"".join(reads)
    assert all(piece for some in pieces for piece in some)
    cutter, again = Cutter(seed), Cutter(seed)
    assert [list(cutter.cut(read)) for read in reads] == [list(again.cut(read)) for read in reads]


def test_cutter_cuts() -> None:
    """About every fourth read is cut in two."""
    cutter = Cutter(1)
    cut = sum(len(list(cutter.cut(b"0123456789"))) == 2 for _ in range(1000))
    assert 200 < cut < 300
