"""A walk through the background responses: dead ones end, those that wait are started in order."""

import pytest

from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.background import walk
from lambda_fn.background.walk import Walk, free, sweep_background
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log import places, queued
from lambda_fn.stream_log.heads import StoredHead, read_head
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground


async def placed(ground: Ground, number: int = 0, owner: str | None = "key", **head: object) -> str:
    """Put a head, with the place of its key. Return its id."""
    ground.response_id = new_request_id(NOW + number)
    await ground.opened(**{"kept": "result", "starter": "s", **head})
    await places.take(
        ground.table, owner, ground.response_id, "f", maximum=99, expires=9, now=ground.now
    )
    return ground.response_id


async def status(ground: Ground, name: str) -> str:
    """Return the status of a response."""
    head = await read_head(ground.table, name, now=NOW)
    assert head is not None
    return head.status


async def swept(ground: Ground, **options: object) -> tuple[Walk, list[str]]:
    """Walk. Return the result, and which functions were called."""
    called: list[str] = []

    async def invoke(name: str) -> None:
        called.append(name)

    arguments = {"now": NOW, "stop": lambda: False, "invoke": invoke, **options}
    return await sweep_background(ground.table, **arguments), called  # type: ignore[arg-type]


async def test_oldest_first(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that wait, the oldest are started, whatever key they have."""
    monkeypatch.setattr(walk, "START_AT_ONCE", 2)
    waiting = {"status": "queued", "until": NOW + 9}
    third = await placed(ground, 3, "b", **waiting)
    first = await placed(ground, 1, "c", **waiting)
    second = await placed(ground, 2, "a", **waiting)
    result, called = await swept(ground)
    assert called == [first, second]
    assert (result.waiting, result.started, result.failures) == (3, 2, 0)
    _, called = await swept(ground)
    assert called == [third]  # the others were called, and their minute is not over


async def test_in_turns(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """What finds no room again and again does not keep others from their turn."""
    monkeypatch.setattr(walk, "START_AT_ONCE", 2)
    waiting = {"status": "queued", "until": NOW + 9}
    names = [await placed(ground, number, "key", **waiting) for number in range(4)]
    turns: list[str] = []

    async def invoke(name: str) -> None:
        turns.append(name)
        head = await read_head(ground.table, name, now=NOW)
        assert head is not None
        now = NOW + len(turns)
        run = await queued.claim(ground.table, head, run=new_request_id(), by="w", now=now)
        assert run is not None
        assert await queued.wait(ground.table, run)

    for _ in range(3):
        await swept(ground, invoke=invoke)
    assert turns == [*names, *names[:2]]


async def test_dead_ones(ground: Ground) -> None:
    """What has died or has waited too long is ended, and gives its place back."""
    dead = await placed(ground, 1, lease=NOW - 100)
    old = await placed(ground, 2, status="queued", until=NOW - 1)
    lost = await placed(ground, 3, status="queued", invoked=NOW - 61)
    lives = await placed(ground, 4)
    told: list[str] = []

    async def ended(head: StoredHead) -> None:
        assert head.is_final
        told.append(head.response_id)

    result, called = await swept(ground, ended=ended)
    assert (result.freed, called) == (3, [])
    assert sorted(told) == [dead, old, lost]
    assert [await status(ground, name) for name in (dead, old, lost)] == ["failed"] * 3
    assert await status(ground, lives) == "in_progress"
    assert [set(it.answers) async for it in places.every(ground.table)] == [{lives}]


async def test_a_place_stays_until_its_end_is_told(ground: Ground) -> None:
    """If the end cannot be noted, the next walk finds it again."""
    await placed(ground, 1, lease=NOW - 100)

    async def fails(head: StoredHead) -> None:
        raise MeterUnavailable("down")

    result, _ = await swept(ground, ended=fails)
    assert (result.freed, result.failures) == (0, 1)
    result, _ = await swept(ground)
    assert result.freed == 1


async def test_a_function_that_is_not_called(ground: Ground) -> None:
    """A response whose function cannot be called waits on."""
    name = await placed(ground, 1, status="queued", until=NOW + 9)

    async def refuses(_: str) -> None:
        raise ConnectionError

    result, _ = await swept(ground, invoke=refuses)
    assert (result.waiting, result.started) == (1, 0)
    _, called = await swept(ground)
    assert called == [name]


async def test_without_time(ground: Ground) -> None:
    """Nothing is looked at or started once the time is over."""
    await placed(ground, 1, lease=NOW - 100)
    await placed(ground, 2, status="queued", until=NOW + 9)
    result, called = await swept(ground, stop=lambda: True)
    assert (result.freed, called) == (0, [])


async def test_the_table_is_down(ground: Ground) -> None:
    """A table that does not answer is a failure of the walk, and no exception."""
    await placed(ground)
    ground.fates[:] = [Fate.LOST] * 4
    result, _ = await swept(ground)
    assert result.failures == 1


@pytest.mark.parametrize(
    ("owner", "state", "freed"),
    [("key", "completed", 1), ("key", "in_progress", 0), ("other", "completed", 0)],
)
async def test_free(ground: Ground, owner: str, state: str, freed: int) -> None:
    """The place of a response that has ended is given back, if its owner is right."""
    name = await placed(ground, status=state)
    result = Walk()
    await free(ground.table, owner, name, result, None, now=NOW)
    assert result.freed == freed
    await free(ground.table, "key", "0" * 26, result, None, now=NOW)
    assert (result.freed, result.failures) == (freed, 0)
