"""The sweeper deletes what deleted keys have stored, and finishes deletions that broke off."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from lambda_fn.auth import Caller
from lambda_fn.aws.dynamodb import Table
from lambda_fn.control import changes
from lambda_fn.encode import Head
from lambda_fn.http.client import Client
from lambda_fn.ids import new_key, new_request_id
from lambda_fn.metering.accounts import new_account
from lambda_fn.socket.gateway.store import Frame, Store
from lambda_fn.stream_log import keys
from lambda_fn.stream_log.conversations import Conversations
from lambda_fn.stream_log.removal import hide, remove, unfinished
from lambda_fn.stream_log.results import Input, write_input
from lambda_fn.sweep import erasing
from lambda_fn.sweep.run import Sweep, Tables, _erase
from tests.support.function import CREDENTIALS
from tests.support.ground import LONGEST, Ground, never
from tests.support.kept import Kept, head_of
from tests.support.network import Fate, Killed, Network

LEFT = {"pk", "sk", "v", "deleted", "expires"}
"""The attributes of a head that was removed."""


@pytest.fixture
def table(ground: Ground, http: Client, streams: Any) -> Table:
    """Return StreamTable as the sweeper sees it."""
    return Table(
        http, url=ground.url, region="eu-west-1", name=streams.name, credentials=lambda: CREDENTIALS
    )


@pytest.fixture
def run(ground: Ground, table: Table) -> Callable[..., Any]:
    """Return a function that does the last part of a sweep, without the rollups before it."""

    async def swept(later: float = 0.0, over: Table = table) -> Sweep:
        result = Sweep()
        tables = Tables(ground.table, over)
        now = time.time() + later
        await _erase(tables, over, result, now=now, longest=LONGEST, enough=never)
        return result

    return swept


async def response(table: Table, owner: str, **changes: Any) -> str:
    """Put a response with an input that has ended, and return its id."""
    head = head_of(form="responses_body")
    kept_input = Input([])
    bodies = await write_input(table, head.response_id, kept_input, expires=int(time.time()) + 3600)
    stored = await Kept(table).whole(head, owner=owner, bodies=bodies, **changes)
    return stored.response_id


async def conversation(table: Table, owner: str) -> str:
    """Put a conversation with two entries, and return its id."""
    name, kept = new_request_id(), Conversations(table, days=30)
    await kept.create(name, owner, [{"id": "msg_a"}])
    await kept.add(name, owner, [{"id": "msg_b"}])
    return name


def fated(left: list[Fate]) -> Callable[[object], Fate]:
    """Return what gives each call its fate: those of the list, then none."""
    return lambda _: left.pop(0) if left else Fate.WELL


async def deleted_key(ground: Ground, table: Table, *, deleted: bool = True) -> str:
    """Put a key, delete it unless `deleted` is false, and begin to erase its answers."""
    key = new_key()
    key_id = key.split("-")[1]
    await ground.table.put(new_account(key, name="k", now=int(time.time())))
    now = int(time.time())
    await table.put({**keys.erasure_key(key_id), **keys.VERSIONED, "at": now})
    if deleted:
        await ground.table.update(changes.delete(key_id, now=now, token="t"))
    return key_id


def parts(streams: Any) -> list[dict[str, Any]]:
    """Return the items that have content: all but those that say what was deleted."""
    return [it for it in streams.scan()["Items"] if it.keys() != LEFT and it["pk"] != keys.ERASE]


async def test_a_deleted_keys_answers(
    ground: Ground, table: Table, streams: Any, run: Callable[..., Any]
) -> None:
    """They are erased: responses, chats and conversations. Those of other keys stay."""
    key_id = await deleted_key(ground, table)
    for _ in range(3):
        await response(table, key_id)
        await conversation(table, key_id)
    other = [await response(table, "other"), await conversation(table, "other")]
    result = await run()
    assert (result.erased, result.failures, result.finished) == (6, 0, True)
    assert {it["pk"][2:] for it in parts(streams)} == set(other)
    assert (await run()).erased == 0


async def test_a_deleted_keys_messages(
    ground: Ground, table: Table, streams: Any, run: Callable[..., Any]
) -> None:
    """Messages of its sockets that no function has taken are erased, and those of no other key."""
    key_id = await deleted_key(ground, table)
    store = Store(table)
    for name, owner in (("c", key_id), ("d", "other")):
        await store.open(name, Caller(key_id=owner, key_hash="hash", address="192.0.2.1"))
        await store.claim(await store.find(name), Frame("n", b"a message", time.time()))
    result = await run()
    assert (result.erased, result.failures) == (1, 0)
    assert [it["pk"] for it in streams.scan()["Items"] if "body" in it] == ["C#d"]


async def test_a_key_that_still_runs(
    ground: Ground, table: Table, streams: Any, run: Callable[..., Any]
) -> None:
    """What ends after the deletion of its key goes, too, and the key is watched until then."""
    key_id = await deleted_key(ground, table)
    running = await Kept(table).begin(head_of(), owner=key_id)
    assert (await run()).erased == 0
    await Kept(table).end(running, 0)
    assert (await run()).erased == 1
    assert [it["sk"] for it in streams.scan()["Items"] if it["pk"] == keys.ERASE] == [key_id]
    dead = await Kept(table).begin(head_of(), owner=key_id)
    assert (await run(LONGEST)).erased == 1
    assert "deleted" in (await table.get(keys.head_key(dead.response_id)) or {})
    await run(LONGEST)
    assert [it for it in streams.scan()["Items"] if it["pk"] == keys.ERASE] == []


async def test_a_key_that_was_not_deleted(
    ground: Ground, table: Table, streams: Any, run: Callable[..., Any]
) -> None:
    """A deletion that broke off before the key's own item erases nothing."""
    key_id = await deleted_key(ground, table, deleted=False)
    await response(table, key_id)
    for later in (0, LONGEST):
        assert (await run(later)).erased == 0
    assert len(parts(streams)) > 1
    assert [it for it in streams.scan()["Items"] if it["pk"] == keys.ERASE] == []


async def test_killed_at_any_call(
    ground: Ground, table: Table, streams: Any, run: Callable[..., Any]
) -> None:
    """Whoever deletes may die before or after any call: a sweep finishes what had begun."""
    for fate in (Fate.KILLED_BEFORE, Fate.KILLED_AFTER):
        at, killed = 0, True
        while killed:
            name = await response(table, "key")
            left = [Fate.WELL] * at + [fate]
            network = Network(fated(left))
            key, mortal = keys.head_key(name), network.table(streams.name)
            killed = False
            try:
                await mortal.update(hide(key, now=int(time.time())))
                await remove(mortal, key, now=int(time.time()))
            except* Killed:
                killed, at = True, at + 1
            begun = "deleted" in (await table.get(key) or {})
            assert begun == (at > 1 or fate is Fate.KILLED_AFTER)
            await run()
            items = [it for it in streams.scan()["Items"] if it["pk"] == key["pk"]]
            assert [it.keys() == LEFT for it in items] == [True] if begun else len(items) > 1
        assert at > 4
    assert [it async for it in unfinished(table)] == []


async def test_a_sweeper_that_is_killed(
    ground: Ground, table: Table, streams: Any, run: Callable[..., Any]
) -> None:
    """The next one goes on, whichever call was the last one."""
    key_id = await deleted_key(ground, table)
    at, killed = 0, True
    while killed:
        await conversation(table, key_id)
        left = [Fate.WELL] * at + [Fate.KILLED_AFTER]
        network = Network(fated(left))
        killed = False
        try:
            await run(over=network.table(streams.name))
        except* Killed:
            killed, at = True, at + 1
    await run()
    assert at > 4
    assert parts(streams) == []


async def test_a_sweep_is_bounded(
    ground: Ground,
    table: Table,
    streams: Any,
    run: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sweep erases so many answers at most, and the next ones do the rest."""
    monkeypatch.setattr(erasing, "MAX_ERASED", 2)
    key_id = await deleted_key(ground, table)
    for _ in range(40):
        await Kept(table).whole(Head(new_request_id(), int(time.time()), "m"), owner=key_id)
    first = await run()
    assert 2 <= first.erased < 40
    while (await run()).erased:
        pass
    assert parts(streams) == []
