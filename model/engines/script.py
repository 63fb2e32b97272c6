"""The language of the scripted engine: the last user message tells it what to do. Pure.

A JSON object with any of these keys; anything else is echoed, word by word.

    "think": ["tok1", " tok2"]       tokens of reasoning before all others
    "say": ["tok1", " tok2"]         the tokens, one string each
    "repeat": " word", "count": 100  the same token again and again; {i} in it is its number from 0
    "rate": 50                       tokens a second; a step samples one for every choice.
                                     Without it, tokens come as fast as they are read.
    "first_after": 0.5               seconds before the first token
    "stamp": true                    every token is " " and the Unix time in ns of its sampling
    "finish": "stop"                 or "length", "tool_calls"
    "tool_calls": [{"name": "f", "arguments": ["{\"a\"", ":1}"]}]
                                     after the text; each part is a token
    "prompt_tokens": 12              instead of one for every word of the messages
    "fail_after": 3, "code": "engine_error"   an error after this many tokens
    "stall_after": 3, "seconds": 1.5          a pause after this many tokens
    "die_after": 3                            the process ends after this many tokens

With `continue_final_message` the script goes on behind the text of the last message, and neither
fails nor dies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from model.errors import BY_CODE, InvalidRequestError
from model.events import FinishReason  # noqa: TC001 - pydantic reads it

if TYPE_CHECKING:
    from collections.abc import Mapping

_WORD = re.compile(r"\s*\S+|\s+$")

Count = Annotated[int, Field(ge=0, le=1_000_000)]
Seconds = Annotated[float, Field(ge=0, le=600)]


class ScriptedCall(BaseModel):
    """One tool call. The parts of its arguments arrive one by one."""

    model_config = ConfigDict(extra="forbid")

    name: str
    arguments: list[str] = []


class Script(BaseModel):
    """A script in the form that the module describes, checked."""

    model_config = ConfigDict(extra="forbid")

    think: list[str] = []
    say: list[str] = []
    repeat: str = " word"
    count: Count = 0
    rate: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    first_after: Seconds = 0.0
    stamp: bool = False
    finish: FinishReason | None = None
    tool_calls: list[ScriptedCall] = []
    prompt_tokens: Count | None = None
    fail_after: Count | None = None
    code: str = "engine_error"
    stall_after: Count | None = None
    seconds: Seconds = 0.0
    die_after: Count | None = None

    def tokens(self) -> list[str | Mapping[str, Any]]:
        """Return the tokens of reasoning and of text, then OpenAI's parts of tool calls."""
        tokens: list[str | Mapping[str, Any]] = [*self.think, *self.say]
        tokens += (self.repeat.replace("{i}", str(number)) for number in range(self.count))
        for index, call in enumerate(self.tool_calls):
            function = {"name": call.name, "arguments": ""}
            tokens.append(
                {"index": index, "id": f"call_{index}", "type": "function", "function": function}
            )
            tokens += ({"index": index, "function": {"arguments": part}} for part in call.arguments)
        return tokens

    @property
    def reason(self) -> FinishReason:
        """The finish reason of an answer that is not cut short."""
        return self.finish or ("tool_calls" if self.tool_calls else "stop")


def words(text: str) -> list[str]:
    """Split a text into tokens: each is a word with the space before it."""
    return _WORD.findall(text)


def parse(text: str) -> Script:
    """Return the script in a message.

    Raises InvalidRequestError for an object that is not a script.
    """
    if not text.lstrip().startswith("{"):
        return Script(say=words(text))
    try:
        script = Script.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidRequestError(f"script: {where}: {first['msg']}", "messages") from None
    if script.code not in BY_CODE:
        raise InvalidRequestError(
            f"script: code: one of {', '.join(BY_CODE)} is needed", "messages"
        )
    return script


@dataclass(slots=True)
class StopFilter:
    """Removes stop strings from text that comes in pieces.

    It holds back text that may be the beginning of a stop string.
    """

    stops: tuple[str, ...]
    stopped: bool = False
    found: str | None = None
    """The stop string that was complete first."""
    _held: str = field(default="")

    def feed(self, piece: str) -> str:
        """Return the text that may be shown now.

        Set `stopped` once a stop string is complete.
        """
        text = self._held + piece
        found = [(place, stop) for stop in self.stops if (place := text.find(stop)) >= 0]
        if found:
            place, self.found = min(found)
            self.stopped = True
            self._held = ""
            return text[:place]
        keep = max((_overlap(text, stop) for stop in self.stops), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> str:
        """Return the text that was held back until the end."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many characters at the end of `text` may begin `stop`."""
    return next(
        (
            size
            for size in range(min(len(text), len(stop) - 1), 0, -1)
            if text.endswith(stop[:size])
        ),
        0,
    )
