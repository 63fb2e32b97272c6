"""The interface between the server and an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from model.engines.steps import Steps
    from model.events import Event
    from model.schema import ChatRequest


class Engine(Protocol):
    """Turns chat requests into events. `test_base.py` checks that it does as listed.

    It must
    - count the prompt with its tokenizer and report it in `Start` before it samples, so that the
      caller may close there;
    - refuse a prompt that leaves no room in the context with `ContextLengthError`, and clamp the
      answer to the room there is (finish reason "length");
    - enforce max_tokens and stop strings, keep stop strings out of the text, and never end a text
      within a character;
    - count the prompt once for all choices;
    - buffer a bounded amount: while events are not read, the engine waits;
    - free the sequence when the generator is closed or cancelled, at the next token at the latest;
    - raise nothing but errors of `model.errors`.

    It need not limit, queue or pace requests, know deadlines or request ids, send heartbeats,
    merge tokens or log: `model.generation` does that. It is used from one event loop only.
    """

    @property
    def healthy(self) -> bool:
        """Whether the engine can take requests; false once it has died.

        Every /ping reads this, so it must be cheap.
        """

    @property
    def active(self) -> int:
        """The number of requests that hold resources of the engine now."""

    @property
    def cache_usage(self) -> float | None:
        """The share of the engine's cache in use, from 0 to 1.

        None means that the engine does not know it. The container then counts tokens instead.
        """

    @property
    def vocabulary(self) -> int:
        """The tokens of a started engine that compares them with grammars of its own.

        0 means that its grammars do not depend on their number.
        """

    @property
    def steps(self) -> Steps | None:
        """The measurement of the engine's steps; None if the engine cannot tell steps apart."""

    async def metrics(self) -> bytes:
        """Return the engine's own metrics as Prometheus text, which may be empty."""

    async def start(self) -> None:
        """Load the weights.

        Raises StartError.
        """

    def generate(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """Yield the events of one request, in the order of `model.events`.

        Each step yields what was sampled since the last one: one event or many, never none.
        """

    async def tokenize(self, text: str, *, special: bool) -> list[int]:
        """Return the tokens of a text, with those that begin every prompt if `special`."""

    async def detokenize(self, tokens: list[int]) -> str:
        """Return the text of tokens.

        Raises InvalidRequestError for a number that is not a token.
        """

    async def close(self) -> None:
        """Release all resources. Running requests end with an error."""
