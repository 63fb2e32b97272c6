"""A text has the same matches however it is cut, and nothing is held longer than a match can be."""

import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import machine_of, own_pattern, own_words
from lambda_fn.patterns.machine import Machine
from lambda_fn.patterns.scanner import Scanner, replace
from tests.support.secrets_of_texts import EXAMPLES

ALL = machine_of(frozenset(KINDS))
OWN = Machine(
    [
        own_pattern("order", r"\bORD-[0-9]{2,8}\b"),
        own_pattern("ab", "(ab){1,3}a?|b{2}"),
        own_words("name", ["abba", "Ada Lovelace"]),
    ]
)
ALPHABET = "abAB ORD-1290@.:é鷺\n"


def label(kind: str, text: str) -> str:
    """Return what stands for a match."""
    return f"<{kind}>"


def in_pieces(machine: Machine, text: str, cuts: Iterable[int]) -> str:
    """Return a text with its matches replaced, that came in pieces."""
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    scanner = Scanner(machine, label)
    out = "".join(scanner.feed(text[a:b]) for a, b in pairwise(places))
    return out + scanner.close()


@pytest.mark.parametrize("text", [text for text, _ in EXAMPLES])
def test_a_secret_is_found_wherever_it_is_cut(text: str) -> None:
    """Of every pair of cuts, none changes what is found."""
    text = f"It is {text}, or not."
    whole = replace(ALL, label, text)
    for first in range(len(text)):
        assert in_pieces(ALL, text, [first]) == whole
        assert in_pieces(ALL, text, [first, first + 1]) == whole
        assert in_pieces(ALL, text, [first, first * 7]) == whole
    assert in_pieces(ALL, text, range(len(text))) == whole


@given(st.text(ALPHABET, max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_a_text_in_pieces_is_the_whole_text(text: str, cuts: list[int]) -> None:
    """Pieces have the matches of the whole, with own patterns and with those of all kinds."""
    assert in_pieces(OWN, text, cuts) == replace(OWN, label, text)
    assert in_pieces(ALL, text, cuts) == replace(ALL, label, text)


@given(st.lists(st.sampled_from([*(text for text, _ in EXAMPLES), " ", ".", "x", "-", "4"])))
def test_secrets_beside_each_other(parts: list[str]) -> None:
    """What stands side by side may be one match or several, and is the same in pieces."""
    text = "".join(parts)
    assert in_pieces(ALL, text, range(len(text))) == replace(ALL, label, text)


@given(st.text(ALPHABET, max_size=60), st.lists(st.integers(0, 60), max_size=4), st.integers(0, 60))
def test_a_seam_holds_nothing_and_hides_what_goes_over_it(
    text: str, cuts: list[int], seam: int
) -> None:
    """At a seam everything is out. No match is whole in what goes out before and after it."""
    seam %= len(text) + 1
    scanner = Scanner(OWN, label)
    before = scanner.feed(text[:seam]) + scanner.seam()
    assert not scanner.holds
    assert before == replace(OWN, label, text[:seam])
    after = scanner.feed(text[seam:]) + scanner.close()
    assert "Ada Lovelace" not in before + after
    if "<" not in before:  # then the rest is found as in the whole
        whole = replace(OWN, label, text)
        assert (before + after).count("<") == whole.count("<")


def test_what_cannot_become_a_match_goes_out_at_once() -> None:
    """Text is held from where a match may have begun, and no further."""
    scanner = Scanner(machine_of(frozenset({"card"})), label)
    shown = [scanner.feed(it) for it in ("Pay with 4111 1111", " or", " no digits")]
    assert shown == ["Pay with ", "4111 1111 or", " no digits"]
    assert not scanner.holds


def test_a_long_secret_is_swallowed_as_it_comes() -> None:
    """A match is replaced when it is decided, and the rest of it is not kept."""
    scanner = Scanner(ALL, label)
    assert scanner.feed("-----BEGIN RSA PRIVATE KEY-----\nMII") == "<private_key>"
    for _ in range(100):
        assert scanner.feed("EpAIBAAKCAQEA\n" * 10) == ""
        assert not scanner.holds
    assert scanner.feed("=\n-----END RSA PRIVATE") == ""
    assert scanner.feed(" KEY----- is it") == " is "  # "it" may begin an address
    assert scanner.feed(".\n") == "it.\n"


HOSTILE = {
    "one letter": "a",
    "letters and dots": "a.",
    "addresses without an end": "a@",
    "digits": "4",
    "card groups": "4111 ",
    "colons": "a:",
    "key beginnings": "sk-",
    "dashes": "-----BEGIN ",
    "base 64": "aB3/",
    "jose": "eyJ",
}


@pytest.mark.parametrize("unit", HOSTILE.values(), ids=list(HOSTILE))
def test_the_time_is_linear(unit: str) -> None:
    """Eight times the text takes no more than some eight times the time, in pieces or whole."""

    def cost(size: int, piece: int) -> int:
        text = unit * (size // len(unit))
        scanner = Scanner(ALL, label)
        began = time.thread_time_ns()
        for place in range(0, len(text), piece):
            scanner.feed(text[place : place + piece])
        scanner.close()
        return time.thread_time_ns() - began

    for piece in (4, 1_000_000):
        cost(4_000, piece)  # makes the transitions
        ratios = [
            min(cost(32_000, piece) for _ in range(3)) / min(cost(4_000, piece) for _ in range(3))
            for _ in range(2)
        ]
        assert min(ratios) < 8 * 3
