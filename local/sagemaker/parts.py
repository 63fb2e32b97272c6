"""Cuts a container's response into payload parts.

SageMaker's parts are not the container's chunks. Bytes are never held back here, but some reads are
cut in two at a random place. So a part often ends within a record or a character. The same seed
cuts the same reads at the same places.
"""

import random
from collections.abc import Iterator

# One of this many reads is cut in two.
_CUT_ONE_IN = 4


class Cutter:
    """Cuts one response."""

    def __init__(self, seed: int) -> None:
        """`seed` determines all cuts."""
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret

    def cut(self, data: bytes) -> Iterator[bytes]:
        """Yield the pieces of the bytes just read; none is empty."""
        if len(data) > 1 and self._random.randrange(_CUT_ONE_IN) == 0:
            at = self._random.randrange(1, len(data))
            yield data[:at]
            yield data[at:]
        elif data:
            yield data

    def rest(self) -> bytes:
        """Return no bytes: nothing is held back."""
        return b""
