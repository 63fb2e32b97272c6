"""Segments: the events of a response as a compact text, and as items.

The text is a JSON array. A string is the value of a delta's only member, `content` or
`reasoning_content`; this takes some 8 bytes for a token. The object of an event stands for any
other event. An array `[index, form, tokens]` describes the strings after it: their choice, their
form in `_FORMS`, and the tokens of each. `[0, 1, 1]` is implied at the beginning of a segment. Each
delta is read as the very bytes that were written, white space included, because clients get these
bytes.
"""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat
from operator import attrgetter, is_
from typing import Any, cast

import msgspec

from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import Table
from lambda_fn.events import NULL, Delta, Event
from lambda_fn.stream_log.bodies import Incomplete, inflated
from lambda_fn.stream_log.keys import (
    MAX_PART,
    VERSIONED,
    check_version,
    part_key,
    part_range,
    segment_key,
    segment_number,
)

_FORMS = (
    b'{"content": ',
    b'{"content":',
    b'{"reasoning_content": ',
    b'{"reasoning_content":',
)
"""What stands before the text of a delta. A form that begins with another one comes first."""
_BEGIN = (0, 1, 1)
_OPENING = _FORMS[1] + b'"'
_BETWEEN = b'"},' + _OPENING
_WORTH_DEFLATING = 900
"""Bytes from which a segment is deflated. A smaller item costs one write unit anyway."""
_index_and_tokens = attrgetter("index", "tokens")
_logprobs, _delta = attrgetter("logprobs"), attrgetter("delta")
_json = msgspec.json.encode
_elements = msgspec.json.Decoder(list[msgspec.Raw])
_event = msgspec.json.Decoder(Event)
_state = msgspec.json.Decoder(tuple[int, int, int])


class Segment(msgspec.Struct, frozen=True):
    """Events of one write, and the raw counts of tokens until there."""

    number: int
    events: list[Event]
    writer: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_end: bool = False

    @property
    def next(self) -> int:
        """The number of the event that follows the last one."""
        return self.number + len(self.events)


def dump(events: Iterable[Event]) -> bytes:
    """Return events as compact text. `load` is its inverse."""
    events = [*events]
    begin, end = 0, len(events)
    while begin < end and type(events[begin]) is not Delta:
        begin += 1
    while begin < end and type(events[end - 1]) is not Delta:
        end -= 1
    plain = _plain(cast("list[Delta]", events[begin:end]))
    if plain is None:
        return _dump(events)
    return b"[%b]" % b",".join((*map(_json, events[:begin]), plain, *map(_json, events[end:])))


def _plain(deltas: list[Delta]) -> bytes | None:
    """Return the strings of deltas that are all as `_BEGIN` says, as those of most segments are.

    Return None for others. Without the escaped ones, each quotation mark belongs to one of the
    deltas' beginnings and ends. So none has another member or white space.
    """
    # No loop of our own: each step of one counts in a process that sleeps between tokens.
    if set(map(type, deltas)) != {Delta} or set(map(_index_and_tokens, deltas)) != {(0, 1)}:
        return None
    if not all(map(is_, map(_logprobs, deltas), repeat(NULL))):
        return None
    data, size = _json([*map(_delta, deltas)]), len(deltas)
    marks = data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data
    if (
        marks.count(b'"') != 4 * size
        or data.count(_BETWEEN) != size - 1
        or not data.startswith(b"[" + _OPENING)
        or not data.endswith(b'"}]')
    ):
        return None
    return data[len(_OPENING) : -2].replace(_BETWEEN, b'","')


def _dump(events: list[Event]) -> bytes:
    out: list[bytes] = []
    index, form, tokens = state = _BEGIN
    opening = _FORMS[form] + b'"'
    for event in events:
        if type(event) is not Delta:
            out.append(_json(event))
            continue
        raw = bytes(event.delta)
        if (
            raw.startswith(opening)
            and raw.find(b'"', len(opening)) == len(raw) - 2
            and event.logprobs is NULL
            and event.tokens == tokens
            and event.index == index
            and raw[-1] == 0x7D  # a brace
        ):  # nearly every token is as the one before it
            out.append(raw[len(opening) - 1 : -1])
            continue
        found = _text(event, raw)
        if found is None:
            out.append(_json(event))
            continue
        form, text = found
        needed = (event.index, form, event.tokens)
        if needed != state:
            index, _, tokens = state = needed
            opening = _FORMS[form] + b'"'
            out.append(b"[%d,%d,%d]" % needed)
        out.append(text)
    return b"[" + b",".join(out) + b"]"


def _text(event: Delta, raw: bytes) -> tuple[int, bytes] | None:
    """Return the form of a delta and the JSON string in it, or None if it has another form."""
    if event.logprobs is not NULL:
        return None
    for form, opening in enumerate(_FORMS):
        if raw.startswith(opening):
            text = raw[len(opening) : -1]
            if text[:1] != b'"' or raw[-2:] != b'"}':
                return None
            return (form, text) if b'"' not in text[1:-1] or _is_string(text) else None
    return None


def _is_string(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=str)
    except msgspec.DecodeError:
        return False
    return True


def load(data: bytes) -> list[Event]:
    """Return the events of a compact text. Raises Incomplete if it is malformed."""
    return list(events_of(data))


def events_of(data: bytes) -> Iterator[Event]:
    """Yield the events of a compact text, one by one. Raises Incomplete where it is malformed."""
    index, opening, tokens = 0, _FORMS[1], 1
    try:
        for raw in _elements.decode(data):
            element = bytes(raw)
            if element[0] == 0x22:  # a string
                yield Delta(msgspec.Raw(opening + element + b"}"), index, tokens)
            elif element[0] == 0x5B:  # an array
                index, form, tokens = _state.decode(element)
                opening = _FORMS[form]
            else:
                yield _event.decode(element)
    except (msgspec.DecodeError, IndexError):
        raise Incomplete("a segment is malformed") from None


def items(response_id: str, segment: Segment, *, expires: int) -> list[Item]:
    """Return the items of a segment in the order in which they are put: the segment comes last."""
    data = dump(segment.events)
    item: Item = {
        **segment_key(response_id, segment.number),
        **VERSIONED,
        "w": segment.writer,
        "n": len(segment.events),
        "p": segment.prompt_tokens,
        "t": segment.completion_tokens,
        "expires": expires,
    }
    if segment.is_end:
        item["end"] = True
    if len(data) >= _WORTH_DEFLATING and len(packed := _deflated(data)) < len(data):
        data = packed
        item["z"] = True
    if len(data) <= MAX_PART:
        return [{**item, "d": data}]
    parts = [data[at : at + MAX_PART] for at in range(0, len(data), MAX_PART)]
    return [
        *(
            {
                **part_key(response_id, segment.number, segment.writer, place),
                **VERSIONED,
                "d": part,
                "expires": expires,
            }
            for place, part in enumerate(parts)
        ),
        {**item, "parts": len(parts)},
    ]


def _deflated(data: bytes) -> bytes:
    """Return a text deflated with a window of 8 kB and small tables.

    zlib clears its tables each time. The usual ones have 256 kB, which takes several times as long
    as to deflate a segment, and makes it no smaller.
    """
    deflating = zlib.compressobj(1, wbits=13, memLevel=6)
    return deflating.compress(data) + deflating.flush()


async def read(table: Table, response_id: str, item: Mapping[str, Any]) -> Segment:
    """Return the segment of an item. Its parts are read if it has any.

    Raises:
        Incomplete: a part is missing, or the events are malformed.
        UnknownVersion: a later deployment wrote it.
        MeterUnavailable: DynamoDB did not answer.

    """
    events = load(await text_of(table, response_id, item))
    if len(events) != item["n"]:
        raise Incomplete(f"a segment has {len(events)} of {item['n']} events")
    return Segment(
        segment_number(item), events, item["w"], item["p"], item["t"], bool(item.get("end"))
    )


async def text_of(table: Table, response_id: str, item: Mapping[str, Any]) -> bytes:
    """Return the compact text of an item's segment. Raises as `read`."""
    check_version(item)
    data: bytes | None = item.get("d")
    if data is None:
        query = part_range(response_id, segment_number(item), item["w"])
        parts = [part["d"] async for part in table.query_all(query, consistent=True)]
        if len(parts) != item["parts"]:
            raise Incomplete(f"a segment has {len(parts)} of {item['parts']} parts")
        data = b"".join(parts)
    return inflated(data) if item.get("z") else data
