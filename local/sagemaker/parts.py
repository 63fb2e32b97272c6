"""Where the answer of a container is cut into payload parts.

SageMaker's parts are not the container's chunks. Bytes are never held back here; at random places they are cut once
more, so that half a record or half a character in a part is an everyday thing. The same seed cuts the same bytes at the
same places.
"""

import random
from collections.abc import Iterator

# Every so many reads are cut in two.
_CUT_ONE_IN = 4


class Cutter:
    """Cuts one answer."""

    def __init__(self, seed: int) -> None:
        """`seed` fixes all cuts."""
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret

    def cut(self, data: bytes) -> Iterator[bytes]:
        """The pieces of what was just read; none is empty."""
        if len(data) > 1 and self._random.randrange(_CUT_ONE_IN) == 0:
            at = self._random.randrange(1, len(data))
            yield data[:at]
            yield data[at:]
        elif data:
            yield data

    def rest(self) -> bytes:
        """What was held back: nothing."""
        return b""
