"""What a connection remembers."""

from lambda_fn.schema.responses import History
from lambda_fn.socket.cache import Cache


def test_the_last_of_each_lane() -> None:
    """Each lane remembers its last response, which any lane can find."""
    cache, one, two, other = Cache(), History(size=1), History(size=2), History(size=3)
    cache.put(None, "r1", one)
    cache.put("a", "r2", other)
    cache.put(None, "r3", two)
    assert (cache.get("r1"), cache.get("r2"), cache.get("r3")) == (None, other, two)
    cache.evict("r2")
    assert (cache.get("r2"), cache.get("r3")) == (None, two)


def test_its_size() -> None:
    """The oldest conversations are forgotten above the limit, and one over it at once."""
    cache = Cache(max_bytes=10)
    for number in range(4):
        cache.put(f"lane{number}", f"r{number}", History(size=4))
    assert [cache.get(f"r{number}") is not None for number in range(4)] == [
        False, False, True, True,
    ]  # fmt: skip
    cache.put("lane9", "r9", History(size=11))
    assert cache.get("r9") is None
