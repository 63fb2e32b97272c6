"""Records of a request that its caller traces: the last one has the container's times.

The caller names the trace in SageMaker's custom attributes, as `traceparent=` and W3C's header. The
container sends no spans itself, because it may have no network: its caller makes one of

    {"type":"end","trace":{"span_id":"...","began":...,"started":...,"first_token":...,"ended":...}}

Times are Unix microseconds: when the request came, when its prompt was counted after its turn had
come, when it had its first token, and its end. An error has the same member.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING

from model.events import Delta, Event, Start
from model.lines import LineEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from model.errors import ModelError

HEADER = "x-amzn-sagemaker-custom-attributes"
_SAMPLED = re.compile(
    r"traceparent=00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f][13579bdf](;|\Z)"
)
_MAX_ATTRIBUTES = 1024
_MOMENTS: dict[type[Event], str] = {Start: "started", Delta: "first_token"}


def is_traced(attributes: str) -> bool:
    """Return whether a call's custom attributes name a trace that is sampled."""
    return len(attributes) <= _MAX_ATTRIBUTES and _SAMPLED.match(attributes) is not None


class TracedLines(LineEncoder):
    """Encodes the records of one request, from the moment at which it came."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        """Begin now. `clock` tells Unix seconds."""
        self._clock = clock
        self._times = {"began": self._now()}

    def event(self, event: Event) -> bytes:
        """Return one record."""
        name = _MOMENTS.get(type(event))
        if name is not None and name not in self._times:
            self._times[name] = self._now()
        return super().event(event)

    def end(self) -> bytes:
        """Return the record of a complete answer."""
        return self._with_times(super().end())

    def error(self, error: ModelError) -> bytes:
        """Return the record of a failure."""
        return self._with_times(super().error(error))

    def _with_times(self, record: bytes) -> bytes:
        self._times["ended"] = self._now()
        times = ",".join(f'"{name}":{at}' for name, at in self._times.items())
        trace = f',"trace":{{"span_id":"{secrets.token_hex(8)}",{times}}}}}\n'
        return record.removesuffix(b"}\n") + trace.encode()

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)
