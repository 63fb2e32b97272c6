"""Markers of sources become annotations with the offsets of the content, however it is cut."""

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.events import Delta, End, Event, Finish
from lambda_fn.patterns.known import machine_of
from lambda_fn.schema.parts import Source
from lambda_fn.transform import Buffer, Transform, chain
from lambda_fn.transform.citations import Cite
from lambda_fn.transform.redaction import Redact, label

SOURCES = [
    Source("doc-1", "https://example.com/1", "One"),
    Source("2", "https://example.com/2"),
    Source("é", "https://example.com/3", "Three"),
]


def delta(text: str, index: int = 0) -> Delta:
    """Return a delta of content."""
    return Delta(msgspec.Raw(json.dumps({"content": text}).encode()), index, 1)


def run(transform: Transform, pieces: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Return the content of an answer and its annotations, which must follow their markers."""
    events: list[Event] = [*map(delta, pieces), Finish("stop"), End()]
    content, annotations = "", []
    for event in events:
        for out in transform.feed([event]):
            if not isinstance(out, Delta):
                continue
            fields = msgspec.json.decode(out.delta)
            content += fields.get("content", "")
            for it in fields.get("annotations", ()):
                assert it["end"] <= len(content)
                annotations.append(it)
    return content, annotations


def pieces_of(text: str, cuts: list[int]) -> list[str]:
    """Return a text in pieces."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return [text[a:b] for a, b in pairwise(places)]


def cited(text: str, annotations: list[dict[str, Any]]) -> list[tuple[str, int]]:
    """Return the text and the source of each annotation."""
    return [(text[it["start"] : it["end"]], it["source"]) for it in annotations]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("So [doc-1].", [("[doc-1]", 0)]),
        ("So 【é】 and [é].", [("【é】", 2), ("[é]", 2)]),
        ("😀[1][3]", [("[1]", 0), ("[3]", 2)]),  # by position
        ("[2]", [("[2]", 1)]),  # an id comes first
        ("[1, 3] and [1,9]", [("[1, 3]", 0), ("[1, 3]", 2), ("[1,9]", 0)]),
        ("【2†lines 3-4】", [("【2†lines 3-4】", 1)]),
        ("[[1]]", [("[1]", 0)]),
        ("[4] [0] [doc-9] [] [ [doc\n-1]", []),
        ("[1", []),
        ("1]", []),
    ],
)
def test_markers(text: str, found: list[tuple[str, int]]) -> None:
    """A marker names a source by its id or its position. The text stays as it is."""
    for cut in range(len(text) + 1):
        content, annotations = run(Cite(1, SOURCES), pieces_of(text, [cut]))
        assert content == text
        assert cited(content, annotations) == found
    assert cited(*run(Cite(1, SOURCES), list(text))) == found


TEXTS = st.lists(
    st.sampled_from(
        ["[1]", "[doc-1]", "【é】", "[", "]", "ada@example.com", " ", "So", "😀", ".\n"]
    ),
    max_size=12,
).map("".join)


@given(TEXTS, st.lists(st.integers(0, 99), max_size=6))
def test_the_same_annotations_however_a_text_is_cut(text: str, cuts: list[int]) -> None:
    """Pieces have the annotations of the whole."""
    assert run(Cite(1, SOURCES), pieces_of(text, cuts)) == run(Cite(1, SOURCES), [text])


@given(
    TEXTS,
    st.lists(st.integers(0, 99), max_size=6),
    st.sampled_from(["word", "sentence", "line", "json"]),
)
def test_offsets_are_those_of_the_text_that_goes_out(text: str, cuts: list[int], kind: str) -> None:
    """After redaction and before buffering, each annotation spans its marker in the final text."""
    transform = chain(
        Redact(1, machine_of(frozenset({"email"})), label), Cite(1, SOURCES), Buffer(kind, 1)
    )
    assert transform is not None
    content, annotations = run(transform, pieces_of(text, cuts))
    alone = run(Cite(1, SOURCES), [content])
    assert (content, annotations) == alone
    assert "ada@" not in content


def test_choices_are_apart() -> None:
    """Each choice has offsets of its own."""
    cite = Cite(2, SOURCES)
    out = cite.feed([delta("[1", 0), delta("x[1", 1), delta("]", 0), delta("]", 1)])
    found = [
        (it.index, msgspec.json.decode(it.delta)["annotations"][0]["start"])
        for it in out
        if isinstance(it, Delta) and bytes(it.delta).startswith(b'{"annotations":')
    ]
    assert found == [(0, 0), (1, 1)]


def test_other_deltas_pass() -> None:
    """A call, and a delta that is malformed, go on as they are."""
    events: list[Event] = [
        Delta(msgspec.Raw(it)) for it in (b'{"tool_calls":[]}', b'{"content":7}')
    ]
    assert Cite(1, SOURCES).feed(events) == events
