"""The blocks of a response whose form has one part open at a time.

Deltas of a model may mix texts, reasoning and the pieces of several calls. `Blocks` turns them into
a sequence of blocks that begin, grow and end one after another, from which Anthropic's messages and
OpenAI's responses are written.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from lambda_fn.encode.base import Annotation, ToolPiece, raw_logprobs, read_delta
from lambda_fn.events import NULL, Delta

TextKind = Literal["text", "thinking", "refusal"]
Kind = TextKind | Literal["tool_use"]


class Begin(NamedTuple):
    """A block begins. A `tool_use` block has the first piece of its call."""

    kind: Kind
    call: ToolPiece | None = None


class Grow(NamedTuple):
    """The open block grows by a text, which is JSON in a `tool_use` block.

    `logprobs` are the entries of the text's log probabilities as JSON, joined with commas.
    """

    kind: Kind
    text: str
    logprobs: bytes = b""


class Finished(NamedTuple):
    """The open block ends."""

    kind: Kind


class Cite(NamedTuple):
    """The open block, a text, cites a source."""

    source: Annotation
    kind: Kind = "text"


Step = Begin | Grow | Cite | Finished


class Blocks:
    """The blocks of one response.

    A block that has ended cannot grow, and some servers send the pieces of several calls by turns.
    So while the arguments of a call are incomplete, all that does not belong to that call is held
    back to the end.
    """

    def __init__(self, *, thinking: bool, refusal: TextKind = "refusal") -> None:
        """Begin with no block.

        Args:
            thinking: Whether reasoning is a part of the response.
            refusal: The kind of block that a refusal becomes.

        """
        self._thinking = thinking
        self._refusal: TextKind = refusal
        self._open: Kind | None = None
        self._call = -1
        self._arguments: list[str] = []
        self._ended: set[int] = set()
        self._held: dict[int | TextKind, list[ToolPiece | Grow | Cite]] = {}
        """What is held back, by the index of a call or the kind of a text."""
        self._logprobs = b""
        """Those of tokens without a text of their own, such as the first bytes of a character."""
        self.refused = False

    def grown(self, event: Delta) -> str | None:
        """Return the text by which the open block grows, if a delta does nothing else.

        Nearly every token is such a delta, and needs no steps. None is for any other delta, which
        `add` has to take. Raises as `read_delta`.
        """
        if event.logprobs is not NULL or self._logprobs:
            return None
        if self._open == "text":
            fields = read_delta(event)
            text, other = fields.content, fields.reasoning_content
        elif self._open == "thinking":
            fields = read_delta(event)
            text, other = fields.reasoning_content, fields.content
        else:
            return None
        if other or fields.refusal or fields.tool_calls or fields.annotations:
            return None
        return text or None

    def add(self, event: Delta) -> Iterator[Step]:
        """Yield the steps of a delta. Raises as `read_delta`."""
        fields = read_delta(event)
        if event.logprobs is not NULL and fields.content is not None:
            self._logprobs = _joined(self._logprobs, raw_logprobs(event) or b"")
        if fields.reasoning_content and self._thinking:
            yield from self._text(Grow("thinking", fields.reasoning_content))
        if fields.content:
            yield from self._text(Grow("text", fields.content, self._take_logprobs()))
        if fields.refusal:
            self.refused = True
            yield from self._text(Grow(self._refusal, fields.refusal))
        for annotation in fields.annotations or ():
            if self._must_wait():
                self._held.setdefault("text", []).append(Cite(annotation))
            elif self._open == "text":
                yield Cite(annotation)
        for piece in fields.tool_calls or ():
            yield from self._piece(piece)

    def end(self) -> Iterator[Step]:
        """Yield the steps that end the response."""
        yield from self._close()
        held, self._held = self._held, {}
        for parts in held.values():
            for part in parts:
                if isinstance(part, ToolPiece):
                    yield from self._write(part)
                elif not isinstance(part, Cite):
                    yield from self._grow(part)
                elif self._open == "text":
                    yield part
            yield from self._close()

    def _text(self, grown: Grow) -> Iterator[Step]:
        if self._must_wait():
            self._held.setdefault(grown.kind, []).append(grown)  # type: ignore[arg-type]
        else:
            yield from self._grow(grown)

    def _piece(self, piece: ToolPiece) -> Iterator[Step]:
        ours = self._open == "tool_use" and piece.index == self._call
        if ours or (piece.index not in self._ended and not self._must_wait()):
            yield from self._write(piece)
        elif piece.index not in self._ended:
            self._held.setdefault(piece.index, []).append(piece)

    def _must_wait(self) -> bool:
        """Return whether the open block is a call whose arguments are incomplete."""
        if self._held:
            return True
        if self._open != "tool_use":
            return False
        try:
            msgspec.json.decode("".join(self._arguments), type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return True
        return False

    def _grow(self, grown: Grow) -> Iterator[Step]:
        if self._open != grown.kind:
            yield from self._close()
            self._open = grown.kind
            yield Begin(grown.kind)
        yield grown

    def _write(self, piece: ToolPiece) -> Iterator[Step]:
        if self._open != "tool_use" or piece.index != self._call:
            yield from self._close()
            self._open, self._call, self._arguments = "tool_use", piece.index, []
            yield Begin("tool_use", piece)
        if piece.function.arguments:
            self._arguments.append(piece.function.arguments)
            yield Grow("tool_use", piece.function.arguments)

    def _close(self) -> Iterator[Step]:
        if self._open is None:
            return
        kind, self._open = self._open, None
        if kind == "text" and (rest := self._take_logprobs()):
            yield Grow("text", "", rest)
        if kind == "tool_use":
            self._ended.add(self._call)
        yield Finished(kind)

    def _take_logprobs(self) -> bytes:
        taken, self._logprobs = self._logprobs, b""
        return taken


def _joined(first: bytes, second: bytes) -> bytes:
    return first + b"," + second if first and second else first or second
