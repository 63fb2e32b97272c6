"""Checks the schemas of requests, and limits each caller's share of the time for it.

The check of a large schema takes some 50 ms, in which no answer goes on. So a request's schemas are
checked once, and remembered if they are right. Each caller has a share of the time for new ones.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from model.engines.turns import Turns

if TYPE_CHECKING:
    from model.schema import ChatRequest

SECONDS = 4e-7  # of CPU time for a character of schemas: to check, to rewrite, and to prepare
FREE_SECONDS = 0.005  # of a request that do not count: tools of 12,000 characters
_KEPT = 1024  # digests of schemas that are right


class SchemaChecks:
    """The checks of all requests of one container."""

    def __init__(self) -> None:
        self._turns = Turns(FREE_SECONDS)
        self._known: OrderedDict[bytes, None] = OrderedDict()

    async def check(self, request: ChatRequest) -> None:
        """Wait for the caller's turn, and check the schemas of a request.

        Raises:
            InvalidRequestError: a schema cannot guide the answer. The error has its place.
            OverloadedError: the caller's schemas took too much time of late.

        """
        if (text := request.schemas_text) is None:
            return
        digest = hashlib.sha256(text.encode()).digest()
        if digest not in self._known:
            await self._turns.take(request.sluice.caller, len(text) * SECONDS, 1)
            if digest not in self._known:  # another request may have had the same schemas
                request.check_schemas()
        self._known[digest] = None
        self._known.move_to_end(digest)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
