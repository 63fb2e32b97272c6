"""A token bucket. Pure.

Source: "Throttle requests to your WebSocket APIs for better throughput" of the API Gateway
developer guide.
"""


class Bucket:
    """`rate` tokens a second, of which at most `burst` are kept."""

    def __init__(self, rate: float, burst: float) -> None:
        """Begin with a full bucket."""
        self._rate, self._burst = rate, burst
        self._left, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Take a token at a time in seconds; return whether there was one."""
        self._left = min(self._burst, self._left + max(0.0, now - self._at) * self._rate)
        self._at = max(self._at, now)
        if self._left < 1:
            return False
        self._left -= 1
        return True
