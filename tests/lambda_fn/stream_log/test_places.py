"""Places of background responses: bounds, and what becomes of places of the dead."""

import asyncio

import pytest

from lambda_fn.ids import new_request_id
from lambda_fn.stream_log import places
from lambda_fn.stream_log.heads import QUEUED_TIME, cancel_head
from lambda_fn.stream_log.keys import PLACES
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground


async def take(
    ground: Ground, name: str, owner: str | None = "key", maximum: int = 2
) -> dict[str, str]:
    """Take a place."""
    taken = await places.take(
        ground.table, owner, name, f"mark-{name}", maximum=maximum, expires=9, now=ground.now
    )
    return dict(taken)


def names(count: int) -> list[str]:
    """Return ids of requests, the oldest first."""
    return [new_request_id(NOW + number) for number in range(count)]


async def test_bound(ground: Ground) -> None:
    """A key has so many places; another key and those that run have their own."""
    one, two, three = names(3)
    assert await take(ground, one) == {one: f"mark-{one}"}
    assert (await take(ground, two)).keys() == {one, two}
    with pytest.raises(places.Full):
        await take(ground, three)
    await take(ground, three, "other")
    await take(ground, three, None)
    await places.release(ground.table, "key", one, f"mark-{one}")
    assert (await take(ground, three)).keys() == {two, three}
    assert all(item.keys() <= PLACES.keys() for item in ground.items())


async def test_a_place_is_taken_once(ground: Ground) -> None:
    """An attempt whose answer was lost takes no second place."""
    one, two = names(2)
    await take(ground, one)
    ground.fates[:] = [Fate.UNANSWERED]
    await take(ground, two)
    assert (await take(ground, two)).keys() == {one, two}


async def test_many_at_once(ground: Ground) -> None:
    """Of many that take a place at once, as many get one as there are."""
    results = await asyncio.gather(
        *(take(ground, name, maximum=5) for name in names(20)), return_exceptions=True
    )
    taken = [it for it in results if isinstance(it, dict)]
    assert len(taken) == 5
    assert all(isinstance(it, places.Full) for it in results if it not in taken)


async def test_a_later_run_keeps_its_place(ground: Ground) -> None:
    """A late give-back of an earlier run takes nothing from the run that has the place now."""
    [one] = names(1)
    await take(ground, one, None)
    await places.release(ground.table, None, one, "another mark")
    assert (await take(ground, one, None)).keys() == {one}
    await places.release(ground.table, None, one, f"mark-{one}")
    await places.release(ground.table, None, one, f"mark-{one}")
    with pytest.raises(places.Full):
        await take(ground, one, None, maximum=0)


async def test_places_of_the_dead(ground: Ground) -> None:
    """A full item is searched: what has ended, or has no living producer, gives its place back."""
    ended, dead, lives = names(3)
    for name in (ended, dead, lives):
        await take(ground, name, maximum=3)
    for name, lease in ((ended, NOW), (dead, NOW - 100), (lives, NOW)):
        ground.response_id = name
        await ground.opened(lease=lease, kept="result")
    await cancel_head(ground.table, ended, now=NOW)
    [new] = names(1)
    assert (await take(ground, new, maximum=3)).keys() == {lives, new}


@pytest.mark.parametrize(
    ("changes", "of_key", "running"),
    [
        ({"status": "in_progress"}, False, False),
        ({"status": "queued", "invoked": NOW}, False, False),
        ({"status": "queued"}, False, True),
        ({"status": "failed"}, True, True),
    ],
)
def test_free(ground: Ground, changes: dict[str, str], of_key: bool, running: bool) -> None:
    """A response that waits has a place of its key, and none of those that run."""
    head = ground.stored(**changes)
    for expected, kind in ((of_key, False), (running, True)):
        assert places.is_free(head, head.response_id, running=kind, now=NOW) is expected


def test_free_without_a_head() -> None:
    """A place is taken before the head is put, so it is free only after a minute."""
    [name] = names(1)
    assert not places.is_free(None, name, running=False, now=NOW + QUEUED_TIME - 1)
    assert places.is_free(None, name, running=False, now=NOW + QUEUED_TIME)


async def test_every(ground: Ground) -> None:
    """All places are found without knowing the keys."""
    one, two = names(2)
    await take(ground, one)
    await take(ground, two, None)
    found = {it.owner: set(it.answers) async for it in places.every(ground.table)}
    assert found == {"key": {one}, None: {two}}
