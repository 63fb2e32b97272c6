"""The figures of a window of time, from the lines that the stream function logs. Pure.

Each request has one line when it is settled (`lambda_fn/stream/settle.py`), with its key, model,
outcome, tokens, cost, and the times to its first token and its end; and its metrics
(`lambda_fn/stream/metrics.py`), which have its cause. Requests that were rejected before admission
have none.
"""

import json
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

EVENTS = ("request", "settlement_unsaved")
MAX_LINES = 50_000
"""Requests of a window that are kept. Of more, only the newest."""
_BARS = 30
_KEYS = 5


@dataclass(frozen=True)
class Ended:
    """A request that is over. `at` is Unix seconds; `cost` is nano-USD."""

    request_id: str
    at: float
    key: str
    model: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    ttft_ms: int | None
    duration_ms: int | None
    cost: int
    cause: str = ""
    """Why it ended, such as `Upstream`; empty where the line has no metrics."""
    itl_p95_ms: float | None = None
    """The 95th percentile of the times between its tokens, as its client got them."""

    @property
    def itl_ms(self) -> float | None:
        """The mean time between its tokens."""
        if self.ttft_ms is None or self.duration_ms is None or self.completion_tokens < 2:
            return None
        return (self.duration_ms - self.ttft_ms) / (self.completion_tokens - 1)


def parse(line: str, at: float) -> Ended | None:
    """Return the request of a log line; None if it is another line."""
    try:
        found = json.loads(line)
        if found["event"] not in EVENTS:
            return None
        return Ended(
            request_id=str(found["request_id"]),
            at=at,
            key=str(found["key"]),
            model=str(found["model"]),
            outcome=str(found["outcome"]),
            prompt_tokens=int(found["prompt_tokens"]),
            completion_tokens=int(found["completion_tokens"]),
            ttft_ms=found["ttft_ms"],
            duration_ms=found["duration_ms"],
            cost=int(found["cost"]),
            cause=next((it.removeprefix("Ended") for it in found if it.startswith("Ended")), ""),
            itl_p95_ms=float(found["InterTokenP95"]) * 1000 if "InterTokenP95" in found else None,
        )
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


class Window:
    """The requests that ended within the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        """Begin without requests."""
        self.seconds = seconds
        self._kept: deque[Ended] = deque(maxlen=MAX_LINES)
        self._known: set[str] = set()
        self.truncated = False
        """Whether more requests ended than are kept."""

    def add(self, ended: Iterable[Ended]) -> None:
        """Add requests, in the order of their ends. One that is there already changes nothing."""
        for it in ended:
            if it.request_id in self._known:
                continue
            if len(self._kept) == MAX_LINES:
                self._known.discard(self._kept[0].request_id)
                self.truncated = True
            self._kept.append(it)
            self._known.add(it.request_id)

    def figures(self, now: float) -> dict[str, Any]:
        """Return the figures at a moment, and forget what is older than the window."""
        while self._kept and self._kept[0].at < now - self.seconds:
            self._known.discard(self._kept.popleft().request_id)
        kept = [it for it in self._kept if it.at <= now]
        keys: dict[str, Counter[str]] = {}
        for it in kept:
            counted = {"requests": 1, "tokens": it.prompt_tokens + it.completion_tokens}
            keys.setdefault(it.key, Counter()).update({**counted, "cost": it.cost})
        ranked = sorted(keys.items(), key=lambda it: (-it[1]["cost"], -it[1]["tokens"], it[0]))
        tokens = [0] * _BARS
        for it in kept:
            place = int((it.at - (now - self.seconds)) / self.seconds * _BARS)
            tokens[min(_BARS - 1, max(0, place))] += it.completion_tokens
        return {
            "window_seconds": self.seconds,
            "truncated": self.truncated,
            "requests": len(kept),
            "requests_per_second": round(len(kept) / self.seconds, 3),
            "outcomes": dict(Counter(it.outcome for it in kept).most_common()),
            "causes": dict(Counter(it.cause for it in kept if it.cause).most_common()),
            "models": dict(Counter(it.model for it in kept).most_common()),
            "ttft_ms": percentiles([it.ttft_ms for it in kept if it.ttft_ms is not None]),
            "itl_ms": percentiles([it.itl_ms for it in kept if it.itl_ms is not None]),
            "itl_p95_ms": percentiles([it.itl_p95_ms for it in kept if it.itl_p95_ms is not None]),
            "prompt_tokens": sum(it.prompt_tokens for it in kept),
            "completion_tokens": sum(it.completion_tokens for it in kept),
            "tokens_per_second": round(sum(it.completion_tokens for it in kept) / self.seconds, 3),
            "tokens_over_time": tokens,
            "cost": sum(it.cost for it in kept),
            "keys": [{"key": key, **counts} for key, counts in ranked[:_KEYS]],
            "keys_left": max(0, len(ranked) - _KEYS),
        }


def percentiles(found: Iterable[float]) -> dict[str, float] | None:
    """Return p50, p95, p99 and the maximum; None without values."""
    ranked = sorted(found)
    if not ranked:
        return None
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        name: round(ranked[min(len(ranked) - 1, int(share * len(ranked)))], 3)
        for name, share in shares.items()
    }
