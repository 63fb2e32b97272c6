"""Limits each caller's share of the time for checking schemas and for preparing grammars.

The engine prepares a grammar for each choice, and generates nothing meanwhile. While a schema is
checked, no answer goes on either.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from model.errors import OverloadedError

# CPU seconds for one choice that do not count: as long as a step may take, and more than ordinary
# schemas need.
FREE_SECONDS = 0.02
SHARE = 10  # the time that counts is at most 1/SHARE of all time, for one caller
MOST_AHEAD = 2.0  # seconds of wall time: a caller that would wait longer is refused
_KEPT = 4096  # callers


class Turns:
    """The times at which callers may have their next schema checked, or prepare their next grammar.

    `free` seconds of each do not count.
    """

    def __init__(self, free: float = FREE_SECONDS) -> None:
        self._free = free
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def check(self, caller: str) -> None:
        """Raise OverloadedError if the caller would have to wait too long."""
        self._start(caller)

    async def take(self, caller: str, seconds: float, choices: int) -> None:
        """Wait for the caller's turn, and charge it for a grammar.

        The grammar takes `seconds` of CPU time for each of the `choices`.

        Raises OverloadedError if the caller would have to wait too long.
        """
        start = self._start(caller)
        self._free_at[caller] = start + max(0.0, seconds - self._free) * choices * SHARE
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
