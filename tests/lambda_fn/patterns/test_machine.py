"""A machine keeps a bounded number of transitions, and matches the same after it forgot them."""

from hypothesis import given
from hypothesis import strategies as st

from lambda_fn.patterns import machine as machines
from lambda_fn.patterns.known import own_pattern
from lambda_fn.patterns.machine import Machine
from lambda_fn.patterns.scanner import Scanner, replace

PATTERNS = [own_pattern("x", "[a-c]{2,6}d"), own_pattern("y", "(?i)b.{0,3}e")]


def label(kind: str, text: str) -> str:
    """Return what stands for a match."""
    return f"<{kind}>"


@given(st.text("abcdeBE.", max_size=40), st.integers(1, 12))
def test_a_machine_that_forgets_matches_the_same(text: str, kept: int) -> None:
    """All transitions may be forgotten at any time, in the middle of a match too."""
    whole = replace(Machine(PATTERNS), label, text)
    machine, most = Machine(PATTERNS), machines._MAX_KEPT
    machines._MAX_KEPT = kept
    try:
        scanner = Scanner(machine, label)
        found = "".join(scanner.feed(letter) for letter in text) + scanner.close()
    finally:
        machines._MAX_KEPT = most
    assert found == whole
    assert sum(len(state) for state in machine._made.values()) <= kept + 1


def test_text_of_many_characters_is_forgotten() -> None:
    """Every character of Unicode in turn leaves no more transitions than are kept."""
    machine = Machine([own_pattern("x", ".{1,3}!")])
    scanner = Scanner(machine, label)
    for code in range(0x4E00, 0x4E00 + 12_000):
        scanner.feed(chr(code))
    kept = sum(len(state) for state in machine._made.values()) + len(machine.starts)
    assert kept <= machines._MAX_KEPT + 3
