"""Checks the schemas of requests, and limits each caller's share of the time for it.

The check of a large schema takes some 50 ms, in which no answer goes on. So a request's schemas are
checked once, and the result is remembered. Each caller has a share of the time for new ones.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from model.engines.turns import Turns
from model.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from model.schema import ChatRequest

SECONDS = 4e-7  # of CPU time for a character of schemas: to check, to rewrite, and to prepare
FREE_SECONDS = 0.005  # of a request that do not count: tools of 12,000 characters
_KEPT = 1024  # results


class SchemaChecks:
    """The checks of all requests of one container."""

    def __init__(self, tokens: Callable[[], int] = lambda: 0) -> None:
        """`tokens` returns the size of the vocabulary that the engine compares with grammars."""
        self._tokens = tokens
        self._turns = Turns(FREE_SECONDS)
        self._known: OrderedDict[bytes, InvalidRequestError | None] = OrderedDict()
        self._checking: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()

    async def check(self, request: ChatRequest) -> None:
        """Wait for the caller's turn, and check the schemas of a request.

        Raises:
            InvalidRequestError: a schema cannot guide the answer. The error has its place.
            OverloadedError: the caller's schemas took too much time recently.

        """
        if (text := request.schemas_text) is None:
            return
        digest = hashlib.sha256(text.encode()).digest()
        lock = self._checking.setdefault(digest, asyncio.Lock())
        async with lock:  # requests with the same schemas wait for the first of them
            if digest not in self._known:
                await self._turns.take(request.sluice.caller, len(text) * SECONDS, 1)
                self._known[digest] = _result(request, self._tokens())
                if len(self._known) > _KEPT:
                    self._known.popitem(last=False)
        self._known.move_to_end(digest)
        if (known := self._known[digest]) is not None:
            raise InvalidRequestError(known.message, known.param)


def _result(request: ChatRequest, tokens: int) -> InvalidRequestError | None:
    try:
        request.check_schemas(tokens)
    except InvalidRequestError as error:
        return InvalidRequestError(error.message, error.param)  # without the request's frames
    return None
