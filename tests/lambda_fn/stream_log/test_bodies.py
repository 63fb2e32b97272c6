"""Bodies are deflated into parts that fit items, and read back whole or not at all."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.stream_log import keys
from lambda_fn.stream_log.bodies import Incomplete, deflated, inflated, read_body, write_body
from tests.support.stream_logs import NOW, Ground

EXPIRES = int(NOW) + 60


def incompressible(size: int) -> bytes:
    """Return bytes that stay as large when they are deflated."""
    return random.Random(size).randbytes(size)


@pytest.mark.parametrize("size", [0, 1, keys.MAX_PART, 2 * keys.MAX_PART + 1])
async def test_a_body_comes_back(ground: Ground, size: int) -> None:
    """A body is read back from parts that each fit an item, in their order."""
    data = incompressible(size)
    count = await write_body(ground.table, ground.response_id, "input", data, expires=EXPIRES)
    items = ground.items("B#input#")
    assert len(items) == count
    assert all(item.keys() == keys.BODY.keys() for item in items)
    assert max(len(item["body"]) for item in items) <= keys.MAX_PART
    read = await read_body(ground.table, ground.response_id, "input", {"input": count})
    assert read == data


async def test_a_repeated_write_changes_nothing(ground: Ground) -> None:
    """A write whose answer was lost may be repeated."""
    for _ in range(2):
        await write_body(ground.table, ground.response_id, "head", b"{}", expires=EXPIRES)
    assert len(ground.items("B#")) == 1


async def test_a_name_that_the_head_does_not_have_is_no_body(ground: Ground) -> None:
    """A body that a head does not name yet is not read."""
    await write_body(ground.table, ground.response_id, "input", b"x", expires=EXPIRES)
    assert await read_body(ground.table, ground.response_id, "input", {}) is None


async def test_a_missing_part_is_told(ground: Ground) -> None:
    """A body without one of its parts is not read."""
    data = incompressible(keys.MAX_PART + 1)
    count = await write_body(ground.table, ground.response_id, "input", data, expires=EXPIRES)
    await ground.table.delete(keys.body_key(ground.response_id, "input", 1))
    with pytest.raises(Incomplete, match="1 of 2 parts"):
        await read_body(ground.table, ground.response_id, "input", {"input": count})


@given(st.binary(max_size=2_000), st.data())
def test_cut_or_changed_bytes_are_told(data: bytes, draw: st.DataObject) -> None:
    """What was cut or changed is never taken for a text."""
    packed = b"".join(deflated(data))
    assert inflated(packed) == data
    at = draw.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(Incomplete):
        inflated(packed[:at])
    changed = bytearray(packed)
    changed[at] ^= 0xFF
    with contextlib.suppress(Incomplete):
        assert inflated(bytes(changed)) == data


def test_a_text_that_inflates_without_end_is_told() -> None:
    """A text over the maximum is refused, and no more than the maximum is ever inflated."""
    packed = b"".join(deflated(bytes(1_001)))
    assert inflated(packed, 1_002) == bytes(1_001)
    with pytest.raises(Incomplete, match="too large"):
        inflated(packed, 1_000)
