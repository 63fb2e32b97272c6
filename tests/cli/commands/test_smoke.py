"""What `sluice smoke` makes of the times at which text came. The rest is in tests/e2e."""

from typing import TYPE_CHECKING, cast

import pytest

from cli.commands import smoke
from cli.commands.check.wire import Response
from cli.lib.project import CommandError

if TYPE_CHECKING:
    from cli.commands.verify.target import Target


@pytest.mark.parametrize(
    ("arrivals", "took", "whole", "good", "words"),
    [
        ([i * 0.05 for i in range(32)], 1.55, 1.7, True, "32 packets"),
        ([0.8] * 16 + [1.6] * 16, 0.8, 1.6, False, "2 packets"),
        ([1.6] * 32, 1.5, 1.6, False, "1 packets"),
        ([0.01] * 32, 0.01, 0.1, True, "too short to tell"),
        ([2.0] * 256, 0.01, 2.0, False, "at once"),
        ([2.0] * 32, 0.01, 2.0, True, "too short to tell"),
    ],
)
def test_held_back_text_is_told(
    arrivals: list[float], took: float, whole: float, good: bool, words: str
) -> None:
    """Text has to come as it is sampled; an answer that is too short to tell is not a failure."""
    step = smoke.unbuffered(arrivals, took=took, whole=whole)
    assert (step.good, words in step.seen) == (good, True), step


class Asked:
    """A stage whose API gives these replies, one after the other."""

    stage, name = "dev", "sluice"

    def __init__(self, *replies: tuple[int, bytes]) -> None:
        """Take the status and the body of each."""
        self._replies = iter(replies)

    def chat(self, *_: object, **__: object) -> Response:
        """Return the next reply."""
        status, body = next(self._replies)
        return Response(status, {}, [(0.0, body)])


BUSY = (503, b'{"error": {"message": "The model is not available now. Try again."}}')


def test_an_endpoint_that_starts_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said once what is waited for, and how long."""
    monkeypatch.setattr(smoke, "is_stopped", lambda *_: False)
    monkeypatch.setattr(smoke, "_RETRY_S", 0.0)
    answer = smoke._ask(cast("Target", Asked(BUSY, BUSY, (200, b""))), 1, 60)
    assert answer.status == 200
    words = " ".join(capsys.readouterr().err.split())
    assert words.count("The model is not available now.") == 1
    assert "asked again for up to 60 s" in words


def test_an_endpoint_that_is_stopped_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says so, and which command starts it."""
    monkeypatch.setattr(smoke, "is_stopped", lambda *_: True)
    with pytest.raises(CommandError, match="sluice endpoint start --stage dev"):
        smoke._ask(cast("Target", Asked(BUSY)), 1, 60)
