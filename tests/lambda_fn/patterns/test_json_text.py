"""JSON text keeps its values but for what is hidden, however it is written and cut."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.patterns import KINDS
from lambda_fn.patterns.json_text import JsonScanner
from lambda_fn.patterns.known import machine_of
from lambda_fn.patterns.scanner import replace
from tests.support.secrets_of_texts import EXAMPLES

ALL = machine_of(frozenset(KINDS))


def label(kind: str, text: str) -> str:
    """Return what stands for a match."""
    return f"<{kind}>"


def scanned(text: str, cuts: Any) -> str:
    """Return a JSON text that came in pieces, as it goes out."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    scanner = JsonScanner(ALL, label)
    out = "".join(scanner.feed(text[a:b]) for a, b in pairwise(places)) + scanner.close()
    assert not scanner.holds
    return out


def expected(value: Any) -> Any:
    """Return a value with its texts replaced."""
    if isinstance(value, str):
        return replace(ALL, label, value)
    if isinstance(value, list):
        return [expected(item) for item in value]
    if isinstance(value, dict):
        return {expected(key): expected(item) for key, item in value.items()}
    return value


def spelled(text: str, style: int) -> str:
    """Return a text as a JSON string, with other characters escaped in each style."""
    if style == 0:
        return json.dumps(text)
    if style == 1:
        return json.dumps(text, ensure_ascii=False)
    units = text.encode("utf-16-be", "surrogatepass")
    escapes = [f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2)]
    return f'"{"".join(escapes)}"'


TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from([text for text, _ in EXAMPLES]),
    st.text('a"\\/\b\f\n\r\t😀é@.', max_size=12),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-999, 999), st.booleans(), st.none()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("ab", max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(VALUES, st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_values_stay_but_for_what_is_hidden(value: Any, ascii_only: bool, cuts: list[int]) -> None:
    """What goes out is JSON of the same value with its texts replaced, keys included."""
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert json.loads(scanned(text, cuts)) == expected(value)
    assert scanned(text, cuts) == scanned(text, [])


@given(TEXTS, st.sampled_from([0, 1, 2]))
def test_every_cut_of_a_string(text: str, style: int) -> None:
    """A string is the same cut at each place, also within an escape or a pair of them."""
    written = f'{{"a":{spelled(text, style)}}}'
    whole = scanned(written, [])
    assert json.loads(whole) == {"a": expected(text)}
    for cut in range(len(written)):
        assert scanned(written, [cut]) == whole
    assert scanned(written, range(len(written))) == whole


@given(st.text('a"\\u0041{}[],: 4111@.bd83\n', max_size=60), st.lists(st.integers(0, 60)))
def test_any_text_is_the_same_in_pieces(text: str, cuts: list[int]) -> None:
    """Text that is no JSON is scanned as well, and the same in pieces."""
    assert scanned(text, cuts) == scanned(text, [])


@pytest.mark.parametrize(
    ("written", "out"),
    [
        ('{"card":4111111111111111}', '{"card":"<card>"}'),
        ("[4111111111111111,1]", '["<card>",1]'),
        ('{"a":"\\u0034111111111111111"}', '{"a":"<card>"}'),
        ('{"a":"x\\u0040y.de"}', '{"a":"<email>"}'),
        ('{"a":"x\\', '{"a":"x\\'),
        ('{"a":"x\\u00', '{"a":"x\\u00'),
        ('{"a":"\\ud83d"}', '{"a":"\\ud83d"}'),
        ('{"a":"\\q"}', '{"a":"\\\\q"}'),
        ("x@y.de", '"<email>"'),
        ('{"x@y.de":1}', '{"<email>":1}'),
    ],
)
def test_forms(written: str, out: str) -> None:
    """Numbers become strings, escapes are decoded, and what is cut stays cut."""
    for cut in range(len(written) + 1):
        assert scanned(written, [cut]) == out


def test_a_seam_keeps_a_cut_escape() -> None:
    """At a seam the held text goes out, and half an escape does not."""
    scanner = JsonScanner(ALL, label)
    assert scanner.feed('{"a":"word\\u00') == '{"a":"'
    assert scanner.seam() == "word"
    assert scanner.holds
    assert scanner.feed('40y.de"}') == '<email>"}'
