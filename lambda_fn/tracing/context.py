"""The trace that a request belongs to: W3C's `traceparent` and `tracestate`. Pure.

What a caller sends is bounded here. A malformed `traceparent` is ignored, and `tracestate` with it;
a malformed `tracestate` is ignored alone. Source: https://www.w3.org/TR/trace-context/ (level 1).
"""

import os
import re
from typing import NamedTuple

_VERSION = "00"
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?\Z")
_KEY = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_VALUE = r"[ -+\--<>-~]{0,255}[!-+\--<>-~]"
_MEMBER = re.compile(rf"({_KEY})=({_VALUE})\Z")
_MAX_PARENT = 256
_MAX_STATE = 512
"""Characters of `tracestate` that are passed on. W3C asks for 512 at least."""
_MAX_READ = 8192
_LONG_MEMBER = 128
"""Members over this length are dropped first, as W3C asks for."""
_MAX_MEMBERS = 32
_LAMBDA = re.compile(r"1-([0-9a-f]{8})-([0-9a-f]{24})")
_SPAN = re.compile(r"[0-9a-f]{16}")


class TraceContext(NamedTuple):
    """One span's place in its trace. Ids are lower-case hexadecimal digits.

    `parent_id` is the span that called for this one, empty if there is none or if it is unknown.
    `state` is what `tracestate` passes on, within its limits.
    """

    trace_id: str
    span_id: str
    parent_id: str
    sampled: bool
    state: str = ""

    @property
    def traceparent(self) -> str:
        """The header `traceparent` of a call that this span makes."""
        return f"{_VERSION}-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    @property
    def attributes(self) -> str:
        """SageMaker's custom attributes of a call that this span makes. They reach the container.

        They have at most 1,024 visible characters. `tracestate` comes last, because its values may
        have semicolons.
        """
        state = f";tracestate={self.state}" if self.state else ""
        return f"traceparent={self.traceparent}{state}"


def begin(
    traceparent: str,
    tracestate: str,
    *,
    ratio: float,
    callers: bool = False,
    lambda_header: str = "",
) -> TraceContext:
    """Return the place of a new span.

    Args:
        traceparent: The caller's header, empty if there is none. A request whose flag is not set
            is not sampled.
        tracestate: The caller's header, empty if there is none.
        ratio: The share of the other requests that are sampled, from 0 to 1. A caller chooses the
            id of its trace, so its id does not decide whether it is in the share.
        callers: Whether each request is sampled whose caller's flag is set.
        lambda_header: Lambda's own trace header, as of X-Ray. Without a caller's trace, the request
            belongs to Lambda's.

    """
    span_id = _random(8)
    if (parent := _read_parent(traceparent)) is not None:
        trace_id, parent_id, sampled = parent
        sampled = sampled and (callers or _is_sampled(_random(16), ratio))
        return TraceContext(trace_id, span_id, parent_id, sampled, _read_state(tracestate))
    trace_id, parent_id = _read_lambda(lambda_header) or (_random(16), "")
    return TraceContext(trace_id, span_id, parent_id, _is_sampled(trace_id, ratio))


def _read_parent(header: str) -> tuple[str, str, bool] | None:
    """Return the trace, the span, and whether it is sampled. None if the header is malformed.

    A version after 00 may have more at its end.
    """
    if len(header) > _MAX_PARENT or (found := _PARENT.match(header)) is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == _VERSION and more is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return trace_id, span_id, bool(int(flags, 16) & 1)


def _read_state(header: str) -> str:
    """Return a `tracestate` that fits, empty if the header is malformed."""
    if not header or len(header) > _MAX_READ:
        return ""
    members = [member.strip(" \t") for member in header.split(",")]
    members = [member for member in members if member]
    found = [_MEMBER.match(member) for member in members]
    keys = {match[1] for match in found if match is not None}
    if len(keys) < len(members) or len(members) > _MAX_MEMBERS:  # one is malformed or comes twice
        return ""
    while len(",".join(members)) > _MAX_STATE:
        longest = [member for member in members if len(member) > _LONG_MEMBER]
        members.remove((longest or members)[-1])
    return ",".join(members)


def _read_lambda(header: str) -> tuple[str, str] | None:
    """Return the trace of Lambda's header, and Lambda's own span in it if Lambda samples it."""
    fields = dict(part.strip().partition("=")[::2] for part in header[:512].split(";"))
    root = _LAMBDA.fullmatch(fields.get("Root", ""))
    if root is None:
        return None
    parent = fields.get("Parent", "") if fields.get("Sampled") == "1" else ""
    return root[1] + root[2], parent if _SPAN.fullmatch(parent) else ""


def _is_sampled(trace_id: str, ratio: float) -> bool:
    """Return whether a trace is in the sampled share: by the random end of its id.

    All services that decide so sample the same traces.
    """
    return int(trace_id[18:], 16) < ratio * 2**56


def _random(size: int) -> str:
    """Return a random id of `size` bytes that is not zero."""
    while not (found := os.urandom(size).hex()).strip("0"):
        pass
    return found
