"""Who of the callers may prepare a grammar next: each has a share of the engine's time for that.

A grammar is made by the engine itself, for each choice, and nothing else goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from model.errors import OverloadedError

# of CPU for one choice: as long as a step may take, and more than ordinary schemas do
FREE_SECONDS = 0.02
SHARE = 10  # what is over that, of one caller, is at most a tenth of all time
MOST_AHEAD = 2.0  # seconds of wall time: a caller with more ahead is refused
_KEPT = 4096  # callers


class Turns:
    """When each caller may prepare next."""

    def __init__(self) -> None:
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def check(self, caller: str) -> None:
        """Raise OverloadedError where the caller has too much ahead."""
        self._start(caller)

    async def take(self, caller: str, seconds: float, choices: int) -> None:
        """Wait for the caller's turn, and take it for a grammar of `seconds` of CPU time for each
        of the choices.

        Raises:
            OverloadedError: the caller has too much ahead.

        """
        start = self._start(caller)
        self._free_at[caller] = start + max(0.0, seconds - FREE_SECONDS) * choices * SHARE
        self._free_at.move_to_end(caller)
        while len(self._free_at) > _KEPT:
            self._free_at.popitem(last=False)
        await asyncio.sleep(start - _now())

    def _start(self, caller: str) -> float:
        start = max(_now(), self._free_at.get(caller, 0.0))
        if start - _now() > MOST_AHEAD:
            raise OverloadedError(
                "the schemas of this caller took much of the engine's time; try again in a "
                "few seconds, or simplify "
                "them"
            )
        return start


def _now() -> float:
    return asyncio.get_running_loop().time()
