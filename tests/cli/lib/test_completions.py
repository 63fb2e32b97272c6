"""A completion printed on a terminal."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import httpx
import openai
import pytest

from cli.lib.completions import Refused, complete

HOSTILE = "\x1b]0;owned\x07\x1b[2Jfine\x9b31m\u202e\r\x00 end\n\tnext"


def client(deltas: Sequence[str]) -> Any:
    """Return a client whose one answer streams `deltas`."""

    @contextmanager
    def create(**_: object) -> Iterator[Iterator[Any]]:
        choices = ([SimpleNamespace(delta=SimpleNamespace(content=delta))] for delta in deltas)
        yield (SimpleNamespace(id="chatcmpl-1", usage=None, choices=one) for one in choices)

    return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))


@pytest.mark.parametrize("size", [1, 2, 3, len(HOSTILE)])
def test_an_answer_cannot_steer_the_terminal(size: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Escape sequences are shown as text, also if chunks cut them. Lines and tabs stay.

    The returned text has the original characters.
    """
    deltas = [HOSTILE[start : start + size] for start in range(0, len(HOSTILE), size)]
    assert complete(client(deltas), model="m", messages=[]) == HOSTILE
    printed = capsys.readouterr().out
    assert printed.startswith(
        "\\x1b]0;owned\\x07\\x1b[2Jfine\\x9b31m\\u202e\\x0d\\x00 end\n\tnext\n"
    )
    assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r", "\x00"} & set(printed)


def test_an_api_that_is_gone_says_nothing() -> None:
    """The error names the URL that does not answer."""
    request: Any = httpx.Request("POST", "http://localhost:1/v1/")

    def create(**_: object) -> None:
        raise openai.APIConnectionError(request=request)

    gone: Any = SimpleNamespace(
        chat=SimpleNamespace(completions=SimpleNamespace(create=create)),
        base_url="http://localhost:1/v1/",
    )
    with pytest.raises(Refused, match=r"^There is no answer from http://localhost:1/v1/: Connec"):
        complete(gone, model="m", messages=[])


def test_half_a_character_does_not_end_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    """Half of a surrogate pair, which no terminal accepts, is shown as an escape."""
    complete(client(["a\ud83d", "b"]), model="m", messages=[])
    assert capsys.readouterr().out.startswith("a\\ud83db\n")
