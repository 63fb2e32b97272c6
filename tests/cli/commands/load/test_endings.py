"""How streams end. tests/cli/commands/load/test_generator.py has the endings over connections."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.commands.load.endings import NAMES, Close, Ending, Name, ending
from cli.commands.load.forms import Signs
from cli.commands.load.report import WORDS

SIGNS = st.builds(
    Signs,
    finish=st.none() | st.just("stop"),
    marker=st.booleans(),
    prompt_tokens=st.none() | st.just(1),
    completion_tokens=st.none() | st.just(1),
    error=st.none() | st.just("code"),
)
CLOSES = st.sampled_from(get_args(Close))
STATUSES = st.sampled_from([None, 200, 204, 429, 500])


def test_the_names_are_one_list() -> None:
    """The type, the list and the explanations have the same names."""
    assert get_args(Name) == NAMES == tuple(WORDS)


@given(SIGNS, CLOSES, STATUSES)
def test_complete_means_all_signs(signs: Signs, close: Close, status: int | None) -> None:
    """Only a 200 with a finish reason, the end marker and usage, and no error, is complete."""
    whole = signs.finish and signs.marker and signs.prompt_tokens and signs.completion_tokens
    may = bool(whole and not signs.error and status in {None, 200} and close != "left")
    found = ending(signs, close=close, status=status)
    assert (found.name == "complete") == may


@given(SIGNS, CLOSES, STATUSES)
def test_an_error_is_never_hidden(signs: Signs, close: Close, status: int | None) -> None:
    """A status other than 200 is a refusal, and an error event an error, however it ends then."""
    found = ending(signs, close=close, status=status, code="c")
    if status not in {None, 200}:
        assert found == Ending("refused", f"{status} c")
    elif signs.error:
        assert found == Ending("error", "code")


@pytest.mark.parametrize(
    ("close", "name"), [("whole", "complete"), ("broken", "cut"), ("late", "slow")]
)
def test_a_form_without_signs_ends_with_its_body(close: Close, name: str) -> None:
    """Bare text is complete for the client if its body ended properly."""
    assert ending(Signs(), close=close, status=200, proves_end=False).name == name


def test_what_is_missing_is_named_in_the_order_of_a_stream() -> None:
    """The code of a silent end is the first sign that is missing."""
    signs, codes = Signs(), []
    for name, value in (("finish", "stop"), ("marker", True), ("prompt_tokens", 1)):
        codes.append(ending(signs, close="whole", status=200).code)
        setattr(signs, name, value)
    assert codes == ["no_finish_reason", "no_end_marker", "no_usage"]
