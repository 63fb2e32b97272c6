"""Where a container's response is cut into payload parts.

SageMaker's parts are not the container's chunks. Bytes are never held back here; at random places
they are cut once more, so that half a record or half a character in a part is usual. The same seed
cuts the same bytes at the same places.
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
