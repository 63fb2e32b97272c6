"""Separates reasoning from the content by its tags, and hides it.

A server with a reasoning parser separates it itself. The tags are for one without: the opening one
counts at the beginning of an answer only, so that a text about tags stays as it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from lambda_fn.events import NULL, Delta, End, Event, Failure, Finish, Usage

_MAX_SPACE = 64
"""White space before an opening tag, in characters.

An answer that begins with more white space has no opening tag.
"""
_REASONING = b'"reasoning_content":'

_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_json = msgspec.json.Encoder()


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_logprobs = msgspec.json.Decoder(_Logprobs)


@dataclass
class _Choice:
    """One choice: where it is, the text that may begin a tag, and its tokens without text."""

    state: str
    held: str = ""
    tokens: int = 0
    logprobs: list[msgspec.Raw] = field(default_factory=list)


class Separate:
    """Separates or hides the reasoning of one response.

    It counts the tokens of reasoning that it separates, for a server that counted none. Log
    probabilities leave out what the client does not get.
    """

    def __init__(
        self, choices: int, tags: str | None = None, *, hidden: bool = False, off: bool = False
    ) -> None:
        """Begin a response of `choices` choices.

        Args:
            choices: The number of choices.
            tags: The opening and the closing tag with a space between, or the closing one alone if
                the answer begins with reasoning.
            hidden: Whether clients do not get reasoning.
            off: Whether the request has turned reasoning off, so that the answer does not begin
                with it.

        """
        opening, _, closing = (tags or "").rpartition(" ")
        self._opening, self._closing = opening, closing
        begin = "content"
        if opening:
            begin = "start"
        elif closing and not off:
            begin = "reasoning"
        self._choices = [_Choice(begin) for _ in range(choices)]
        self._hidden = hidden
        self._reasoned = 0

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return those that may go out now."""
        out: list[Event] = []
        for event in events:
            if type(event) is Delta:
                self._delta(event, out)
                continue
            if type(event) is Finish:
                self._release(event.index, out)
            elif type(event) is Failure or type(event) is End:
                for index in range(len(self._choices)):
                    self._release(index, out)
            elif type(event) is Usage and self._reasoned and not event.reasoning_tokens:
                counted = min(self._reasoned, event.completion_tokens)
                event = msgspec.structs.replace(event, reasoning_tokens=counted)
            out.append(event)
        return out

    def _delta(self, event: Delta, out: list[Event]) -> None:
        choice = self._choices[event.index]
        delta = bytes(event.delta)
        if choice.state == "content" and _REASONING not in delta:
            out.append(event)
            return
        try:
            fields: dict[str, Any] = dict(_members.decode(delta))
            content = msgspec.json.decode(fields.pop("content", b"null"), type=str | None) or ""
            reasoning = (
                msgspec.json.decode(fields.pop("reasoning_content", b"null"), type=str | None) or ""
            )
        except msgspec.DecodeError:
            out.append(event)  # the encoder says that it is malformed
            return
        if fields:  # a tool call or a refusal ends what was held
            self._release(event.index, out)
        choice.tokens += event.tokens
        if event.logprobs is not NULL:
            choice.logprobs += _entries(event.logprobs)
        separated, content = self._separated(choice, content)
        self._say(event.index, reasoning + separated, content, fields, out, count=bool(separated))

    def _separated(self, choice: _Choice, text: str) -> tuple[str, str]:
        """Return the reasoning and the content that a text adds. The rest of it is held."""
        text, choice.held = choice.held + text, ""
        if choice.state == "start":
            bare = text.lstrip()
            near = len(text) - len(bare) <= _MAX_SPACE
            if near and bare.startswith(self._opening):
                choice.state, text = "reasoning", bare.removeprefix(self._opening)
            elif near and self._opening.startswith(bare):
                choice.held = text
                return "", ""
            else:
                choice.state = "content"
        reasoning = ""
        if choice.state == "reasoning":
            reasoning, found, text = text.partition(self._closing)
            if not found:
                keep = _overlap(reasoning, self._closing)
                choice.held = reasoning[len(reasoning) - keep :]
                return reasoning[: len(reasoning) - keep], ""
            choice.state = "after"
        if choice.state == "after":  # models write an empty line there
            text = text.lstrip()
            if text:
                choice.state = "content"
        return reasoning, text

    def _release(self, index: int, out: list[Event]) -> None:
        """Return the held text, which was not a tag."""
        choice = self._choices[index]
        held, choice.held = choice.held, ""
        inside = choice.state == "reasoning"
        if choice.state == "start" and held:
            choice.state = "content"
        if held or choice.tokens or choice.logprobs:
            texts = (held, "") if inside else ("", held)
            self._say(index, *texts, {}, out, count=inside)

    def _say(
        self,
        index: int,
        reasoning: str,
        content: str,
        fields: dict[str, Any],
        out: list[Event],
        *,
        count: bool,
    ) -> None:
        choice = self._choices[index]
        if count and reasoning:
            size = len(reasoning) + len(content)
            self._reasoned += choice.tokens * len(reasoning) // size
        said: dict[str, Any] = {}
        if reasoning and not self._hidden:
            said["reasoning_content"] = reasoning
        if content:
            said["content"] = content
        said |= fields
        secret = self._hidden and bool(reasoning)
        if secret:
            choice.logprobs = []
        if not said and not choice.logprobs:
            if secret:
                choice.tokens = 0
            return
        logprobs = NULL
        if choice.logprobs:
            sent = {"content": choice.logprobs, "refusal": None}
            logprobs = msgspec.Raw(_json.encode(sent))
        out.append(Delta(msgspec.Raw(_json.encode(said)), index, choice.tokens, logprobs))
        choice.tokens, choice.logprobs = 0, []


def _entries(sent: msgspec.Raw) -> list[msgspec.Raw]:
    try:
        return _logprobs.decode(sent).content or []
    except msgspec.DecodeError:
        return []


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of `text` may begin `tag`."""
    sizes = range(min(len(text), len(tag) - 1), 0, -1)
    return next((size for size in sizes if text.endswith(tag[:size])), 0)
