"""The items of sockets, when several functions change them at once."""

import asyncio

import pytest

from lambda_fn import limits
from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import MeterUnavailable
from lambda_fn.errors import RateLimited
from lambda_fn.socket.gateway import store as store_module
from lambda_fn.socket.gateway.state import State
from lambda_fn.socket.gateway.store import (
    FLOODED,
    MAX_FLOODS,
    MAX_SOCKETS,
    SECONDS,
    SPAN,
    Frame,
    Gone,
    Store,
)
from lambda_fn.stream_log.keys import VERSION, UnknownVersion, span_key
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground

CALLER = Caller(key_id="key", key_hash="hash", address="192.0.2.1")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat lost calls without a pause."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    monkeypatch.setattr(store_module, "_PAUSE", 0.0)


@pytest.fixture
def store(ground: Ground) -> Store:
    """Return the store with the ground's clock."""
    return Store(ground.table, now=ground.clock)


def take(name: str) -> object:
    """Return a change that takes a request of the lane of its name."""
    return lambda state: state.create(name, name, sent=NOW, now=NOW, stays=False)


async def test_a_socket_is_what_was_opened(ground: Ground, store: Store) -> None:
    """A socket has its caller. It is gone before it was opened, and when its time is over."""
    with pytest.raises(Gone):
        await store.find("c")
    with pytest.raises(Gone):
        await store.change("c", State.leave)
    await store.open("c", CALLER)
    found = await store.find("c")
    assert (found.caller, found.state.gone) == (CALLER, False)
    ground.now += SECONDS + 3600
    with pytest.raises(Gone):
        await store.find("c")


async def test_changes_at_once_all_count(store: Store) -> None:
    """Of changes at the same time none is lost."""
    await store.open("c", CALLER)
    names = [f"n{number}" for number in range(8)]
    await asyncio.gather(*(store.change("c", take(name)) for name in names))  # type: ignore[arg-type]
    assert sorted((await store.find("c")).state.runs) == names


@pytest.mark.parametrize("fates", [[Fate.UNANSWERED], [Fate.LOST], [Fate.UNANSWERED, Fate.LOST]])
async def test_a_change_is_made_once(ground: Ground, store: Store, fates: list[Fate]) -> None:
    """A write whose answer was lost is known as an own one, and not decided again."""
    await store.open("c", CALLER)
    ground.fates[:] = [Fate.WELL, *fates]
    decided: list[int] = []

    def decide(state: State) -> None:
        decided.append(len(state.runs))
        state.create("n", None, sent=NOW, now=NOW, stays=False)

    await store.change("c", decide)
    assert decided == [0]
    assert list((await store.find("c")).state.runs) == ["n"]


async def test_a_change_that_is_refused_writes_nothing(ground: Ground, store: Store) -> None:
    """If the decision raises, the item stays."""
    await store.open("c", CALLER)
    before = ground.items()

    def refuse(state: State) -> None:
        state.gone = True
        raise RateLimited("no")

    with pytest.raises(RateLimited):
        await store.change("c", refuse)
    assert ground.items() == before


async def test_an_item_of_a_later_deployment(ground: Ground, store: Store) -> None:
    """A socket that this code cannot read is not changed."""
    await store.open("c", CALLER)
    [item] = ground.items()
    await ground.table.put({**item, "v": 99})
    with pytest.raises(UnknownVersion):
        await store.change("c", State.leave)


@pytest.mark.parametrize("fate", [Fate.WELL, Fate.UNANSWERED, Fate.LOST])
async def test_a_message_is_claimed_once(ground: Ground, store: Store, fate: Fate) -> None:
    """Who stores a message first has it, even if the answer to its write is lost."""
    frame = Frame("n", '{"ä": 1}'.encode(), NOW)
    for name in ("c", "d"):
        await store.open(name, CALLER)
    one, other = [await store.find(name) for name in ("c", "d")]
    ground.fates[:] = [fate]
    assert await store.claim(one, frame)
    assert not await store.claim(one, frame)
    assert await store.claim(other, frame)
    assert await store.frame("c", "n") == frame
    assert await store.frame("c", "other") is None


async def test_a_message_that_was_taken(ground: Ground, store: Store) -> None:
    """Its content is gone, and it is still known when it comes again."""
    await store.open("c", CALLER)
    socket = await store.find("c")
    await store.claim(socket, Frame("n", b"a secret", NOW))
    await store.forget("c", "n")
    assert "a secret" not in str(ground.items())
    assert await store.frame("c", "n") is None
    assert not await store.claim(socket, Frame("n", b"a secret", NOW))
    assert "a secret" not in str(ground.items())


async def test_a_change_of_what_was_read(ground: Ground, store: Store) -> None:
    """It begins with that socket, and reads again if another writer was faster."""
    await store.open("c", CALLER)
    socket = await store.find("c")
    before = len(ground.network.calls)
    await store.change("c", take("a"), read=socket)  # type: ignore[arg-type]
    assert len(ground.network.calls) == before + 1
    await store.change("c", take("b"), read=socket)  # type: ignore[arg-type]
    assert sorted((await store.find("c")).state.runs) == ["a", "b"]


async def test_sockets_of_a_key(ground: Ground, store: Store) -> None:
    """A key has so many sockets at once. One that has ended makes room, told or not."""
    lost: set[str] = set()
    asked: list[str] = []

    async def is_open(name: str) -> bool:
        asked.append(name)
        return name not in lost

    for number in range(MAX_SOCKETS):
        await store.admit("key", f"c{number}", is_open)
    assert asked == []
    with pytest.raises(RateLimited, match=f"{MAX_SOCKETS} open sockets"):
        await store.admit("key", "more", is_open)
    assert len(asked) == MAX_SOCKETS
    await store.admit("other", "c", is_open)
    await store.leave("key", "c3")
    await store.leave("key", "never")
    await store.admit("key", "more", is_open)
    lost.add("c5")
    await store.admit("key", "another", is_open)
    with pytest.raises(RateLimited):
        await store.admit("key", "last", is_open)
    ground.now += SECONDS + 1
    await store.admit("key", "last", is_open)


async def test_a_flooded_socket_holds_its_place(ground: Ground, store: Store) -> None:
    """A socket that was closed because of a flood counts on for a time, whatever closes it."""
    asked: list[str] = []

    async def is_open(name: str) -> bool:
        asked.append(name)
        return True

    for number in range(MAX_SOCKETS):
        await store.admit("key", f"c{number}", is_open)
    await store.leave("key", "c0", held=True)
    await store.leave("key", "c0")
    with pytest.raises(RateLimited, match=f"{FLOODED} seconds"):
        await store.admit("key", "more", is_open)
    assert sorted(asked) == sorted(f"c{number}" for number in range(1, MAX_SOCKETS))
    await store.admit("other", "c", is_open)
    ground.now += FLOODED + 1
    await store.admit("key", "more", is_open)


async def test_a_key_that_floods_opens_no_socket(ground: Ground, store: Store) -> None:
    """After some floods a key waits until the first one is a minute old. Nobody is asked for it."""

    async def is_open(_name: str) -> bool:
        raise AssertionError

    for number in range(MAX_FLOODS):
        await store.admit("key", f"c{number}", is_open)
        await store.leave("key", f"c{number}", held=True)
        ground.now += 10
    with pytest.raises(RateLimited, match=f"{MAX_FLOODS} sockets") as refused:
        await store.admit("key", "more", is_open)
    assert refused.value.retry_after == FLOODED - 10 * MAX_FLOODS
    await store.admit("other", "c", is_open)
    ground.now += refused.value.retry_after
    await store.admit("key", "more", is_open)


async def test_messages_of_a_span(ground: Ground, store: Store) -> None:
    """Messages are counted by the time at which they were sent, also many at once."""
    counts = await asyncio.gather(*(store.count("c", ground.now) for _ in range(20)))
    assert sorted(counts) == list(range(1, 21))
    assert await store.count("c", ground.now + SPAN) == 1
    assert await store.count("d", ground.now) == 1
    newer = {**span_key("e", int(ground.now // SPAN)), "v": VERSION + 1, "count": 1}
    await ground.table.put(newer)
    with pytest.raises(UnknownVersion):
        await store.count("e", ground.now)


async def test_sockets_of_a_key_at_once(store: Store) -> None:
    """Handshakes at the same time do not pass the limit together."""

    async def is_open(_name: str) -> bool:
        return True

    for number in range(MAX_SOCKETS - 2):
        await store.admit("key", f"c{number}", is_open)
    found = await asyncio.gather(
        *(store.admit("key", f"d{number}", is_open) for number in range(6)), return_exceptions=True
    )
    assert [type(one) for one in found].count(type(None)) == 2


async def test_without_the_table(ground: Ground, store: Store) -> None:
    """A table that does not answer is told as such."""
    await store.open("c", CALLER)
    ground.fates[:] = [Fate.LOST] * 100
    with pytest.raises(MeterUnavailable):
        await store.change("c", State.leave)
