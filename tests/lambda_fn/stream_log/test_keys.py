"""Keys of the table's items: their order, their ranges and their versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.constructs import stream_table
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log import keys
from tests.support.stream_logs import Ground

NUMBERS = st.integers(0, 10**10 - 1)


@given(NUMBERS, NUMBERS)
def test_segments_have_the_order_of_their_events(first: int, second: int) -> None:
    """Sort keys compare as the numbers in them, and give them back."""
    one, two = keys.segment_sort(first), keys.segment_sort(second)
    assert (one < two) == (first < second)
    assert keys.segment_number({"sk": one}) == first


@pytest.mark.parametrize("prefix", [*keys.PREFIXES, ""])
def test_a_public_id_names_its_response(prefix: str) -> None:
    """An id is found with the prefix of its form, and without one."""
    request_id = new_request_id()
    assert keys.response_id(prefix + request_id) == request_id


async def test_each_range_holds_its_own_items(ground: Ground) -> None:
    """The ranges of a partition do not overlap, whatever else is in it."""
    rid = ground.response_id
    groups = {
        "head": [keys.head_key(rid), keys.reader_key(rid, 0), keys.reader_key(rid, 3)],
        "input": [keys.body_key(rid, "input", 0), keys.body_key(rid, "input", 10)],
        "inputs": [keys.body_key(rid, "inputs", 0)],
        "segments": [keys.segment_key(rid, 0), keys.segment_key(rid, 9), keys.segment_key(rid, 10)],
        "parts": [keys.part_key(rid, 9, "w", 0), keys.part_key(rid, 9, "w", 1)],
        "other": [keys.part_key(rid, 9, "v", 0), keys.part_key(rid, 10, "w", 0)],
    }
    for group in groups.values():
        for key in group:
            await ground.table.put({**key, **keys.VERSIONED})
    ranges = {
        "head": keys.head_range(rid),
        "input": keys.body_range(rid, "input"),
        "segments": keys.segment_range(rid, 0),
        "parts": keys.part_range(rid, 9, "w"),
    }
    for name, query in ranges.items():
        found = [item["sk"] async for item in ground.table.query_all(query, consistent=True)]
        assert found == [key["sk"] for key in groups[name]], name
    later = [item["sk"] async for item in ground.table.query_all(keys.segment_range(rid, 9))]
    assert later == [key["sk"] for key in groups["segments"][1:]]
    [last] = (await ground.table.query(keys.last_segment(rid))).items
    assert keys.segment_number(last) == 10


def test_items_of_a_later_deployment_are_told() -> None:
    """An item of a version that this code does not know is not read as if it were known."""
    item = {"pk": "R#x", "sk": "HEAD", "v": keys.READABLE}
    keys.check_version(item)
    with pytest.raises(keys.UnknownVersion, match="R#x HEAD has version"):
        keys.check_version({**item, "v": keys.READABLE + 1})


def test_the_index_projects_what_lists_show() -> None:
    """The index is made with attributes of a head."""
    assert {*keys.OWNERS_INDEX_KEY, *keys.OWNERS_PROJECTED, keys.TTL} <= keys.HEAD.keys()
    assert (stream_table.INDEX, stream_table.PROJECTED) == (
        keys.OWNERS_INDEX,
        keys.OWNERS_PROJECTED,
    )
