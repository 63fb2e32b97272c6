"""The policies of a deployment: what answers do not show, what is blocked, what runs in the
background.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lambda_fn.patterns import Kind


class Redaction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What no answer of a deployment shows. Keys and requests may add kinds to it.

    `patterns` and `words` are the deployment's own, by name. With `pseudonyms`, a match becomes a
    name that is the same each time, and else a label.
    """

    kinds: tuple[Kind, ...] = ()
    patterns: dict[str, str] = {}  # msgspec makes a new dict for each
    words: dict[str, tuple[str, ...]] = {}
    pseudonyms: bool = False


NO_REDACTION = Redaction()


class Guardrail(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A guardrail of Amazon Bedrock that judges prompts and answers.

    With `sync`, text is held until it was judged. With `fail_open`, text goes on that could not be
    judged.
    """

    id: Annotated[str, Meta(pattern=r"^[a-z0-9]{1,64}\Z")]
    version: Annotated[str, Meta(pattern=r"^([1-9][0-9]{0,7}|DRAFT)\Z")]
    mode: Literal["sync", "async"] = "sync"
    fail_open: bool = False


class Moderation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What blocks a prompt and ends an answer: patterns and words by category, and a guardrail.

    With the mode `score`, they do so only if the key or the request says so.
    """

    patterns: dict[str, str] = {}  # msgspec makes a new dict for each
    words: dict[str, tuple[str, ...]] = {}
    guardrail: Guardrail | None = None
    mode: Literal["block", "score"] = "block"

    @property
    def is_empty(self) -> bool:
        """Whether nothing is checked."""
        return not self.has_rules and self.guardrail is None

    @property
    def has_rules(self) -> bool:
        """Whether there are patterns or words."""
        return bool(self.patterns or self.words)


NO_MODERATION = Moderation()


class Background(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How responses run in the background.

    `per_key` bounds the unended ones of a key, and `at_once` those of all keys that run. One that
    finds no room waits for it, `wait_hours` at most. With `invoke`, each is run by an invocation of
    its own, of the function's alias `alias`.
    """

    per_key: Annotated[int, Meta(ge=1, le=100)] = 10
    at_once: Annotated[int, Meta(ge=1, le=100_000)] = 5
    wait_hours: Annotated[int, Meta(ge=1, le=168)] = 24
    invoke: bool = False
    alias: str = "live"
    tells: str | None = None
    """The function that tells a webhook how responses end; None without a webhook."""


BACKGROUND = Background()
