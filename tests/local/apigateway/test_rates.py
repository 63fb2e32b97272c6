"""The token bucket."""

from local.apigateway.rates import Bucket


def test_burst_and_rate() -> None:
    """A full bucket gives its burst at once, and then its rate; it never holds more."""
    bucket = Bucket(10, 3)
    assert [bucket.take(1.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1.1), bucket.take(1.1)] == [True, False]
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.take(50.0)
