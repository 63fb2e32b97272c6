"""A distribution in bounded memory: counts in buckets whose bounds grow by 1 %. Pure.

A percentile is exact to half a percent of its value, as in an HDR histogram. Values are seconds,
from a microsecond to some hours, so there are 2,300 buckets at most.
"""

import math
from collections.abc import Iterator

_LEAST = 1e-6
_GROWTH = math.log(1.01)


class Distribution:
    """Values with their weights."""

    __slots__ = ("_buckets", "count", "maximum", "minimum", "total")

    def __init__(self) -> None:
        """Begin without values."""
        self._buckets: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.minimum = math.inf
        self.maximum = -math.inf

    def add(self, value: float, weight: int = 1) -> None:
        """Count a value `weight` times. Negative values count as 0."""
        value = max(0.0, value)
        bucket = int(math.log(value / _LEAST) / _GROWTH) + 1 if value > _LEAST else 0
        self._buckets[bucket] = self._buckets.get(bucket, 0) + weight
        self.count += weight
        self.total += value * weight
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)

    def percentile(self, share: float) -> float:
        """Return the least value that at least `share` (0 to 1) of all values do not exceed.

        There must be a value.
        """
        wanted = max(1, math.ceil(share * self.count))
        for value, seen in self.cumulative():
            if seen >= wanted:
                return value
        return self.maximum

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bucket's value, and how many values there are up to it."""
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            middle = _LEAST * math.exp(_GROWTH * (bucket - 0.5)) if bucket else 0.0
            yield min(max(middle, self.minimum), self.maximum), seen

    @property
    def mean(self) -> float:
        """The mean. There must be a value."""
        return self.total / self.count

    def figures(self) -> dict[str, float | int] | None:
        """Return the figures of a report, in milliseconds; None without values."""
        if not self.count:
            return None
        shares = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
        values = {
            "mean": self.mean,
            "min": self.minimum,
            **{name: self.percentile(share) for name, share in shares.items()},
            "max": self.maximum,
        }
        return {
            "count": self.count,
            **{name: round(value * 1000, 3) for name, value in values.items()},
        }
