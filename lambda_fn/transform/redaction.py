"""Replaces what must not be shown: in content, refusals, reasoning, calls and log probabilities.

Each choice has its own texts. A text is held while it may still become a match, until the finish of
the choice at the latest. If another text of the choice comes between, what is held goes out first,
so that the order stays. A match that goes on after it is replaced from there on.

A match becomes a label, `[EMAIL]`, or a pseudonym, `[EMAIL-k3v9q2a7]`. A pseudonym is the same for
the same text in all answers to one key, so that a conversation can refer to it. It differs between
keys and deployments. It is an HMAC, so it does not reveal the text. But whoever guesses the text,
and has it written to the same key, can compare.
"""

import base64
import hmac
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import msgspec

from lambda_fn.errors import UpstreamFailed
from lambda_fn.events import NULL, Delta, End, Event, Failure, Finish
from lambda_fn.patterns.json_text import JsonScanner
from lambda_fn.patterns.known import ALIKE
from lambda_fn.patterns.machine import Machine
from lambda_fn.patterns.scanner import Rewrite, Scanner, replace

_json = msgspec.json.Encoder().encode


class _Text(Protocol):
    """A `Scanner` or a `JsonScanner`."""

    @property
    def holds(self) -> bool: ...

    def feed(self, text: str) -> str: ...

    def seam(self) -> str: ...

    def close(self) -> str: ...


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    id: str | None = None
    type: str | None = None
    function: _Function | None = None


class _Fields(msgspec.Struct):
    """The members of a delta. Others are left out: nothing is sent that was not scanned."""

    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Candidate(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[int] | None = None


class _Entry(_Candidate):
    top_logprobs: list[_Candidate] = []  # msgspec makes a new list for each


class _Logprobs(msgspec.Struct):
    content: list[_Entry] | None = None
    refusal: list[_Entry] | None = None


_fields = msgspec.json.Decoder(_Fields)
_logprobs = msgspec.json.Decoder(_Logprobs)
_TEXTS = ("reasoning_content", "content", "refusal")
_SEPARATORS = str.maketrans("", "", " -./()")
_SEPARATED = ("card", "iban", "phone")


class _Choice:
    """The texts of one choice, and the tokens of what is held."""

    def __init__(self, scanner: Callable[[], Scanner], content: _Text) -> None:
        self.texts: dict[str, _Text] = {
            "reasoning_content": scanner(),
            "content": content,
            "refusal": scanner(),
        }
        self.calls: dict[int, JsonScanner] = {}
        self.last = "content"
        self.tokens = 0


class Redact:
    """Redacts one response."""

    def __init__(
        self, choices: int, machine: Machine, rewrite: Rewrite, *, json: bool = False
    ) -> None:
        """Begin with nothing held.

        Args:
            choices: The number of choices.
            machine: What must not be shown.
            rewrite: What is shown in its place.
            json: Whether the content is JSON.

        """
        self._machine = machine
        self._rewrite = rewrite
        kind = JsonScanner if json else Scanner
        self._choices = [
            _Choice(lambda: Scanner(machine, rewrite), kind(machine, rewrite))
            for _ in range(choices)
        ]

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Take these events, and return those that may go out now.

        Raises:
            UpstreamFailed: a delta is malformed, so it cannot be scanned.

        """
        out: list[Event] = []
        for event in events:
            if type(event) is Delta:
                self._delta(event, out)
                continue
            if type(event) is Finish:
                self._close(event.index, out)
            elif type(event) is Failure or type(event) is End:
                for index in range(len(self._choices)):
                    self._close(index, out)
            out.append(event)
        return out

    def _delta(self, event: Delta, out: list[Event]) -> None:
        choice = self._choices[event.index]
        try:
            fields = _fields.decode(event.delta)
        except msgspec.DecodeError:
            raise UpstreamFailed("The model sent a malformed record.") from None
        content, texts = fields.content, choice.texts
        if (
            content is not None
            and fields.tool_calls is None
            and fields.reasoning_content is None
            and fields.refusal is None
        ):  # nearly every token
            if content and choice.last != "content":  # an empty piece divides no other text
                self._turn(event.index, "content", out)
            text = texts["content"]
            same = not text.holds
            shown = text.feed(content)
            if same and shown == content:
                self._pass(event, choice, {"content": content}, out)
            elif shown:
                self._say(event, choice, {"content": shown}, out)
            else:
                choice.tokens += event.tokens
            return
        said: dict[str, Any] = {}
        changed = False
        for name in _TEXTS:
            given = getattr(fields, name)
            if given is None:
                continue
            if given and choice.last != name:
                self._turn(event.index, name, out)
            changed = changed or texts[name].holds
            shown = texts[name].feed(given)
            changed = changed or shown != given
            if shown or not given:
                said[name] = shown
        if fields.tool_calls:
            self._turn(event.index, "tool_calls", out)
            said["tool_calls"] = [self._call(choice, call) for call in fields.tool_calls]
            changed = True
        if changed:
            self._say(event, choice, said, out)
        else:
            self._pass(event, choice, said, out)

    def _call(self, choice: _Choice, call: _Call) -> dict[str, Any]:
        """Return a piece of a call as it goes out."""
        said: dict[str, Any] = {"index": call.index}
        if call.id is not None:
            said["id"] = replace(self._machine, self._rewrite, call.id)
        if call.type is not None:
            said["type"] = "function"
        if call.function is None:
            return said
        function: dict[str, str] = {}
        if call.function.name is not None:
            function["name"] = replace(self._machine, self._rewrite, call.function.name)
        if call.function.arguments is not None:
            scanner = choice.calls.get(call.index)
            if scanner is None:
                scanner = choice.calls[call.index] = JsonScanner(self._machine, self._rewrite)
            function["arguments"] = scanner.feed(call.function.arguments)
        said["function"] = function
        return said

    def _turn(self, index: int, name: str, out: list[Event]) -> None:
        """Return what is held of the text that came before another one."""
        choice = self._choices[index]
        held = choice.texts.get(choice.last)
        if choice.last != name and held is not None and (rest := held.seam()):
            self._say(Delta(NULL, index), choice, {choice.last: rest}, out)
        choice.last = name

    def _close(self, index: int, out: list[Event]) -> None:
        choice = self._choices[index]
        for name in _TEXTS:
            if rest := choice.texts[name].close():
                self._say(Delta(NULL, index), choice, {name: rest}, out)
        for number, scanner in choice.calls.items():
            if rest := scanner.close():
                call = {"index": number, "function": {"arguments": rest}}
                self._say(Delta(NULL, index), choice, {"tool_calls": [call]}, out)
        if choice.tokens:
            self._say(Delta(NULL, index), choice, {"content": ""}, out)

    def _pass(self, event: Delta, choice: _Choice, said: dict[str, Any], out: list[Event]) -> None:
        """Return a delta of which nothing is held or replaced, with its log probabilities."""
        logprobs = event.logprobs
        if logprobs is not NULL:
            logprobs = self._harmless(logprobs, said.get("content") or said.get("refusal") or "")
        tokens, choice.tokens = choice.tokens + event.tokens, 0
        out.append(Delta(msgspec.Raw(_json(said)), event.index, tokens, logprobs))

    def _say(self, event: Delta, choice: _Choice, said: dict[str, Any], out: list[Event]) -> None:
        """Return what may go out now, without log probabilities of held or replaced tokens."""
        choice.tokens += event.tokens
        if not said:
            return
        tokens, choice.tokens = choice.tokens, 0
        out.append(Delta(msgspec.Raw(_json(said)), event.index, tokens))

    def _harmless(self, sent: msgspec.Raw, text: str) -> msgspec.Raw:
        """Return log probabilities without candidates that must not be shown.

        Return none if they are not those of this text: some servers send them before or after it.
        """
        try:
            logprobs = _logprobs.decode(sent)
        except msgspec.DecodeError:
            raise UpstreamFailed("The model sent a malformed record.") from None
        entries = [*(logprobs.content or ()), *(logprobs.refusal or ())]
        if "".join(entry.token for entry in entries) != text or any(map(self._bad, entries)):
            return NULL
        for entry in entries:
            entry.top_logprobs = [it for it in entry.top_logprobs if not self._bad(it)]
        return msgspec.Raw(_json(logprobs))

    def _bad(self, candidate: _Candidate) -> bool:
        token = candidate.token
        if replace(self._machine, self._rewrite, token) != token:
            return True
        if candidate.bytes is None:
            return False
        try:
            raw = bytes(candidate.bytes).decode("utf-8", "replace")
        except ValueError:
            return True
        return raw != token and replace(self._machine, self._rewrite, raw) != raw


def label(kind: str, text: str) -> str:
    """Return what stands for a match: its kind."""
    return f"[{kind.upper()}]"


def pseudonyms(secret: str, key_id: str) -> Rewrite:
    """Return what makes pseudonyms for the answers to one key.

    Args:
        secret: A secret of the deployment. Another secret makes other pseudonyms.
        key_id: The id of the key.

    """
    key = hmac.digest(secret.encode(), f"pseudonyms of {key_id}".encode(), "sha256")

    def pseudonym(kind: str, text: str) -> str:
        if kind in ALIKE:
            return label(kind, text)
        text = text.casefold()
        if kind in _SEPARATED:
            text = text.translate(_SEPARATORS)
        digest = hmac.digest(key, f"{kind}\0{text}".encode("utf-8", "surrogatepass"), "sha256")
        return f"[{kind.upper()}-{base64.b32encode(digest)[:8].decode().lower()}]"

    return pseudonym
