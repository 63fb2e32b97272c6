"""How many running responses a key follows at once."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from lambda_fn import limits
from lambda_fn.errors import RateLimited
from lambda_fn.stream_log.readers import Readers
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground, stream_ground


@pytest.fixture
def ground() -> Iterator[Ground]:
    """Yield an empty StreamTable with a clock."""
    with stream_ground() as made:
        yield made


@pytest.fixture
def readers(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Readers:
    """Return three slots for each key, with the ground's clock."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    return Readers(ground.table, 3, now=ground.clock)


async def test_the_readers_of_a_key(ground: Ground, readers: Readers) -> None:
    """Over its slots a key gets a 429, until one of its calls has ended. Others have their own."""
    running = ground.stored()
    async with AsyncExitStack() as held:
        for _ in range(2):
            await held.enter_async_context(readers.following(running, 30))
        async with readers.following(running, None):
            with pytest.raises(RateLimited, match="has 3 calls that follow running") as refused:
                async with readers.following(running, 30):
                    pass
            assert refused.value.code == "readers_limit_reached"
            async with readers.following(ground.stored(owner="other"), 30):
                pass
        async with readers.following(running, 30):
            pass


async def test_who_needs_no_slot(ground: Ground, readers: Readers) -> None:
    """A response that has ended is not followed, and a call that does not wait follows none."""
    for head, seconds in ((ground.stored(status="completed"), 30), (ground.stored(), 0)):
        async with readers.following(head, seconds):
            assert ground.items() == []


async def test_calls_that_were_killed(ground: Ground, readers: Readers) -> None:
    """Their slots are free when their time is over."""
    running = ground.stored()
    killed = [readers.following(running, 30) for _ in range(3)]
    for call in killed:
        await call.__aenter__()
    with pytest.raises(RateLimited):
        await readers.following(running, 30).__aenter__()
    ground.now = NOW + 31
    async with readers.following(running, 30):
        pass


@pytest.mark.parametrize("fate", [Fate.UNANSWERED, Fate.LOST])
async def test_a_table_that_does_not_answer(ground: Ground, readers: Readers, fate: Fate) -> None:
    """A lost call takes one slot. If no call is answered, nobody is refused."""
    running = ground.stored()
    ground.fates[:] = [fate]
    async with readers.following(running, 30):
        assert len(ground.items()) == 1
    ground.fates[:] = [fate] * 50
    async with readers.following(running, 30):
        pass


async def test_readers_at_once(ground: Ground, readers: Readers) -> None:
    """Calls at the same time do not pass the limit together."""
    running = ground.stored()

    calls = [readers.following(running, 30) for _ in range(6)]
    done = await asyncio.gather(*(it.__aenter__() for it in calls), return_exceptions=True)
    refused = [error for error in done if error is not None]
    assert len(refused) == 3
    assert all(isinstance(error, RateLimited) for error in refused)
