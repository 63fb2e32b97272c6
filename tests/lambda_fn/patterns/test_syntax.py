"""The syntax of patterns means what it means in Python, and what could be slow is refused."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.patterns.machine import Machine, Pattern, check_size
from lambda_fn.patterns.scanner import replace
from lambda_fn.patterns.syntax import MAX_LENGTH, Expression, PatternError, is_word, read, words


def found(expression: Expression, text: str) -> str:
    """Return a text with the matches in brackets."""
    return replace(Machine([Pattern("x", expression)]), lambda _, match: f"<{match}>", text)


def expected(matches: Callable[[int, int], bool], text: str) -> str:
    """Return the same by trying every part of the text, the leftmost and longest first."""
    out, start = "", 0
    while start < len(text):
        end = next((end for end in range(len(text), start, -1) if matches(start, end)), 0)
        out += f"<{text[start:end]}>" if end else text[start]
        start = end or start + 1
    return out


ATOMS = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\s", r"\.", "[b-c1]"])
PATTERNS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["?", "{2}", "{0,2}", "{1,3}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)
TEXTS = st.text("aabbc1. \n_", max_size=14)


@given(PATTERNS, TEXTS, st.booleans(), st.booleans(), st.booleans())
def test_a_pattern_matches_what_it_matches_in_python(
    source: str, text: str, before: bool, after: bool, cases: bool
) -> None:
    """Of the matches at the leftmost place, the longest counts. `re` tells what matches."""
    source = f"(?:{source})"
    plain = re.compile(f"(?i:{source})" if cases else source)
    source = "(?i)" * cases + r"\b" * before + source + r"\b" * after
    try:
        expression = read(source)
    except PatternError as error:
        assert "empty" in str(error)  # noqa: PT017
        assert plain.fullmatch("")
        return
    text = text.upper() if cases else text

    def matches(start: int, end: int) -> bool:
        return (
            plain.fullmatch(text[start:end]) is not None
            and not (before and start and is_word(text[start - 1]))
            and not (after and is_word(text[end : end + 1] or " "))
        )

    assert found(expression, text) == expected(matches, text)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("a*", r"\* has no bound"),
        ("(a+)+b", r"\+ has no bound"),
        ("a{2,}", "no bound"),
        ("a{3,2}", "too small"),
        ("a{0}", "too small"),
        ("a{x}", r"write \\{"),
        ("a??", "lazy"),
        ("a{2}{2}", "follows a repetition"),
        ("?a", "nothing before"),
        ("(a", r"no \)"),
        ("a)", r"no \("),
        ("[a", r"no \]"),
        ("[]", r"no \]"),
        ("[[a]", r"another \["),
        ("[z-a]", "malformed"),
        ("^a$", r"\^ is not available"),
        (r"(a)\1", r"\\1 is not available"),
        (r"a\bc", "at the beginning and the end"),
        ("(?=a)", r"\(\?:"),
        ("(?P<n>a)", r"\(\?:"),
        ("a(?i)b", r"\(\?:"),
        ("a\\", "at the end"),
        ("", "empty text"),
        ("a?", "empty text"),
        ("a|", "empty text"),
        ("a{513}", "513 characters"),
        ("(a{20}){20}(b{20}){20}", "800 characters"),
        ("(" * 30 + "a" + ")" * 30, "nested"),
        ("((((a{1,9}){1,9}){1,9}){1,9}){1,9}", "characters"),
        ("x" * 1_001, "over 1000 characters"),
        ("(" + "|".join("abcdefghij" for _ in range(80)) + "){3}", "steps"),
    ],
)
def test_what_has_no_bound_is_refused(source: str, why: str) -> None:
    """The error says what is wrong."""
    with pytest.raises(PatternError, match=why):
        read(source)


@given(st.text("ab[](){}|?*+\\^$-,:0123.", max_size=40))
def test_any_text_is_a_pattern_or_an_error(source: str) -> None:
    """No text makes anything but a pattern within the bounds, or a `PatternError`."""
    try:
        expression = read(source)
    except PatternError:
        return
    assert 1 <= expression.longest <= MAX_LENGTH
    assert all(node.after or node.last for node in expression.nodes)


@pytest.mark.parametrize("source", ["(a|b){0,200}a(a|b){0,200}", "(a|a){200}b?", "(.?a){0,150}b"])
def test_a_pattern_with_too_many_states_is_refused(source: str) -> None:
    """Repetitions that can match the same text in many ways are refused, or have few states."""
    expression = read(source)
    if source.startswith("(a|a)"):
        check_size(expression)
        return
    with pytest.raises(PatternError, match="states"):
        check_size(expression)


def test_words_match_in_both_cases_and_as_whole_words() -> None:
    """A word within a longer one stays. In scripts without spaces there are no longer ones."""
    expression = words(["Blue Heron", "heron", "鷺"])
    assert found(expression, "HERON, blue heron; herons 青鷺は heron") == (
        "<HERON>, <blue heron>; herons 青<鷺>は <heron>"
    )
    for wrong in ([], [""], ["x" * 513], ["x" * 512] * 17):
        with pytest.raises(PatternError):
            words(wrong)
