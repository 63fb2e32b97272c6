"""Segments are compact, and give back the events that were put in, byte by byte."""

import asyncio
import base64
import json
import random
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.aws.dynamodb import Query
from lambda_fn.errors import UpstreamFailed
from lambda_fn.event_log import failed_by
from lambda_fn.events import NULL, Delta, End, Event, Finish, Start, Usage
from lambda_fn.stream_log import keys, segments
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.segments import Segment, dump, load
from tests.support.units import item_size

TEXTS = st.text(max_size=12) | st.sampled_from(
    ['"', "\\", '","x":"', "\n\n", "data: [DONE]", "é\u2028"]
)
MEMBERS = st.sampled_from(["content", "reasoning_content", "refusal", "tool_calls", "role"])
OBJECTS = st.dictionaries(MEMBERS, TEXTS | st.none() | st.lists(TEXTS, max_size=2), max_size=3)


@st.composite
def deltas(draw: st.DrawFn) -> Delta:
    """Return a delta as some server writes it."""
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    text = json.dumps(draw(OBJECTS), separators=separators, ensure_ascii=draw(st.booleans()))
    logprobs = draw(st.sampled_from([NULL, NULL, msgspec.Raw(b'{"content": [ ]}')]))
    return Delta(
        msgspec.Raw(text.encode()), draw(st.integers(0, 3)), draw(st.integers(0, 3)), logprobs
    )


EVENTS = st.lists(
    st.one_of(
        deltas(),
        deltas(),
        st.just(Start(4)),
        st.builds(Finish, TEXTS, st.integers(0, 3)),
        st.just(Usage(4, 2, 1, 1)),
        st.just(End()),
        st.just(failed_by(UpstreamFailed("m"))),
    )
)


@given(EVENTS)
def test_events_come_back(events: list[Event]) -> None:
    """What is loaded equals what was dumped, and has the same bytes."""
    loaded = load(dump(events))
    assert loaded == events
    assert msgspec.json.encode(loaded) == msgspec.json.encode(events)


NEARLY_PLAIN = st.lists(
    st.sampled_from(
        [
            *([Delta(msgspec.Raw(b'{"content":" a"}'), 0, 1)] * 4),
            Delta(msgspec.Raw(b'{"content":""}'), 0, 1),
            *(
                Delta(msgspec.Raw(raw), 0, 1)
                for raw in (
                    b"{}",
                    b'{"content":"a" }',
                    b'{"content": "a"}',
                    b'{"content":"\\"},{\\""}',
                    b'{"content":"\\"},{\\"content\\":\\"b"}',
                    b'{"content":"\\n"}',
                    b'{"content":"\\\\"}',
                    b'{"content":"\\\\\\""}',
                    b'{"\\\\content":"a"}',
                    b'{"conte\\u006et":"a"}',
                    b'{"content":null}',
                    b'{"content":"a","refusal":"b"}',
                    b'{"a":[{"content":"a"},{"content":"b"}]}',
                    b'{"refusal":"a"}',
                )
            ),
            Start(4),
            Finish("stop"),
            Delta(msgspec.Raw(b'{"content":" a"}'), 1, 1),
            Delta(msgspec.Raw(b'{"content":" a"}'), 0, 2),
            Delta(msgspec.Raw(b'{"content":" a"}'), 0, 1, msgspec.Raw(b'{"content":[]}')),
        ]
    ),
    max_size=5,
)


@given(NEARLY_PLAIN)
def test_deltas_that_are_nearly_plain_come_back(events: list[Event]) -> None:
    """Deltas that are written all at once, and those that only look like them, come back.

    Their text is the same as when they are written one by one.
    """
    assert dump(events) == segments._dump(events)
    assert msgspec.json.encode(load(dump(events))) == msgspec.json.encode(events)


def test_a_token_takes_few_bytes() -> None:
    """A token of five letters takes eight bytes, and a switch of the choice nine more."""
    one = Delta(msgspec.Raw(b'{"content":"hello"}'), 0, 1)
    assert len(dump([one] * 100)) == 801
    other = msgspec.structs.replace(one, index=1)
    assert len(dump([one, other] * 50)) == 801 + 99 * len("[0,1,1],")


@given(st.binary(max_size=40))
def test_malformed_text_is_told(data: bytes) -> None:
    """Whatever stands in a segment, it is read as events or as incomplete."""
    try:
        events = load(data)
    except Incomplete:
        return
    assert isinstance(events, list)


def noise_of(size: int) -> str:
    """Return a text that hardly gets shorter by deflating."""
    return base64.b64encode(random.Random(1).randbytes(size)).decode()[:size]


class Parts:
    """A table that has the items of segments."""

    def __init__(self, items: list[dict[str, Any]]) -> None:
        """Keep the items."""
        self.items = items

    async def query_all(self, query: Query, *, consistent: bool) -> Any:
        """Yield the items of a query by a prefix."""
        assert consistent
        prefix = query.values[":prefix"]
        for item in sorted(self.items, key=lambda it: it["sk"]):
            if item["sk"].startswith(prefix):
                yield item


def read(items: list[dict[str, Any]]) -> Segment:
    """Return the segment of some items."""
    table: Any = Parts(items)
    return asyncio.run(segments.read(table, "r", items[-1]))


@pytest.mark.parametrize("size", [10, 2_000, 700_000, 3_900_000])
def test_any_size_fits_items(size: int) -> None:
    """A segment of any size is put into items below DynamoDB's limit, and comes back."""
    delta = msgspec.Raw(msgspec.json.encode({"content": noise_of(size)}))
    segment = Segment(7, [Start(3), Delta(delta, 0, 5)], "w", 3, 5)
    items = segments.items("r", segment, expires=9)
    assert all(_size(item) < 400_000 for item in items)
    assert read(items) == segment
    assert {item["expires"] for item in items} == {9}
    if len(items) > 1:
        with pytest.raises(Incomplete):
            read(items[1:])


def test_parts_of_another_writer_are_not_read() -> None:
    """Parts that a fenced producer has left do not get into the segment of another one."""
    noise = msgspec.json.encode(noise_of(500_000))
    big = [Delta(msgspec.Raw(b'{"content":%b}' % noise), 0, 1, msgspec.Raw(noise))]
    left = segments.items("r", Segment(0, [*big, *big], "a"), expires=9)
    own = segments.items("r", Segment(0, [Start(1), *big, *big], "b"), expires=9)
    assert len(left) > 1
    assert read([*left[:-1], *own]) == Segment(0, [Start(1), *big, *big], "b")


def test_long_segments_are_deflated() -> None:
    """Log probabilities, which are long, are deflated; a segment under 1 kB is not."""
    entry = b'{"token":"a","logprob":-0.5,"bytes":[97],"top_logprobs":[]}'
    delta = Delta(msgspec.Raw(b'{"content":"a"}'), 0, 1, msgspec.Raw(b'{"content":[%b]}' % entry))
    [short] = segments.items("r", Segment(0, [delta] * 5, "w"), expires=9)
    [long] = segments.items("r", Segment(0, [delta] * 25, "w"), expires=9)
    assert "z" not in short
    assert long["z"] is True
    assert _size(long) < 500
    assert read([long]).events == [delta] * 25


def test_a_later_version_is_not_read() -> None:
    """A segment of a later deployment raises."""
    [item] = segments.items("r", Segment(0, [End()], "w"), expires=9)
    with pytest.raises(keys.UnknownVersion):
        read([{**item, "v": keys.READABLE + 1}])


def _size(item: Mapping[str, Any]) -> int:
    return item_size({name: value for name, value in item.items() if name != "d"}) + len(
        item.get("d", b"")
    )


def test_keys_sort_as_numbers() -> None:
    """Keys of segments sort as their numbers do."""
    numbers = [0, 9, 10, 99_999, 123_456_789]
    sort_keys = [keys.segment_sort(number) for number in numbers]
    assert sort_keys == sorted(sort_keys)
    assert [keys.segment_number({"sk": it}) for it in sort_keys] == numbers
    assert all(it < f"{keys.SEGMENT_PREFIX}~" for it in sort_keys)
