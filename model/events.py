"""The events of an engine about one request.

Order for every request: one `Start`; then for each choice any number of `Delta` and one `Finish`,
with the choices mixed; last, one `Usage`. A failure is an exception of `model.errors`, at any
place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class Start:
    """The prompt was counted; nothing has been sampled yet."""

    prompt_tokens: int


@dataclass(frozen=True, slots=True)
class Delta:
    """The piece that `tokens` sampled tokens add to choice `index`.

    Text never ends within a character. `tool_calls` and `logprobs` (one entry for each token) have
    OpenAI's shapes.
    """

    index: int
    tokens: int
    content: str = ""
    reasoning: str = ""
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    logprobs: tuple[Mapping[str, Any], ...] | None = None


@dataclass(frozen=True, slots=True)
class Finish:
    """Choice `index` is complete. `stop` is the stop string that ended it, if the engine tells."""

    index: int
    reason: FinishReason
    stop: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """The engine's own token counts. The completion's count is over all choices.

    `reasoning_tokens` are those of them that are reasoning. The container counts them.
    """

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0


Event: TypeAlias = Start | Delta | Finish | Usage


def merged(events: Iterable[Event]) -> list[Event]:
    """Return the same events, merged into the fewest.

    Text joins the text before it; parts of tool calls stay as they are.
    """
    result: list[Event] = []
    last: dict[int, int] = {}  # choice -> the index of its newest event in the result
    for event in events:
        if isinstance(event, Delta | Finish):
            place = last.get(event.index)
            before = result[place] if place is not None else None
            if (
                place is not None
                and isinstance(event, Delta)
                and isinstance(before, Delta)
                and _joins(before, event)
            ):
                result[place] = _joined(before, event)
                continue
            last[event.index] = len(result)
        result.append(event)
    return result


def _joins(before: Delta, after: Delta) -> bool:
    if before.tool_calls or after.tool_calls:
        return False
    # Reasoning comes before content: joining must not lose their order.
    return not (before.content and after.reasoning)


def _joined(before: Delta, after: Delta) -> Delta:
    logprobs = before.logprobs
    if after.logprobs is not None:
        logprobs = (logprobs or ()) + after.logprobs
    return Delta(
        before.index,
        before.tokens + after.tokens,
        before.content + after.content,
        before.reasoning + after.reasoning,
        (),
        logprobs,
    )
