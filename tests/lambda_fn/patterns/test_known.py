"""Each kind is found in the forms in which it is written, and what only looks like it is not."""

import subprocess
import sys

import pytest

from lambda_fn.patterns import KINDS
from lambda_fn.patterns.known import machine_of, patterns_of
from lambda_fn.patterns.scanner import replace
from tests.support.secrets_of_texts import EXAMPLES, OTHERS

ALL = machine_of(frozenset(KINDS))
MOST = 64
"""Characters that decide about a match. An e-mail address may have 318."""


def label(kind: str, text: str) -> str:
    """Return what stands for a match."""
    return f"<{kind}>"


@pytest.mark.parametrize(("text", "kind"), EXAMPLES)
@pytest.mark.parametrize("around", ["{}", "It is {}.", "({}), or", "鍵は{}です", "x={}\n", '"{}"'])
def test_a_kind_is_found(text: str, kind: str, around: str) -> None:
    """It is found at the ends of a text, and between words, punctuation and other scripts."""
    before, after = around.split("{}")
    if kind in ("private_key", "jwt") and after == ".":  # it is swallowed
        after = "!"
    found = replace(ALL, label, before + text + after)
    assert found == f"{before}<{kind}>{after}"


@pytest.mark.parametrize("text", OTHERS)
def test_what_only_looks_like_it_stays(text: str) -> None:
    """Check digits, borders and forms tell it apart."""
    assert replace(ALL, label, f"It is {text}!") == f"It is {text}!"


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_found_alone(kind: str) -> None:
    """A policy with one kind finds its examples and none of the others."""
    machine = machine_of(frozenset({kind}))
    for text, its in EXAMPLES:
        found = replace(machine, label, text)
        assert (found == f"<{kind}>") == (its == kind)


def test_how_many_characters_decide() -> None:
    """No pattern needs more than 64 characters, but for e-mail addresses."""
    longest = {kind: max(it.expression.longest for it in patterns_of(kind)) for kind in KINDS}
    assert longest.pop("email") <= 320
    assert max(longest.values()) <= MOST


def test_a_policy_is_made_once() -> None:
    """Answers with the same policy share its machine."""
    assert machine_of(frozenset(KINDS)) is machine_of(frozenset(KINDS))
    own = machine_of(frozenset(), (("order", "ORD-[0-9]{8}"),), (("name", ("Ada", "Grace")),))
    assert replace(own, label, "Ada has ORD-12345678") == "<name> has <order>"


def test_what_an_import_costs() -> None:
    """The patterns take no module of the standard library that the function has not anyway."""
    code = (
        "import sys; import lambda_fn.stream.app; before = set(sys.modules);"
        "import lambda_fn.transform.redaction, lambda_fn.patterns.known;"
        "print([it for it in set(sys.modules) - before if not it.startswith('lambda_fn')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_request_without_filters_loads_none() -> None:
    """The chat path imports no pattern unless a policy asks for it."""
    code = (
        "import sys; import lambda_fn.stream.app;"
        "print([it for it in sys.modules if it.startswith(('lambda_fn.patterns.', "
        "'lambda_fn.transform.redaction'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
