"""What the server needs of an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from model.engines.steps import Steps
    from model.events import Event
    from model.schema import ChatRequest


class Engine(Protocol):
    """Turns chat requests into events. Made with the settings alone; held to this by `test_engines.py`.

    It must
    - count the prompt by its own tokenizer and say so in `Start` before it samples, so that the caller may close there;
    - refuse a prompt that leaves no room in the context with `ContextLengthError`, and clamp the answer to the room
      there is (finish reason "length");
    - enforce max_tokens and stop strings, keep stop strings out of the text, and never end a text within a character;
    - count the prompt once for all choices;
    - buffer a bounded amount: where nobody takes events, the engine's reader waits;
    - free the sequence when the generator is closed or cancelled, at the next token at the latest;
    - raise nothing but errors of `model.errors`.

    It need not limit how many requests run, queue them, pace them, know deadlines or request ids, send heartbeats,
    merge tokens or log: `model.generation` does. It is used from one event loop only.
    """

    @property
    def healthy(self) -> bool:
        """Whether it can take requests, false once it has died; cheap, read at every /ping."""

    @property
    def active(self) -> int:
        """How many requests hold resources of the engine now."""

    @property
    def cache_usage(self) -> float | None:
        """The share of its cache in use, from 0 to 1; None if it cannot say, and its tokens are counted instead."""

    @property
    def steps(self) -> Steps | None:
        """What measures its steps; None if it cannot tell one from the next."""

    async def metrics(self) -> bytes:
        """What it counts itself, under its own names, as Prometheus text; may be empty."""

    async def start(self) -> None:
        """Load the weights; raises StartError."""

    def generate(self, request: ChatRequest) -> AsyncGenerator[list[Event], None]:
        """The events of one request, in the order of `model.events`.

        Each step gives what was sampled since the last one, one event or many, never none.
        """

    async def close(self) -> None:
        """Give everything back; running requests end with an error."""
