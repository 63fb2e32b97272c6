"""What can be asked for beyond OpenAI's API: the object `sluice` of a request, or headers."""

from typing import Literal

from msgspec import Struct

Buffering = Literal["none", "word", "sentence", "line", "json"]


class Extensions(Struct, frozen=True, omit_defaults=True):
    """The object `sluice`; it goes before headers."""

    buffer: Buffering | None = None
