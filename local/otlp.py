"""The HTTP of AWS's OTLP endpoints: the limit of a body, its form, and the answer.

Only OTLP's JSON is taken here, which AWS takes beside its binary form. What a signal is made of,
and its own limits, are in `local.xray` and `local.otlp_metrics`.
"""

import json
import re
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

from aiohttp import web

from local import bodies

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError)
_FUTURE_S, _PAST_S = 2 * 3600, 14 * 86_400

Item = dict[str, Any]
Send = Callable[[list[Item]], Awaitable[None]]
"""Sends items on as `local.moto.telemetry` describes them."""


class Line(NamedTuple):
    """A log line: its time in nanoseconds of Unix time, and its JSON."""

    at: int
    content: Item


class Receiver:
    """Takes the requests of one signal, and sends each record on as a log line."""

    def __init__(
        self,
        send: Send,
        lines: Callable[[Any], Iterator[Line]],
        *,
        group: str,
        service: str,
        max_body: int,
    ) -> None:
        """`lines` yields the log lines of a request's JSON; what it raises makes the request a 400.

        `group` is the log group, `service` the name with which callers sign, and `max_body` the
        largest body in bytes.
        """
        self._send, self._lines, self._group, self._max_body = send, lines, group, max_body
        self._region = re.compile(rf"Credential=[^/]*/\d+/([a-z0-9-]+)/{service}/")

    async def take(self, request: web.Request) -> web.Response:
        """Answer a POST: `{}`, or a status of 400, 413 or 415 with the reason."""
        if request.content_type != "application/json":
            return _error(415, "the local cloud takes OTLP as application/json")
        body = await bodies.read(request, self._max_body)
        if body is None:
            return _error(413, f"a request has at most {self._max_body} bytes")
        try:
            lines = list(self._lines(json.loads(body)))
        except _MALFORMED as error:
            return _error(400, f"the request is not OTLP's JSON, or over a limit: {error}")
        region = self._region.search(request.headers.get("Authorization", ""))
        items = [
            {
                "region": region[1] if region else "us-east-1",
                "group": self._group,
                "stream": "default",
                "timestamp": line.at // 1_000_000,
                "message": json.dumps(line.content, ensure_ascii=False, separators=(",", ":")),
            }
            for line in lines
        ]
        if items:
            await self._send(items)
        return web.json_response({})


def is_recent(at: int) -> bool:
    """Whether a time, in nanoseconds of Unix time, is neither too old nor too far ahead."""
    now = time.time()
    return (now - _PAST_S) * 1e9 <= at <= (now + _FUTURE_S) * 1e9


def _error(status: int, message: str) -> web.Response:
    return web.json_response({"message": message}, status=status)
