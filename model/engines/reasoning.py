"""What a chat template can do about reasoning, for llama.cpp, which takes any request. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model.errors import InvalidRequestError

if TYPE_CHECKING:
    from model.schema import ChatRequest

SWITCHES = ("enable_thinking", "thinking")
_REASONS = re.compile(
    r"\b(?:enable_thinking|thinking|reasoning_effort|reasoning_content)\b|"
    r"<\W?(?:think|thought|reasoning)|\[THINK\]|<\|channel\|>"
)
_SWITCH = re.compile(r"\b(?:enable_thinking|thinking)\b(?!['\"\]>}])")
_NO_FORM = (
    "a structured answer and a required call are guided from the first token on, so there is no "
    "reasoning before them; leave this out, or response_format and tool_choice"
)


@dataclass(frozen=True)
class Ability:
    """The abilities of one template. `text` is the template itself."""

    text: str = ""

    @property
    def reasons(self) -> bool:
        """Whether it has anything to do with reasoning."""
        return _REASONS.search(self.text) is not None

    @property
    def switch(self) -> bool:
        """Whether it can turn reasoning off."""
        return _SWITCH.search(self.text) is not None or "reasoning_effort" in self.text

    def check(self, request: ChatRequest, *, guided: bool) -> None:
        """Raise InvalidRequestError for what the model cannot do; `guided` is a guided answer."""
        if request.sluice.soft_thinking:
            pass
        elif (param := request.asks_reasoning) is not None:
            if not self.reasons:
                raise refused(param, "this model does not reason before it answers")
            if guided:
                raise refused(param, _NO_FORM)
        elif (param := request.asks_no_reasoning) is not None and self.reasons and not self.switch:
            raise refused(
                param, "this model always reasons: its chat template has no switch for that"
            )
        for name in request.chat_template_kwargs or ():
            if name not in SWITCHES and re.search(rf"\b{name}\b", self.text) is None:
                raise refused(
                    f"chat_template_kwargs.{name}",
                    "the model's chat template has no variable of this name",
                )


def refused(param: str, why: str) -> InvalidRequestError:
    """Return the error for a field that the model cannot honour."""
    return InvalidRequestError(f"{param}: {why}", param)


def fields(request: ChatRequest, *, guided: bool) -> dict[str, Any]:
    """Return the fields of llama.cpp's body about reasoning. A guided answer has none."""
    body: dict[str, Any] = {}
    arguments = dict(request.chat_template_kwargs or {})
    effort = request.reasoning_effort
    if guided:
        arguments |= {"enable_thinking": False}
    elif effort is not None:
        body["reasoning_effort"] = effort
        arguments = {**dict.fromkeys(SWITCHES, effort != "none"), **arguments}
    if request.thinking_token_budget is not None and not guided:
        body["thinking_budget_tokens"] = request.thinking_token_budget
    if arguments:
        body["chat_template_kwargs"] = arguments
    return body
