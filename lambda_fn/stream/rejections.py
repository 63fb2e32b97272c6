"""Counts the requests that were rejected before they were admitted.

A flood of them must not cost a log line each, so an environment writes one line each
`limits.REJECTIONS_EVERY` seconds at most, and `limits.REJECTIONS_BURST` after a quiet time. Below
that rate each rejection is written at once, since Lambda may freeze an environment after any
response and never wake it again. What a flood leaves is written by a timer. It is lost if the
environment is frozen first, and never woken.
"""

import asyncio
import time

from lambda_fn import limits
from lambda_fn.emf import DEPLOYMENT, Directive, embedded
from lambda_fn.log import log

CODES = (
    "insufficient_quota",
    "internal_error",
    "invalid_api_key",
    "key_contended",
    "model_not_found",
    "monthly_ceiling_reached",
    "network_not_allowed",
    "origin_denied",
    "permission_denied",
    "rate_limit_exceeded",
    "request_running",
    "service_stopped",
    "service_unavailable",
)
"""The codes that have a metric of their own: `Rejected.` and the code. The others are counted as
`Rejected.invalid_request` if their status is under 500, and as `Rejected.other`.
"""
NAMES = tuple(f"Rejected.{code}" for code in (*CODES, "invalid_request", "other"))
CLASSES = ("Rejected4xx", "Rejected5xx")


class Rejections:
    """The counts of one environment since its last line."""

    def __init__(self, deployment: str) -> None:
        """Begin with none. `deployment` is the value of the metrics' dimension."""
        self._deployment = deployment
        self._counts: dict[str, int] = {}
        self._lines = float(limits.REJECTIONS_BURST)
        self._since = time.monotonic()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, status: int, code: str | None) -> None:
        """Count a request that was rejected with this status and code."""
        server = status >= 500
        named = code if code in CODES else "other" if server else "invalid_request"
        name = f"Rejected.{named}"
        for one in (name, CLASSES[server]):
            self._counts[one] = self._counts.get(one, 0) + 1
        if self._timer is not None:
            return
        now = time.monotonic()
        gained = (now - self._since) / limits.REJECTIONS_EVERY
        self._lines = min(self._lines + gained, float(limits.REJECTIONS_BURST))
        self._since = now
        if self._lines >= 1:
            self._write()
        else:
            wait = (1 - self._lines) * limits.REJECTIONS_EVERY
            self._timer = asyncio.get_running_loop().call_later(wait, self._write_rest)

    def _write_rest(self) -> None:
        self._timer = None
        self._lines, self._since = 1.0, time.monotonic()
        self._write()

    def _write(self) -> None:
        counts, self._counts = self._counts, {}
        self._lines -= 1
        units = dict.fromkeys(counts, "Count")
        log(
            "rejections",
            **embedded([Directive(units, [[DEPLOYMENT]])], now=time.time()),
            **{DEPLOYMENT: self._deployment},
            **counts,
        )
