"""How a stream ended: one of eleven words, and a code. Pure.

complete     a finish reason, the end marker and usage, and a ledger that agrees where it is read
disagrees    complete for the client, but the ledger has another outcome or other tokens
refused      a status that is not 200; the code has the status and the error's code
error        an error event within the stream, with its code
cut          the connection broke
silent       the body ended properly, but the answer in it has no end: most tools take it for
             success; the code says what is missing
malformed    what came is not of the form
slow         this client gave up: no answer in time, or a silence that was too long
unreachable  there was no connection
dropped      this client left on purpose, as a dropper
unsent       too many streams were open, so this client did not send it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from cli.commands.load.forms import Signs

Name = Literal[
    "complete", "disagrees", "refused", "error", "cut", "silent", "malformed", "slow",
    "unreachable", "dropped", "unsent",
]  # fmt: skip
NAMES: tuple[Name, ...] = (
    "complete", "disagrees", "refused", "error", "cut", "silent", "malformed", "slow",
    "unreachable", "dropped", "unsent",
)  # fmt: skip
Close = Literal["whole", "broken", "late", "silence", "left"]
"""How the connection ended: the body's own end, a break, or this client, for one of its reasons."""
BEFORE_STATUS = "before_status"


class Ending(NamedTuple):
    """How a stream ended. The code tells kinds of an ending apart; it may be empty."""

    name: Name
    code: str = ""


def ending(
    signs: Signs, *, close: Close, status: int | None, code: str = "", proves_end: bool = True
) -> Ending:
    """Return how a stream ended whose answer was of its form.

    Args:
        signs: What the answer showed of its end.
        close: How the connection ended.
        status: The status; None if none came.
        code: The error's code in the body of a status other than 200.
        proves_end: Whether the form itself shows that an answer is whole.

    """
    if status is not None and status != 200:
        return Ending("refused", f"{status} {code}".rstrip())
    if signs.error is not None:
        return Ending("error", signs.error)
    if close == "left":
        return Ending("dropped")
    missing = _missing(signs) if proves_end else ""
    if not missing and (proves_end or close == "whole"):
        return Ending("complete")  # clients stop reading at the marker; what follows is no matter
    if close in {"late", "silence"}:
        return Ending("slow", BEFORE_STATUS if status is None else close)
    if close == "broken" or status is None:
        return Ending("cut", BEFORE_STATUS if status is None else "")
    return Ending("silent", missing)


def _missing(signs: Signs) -> str:
    if signs.finish is None:
        return "no_finish_reason"
    if not signs.marker:
        return "no_end_marker"
    if signs.prompt_tokens is None or signs.completion_tokens is None:
        return "no_usage"
    return ""
