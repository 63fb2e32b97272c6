"""Conversations over a table on which a test decides what fails."""

import random
from typing import Any

import msgspec
import pytest

from lambda_fn.encode import Head
from lambda_fn.events import End, Finish
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log import conversations as module
from lambda_fn.stream_log import keys
from lambda_fn.stream_log.bodies import Incomplete
from lambda_fn.stream_log.conversations import (
    HOLD,
    Conversation,
    Conversations,
    Full,
    Gone,
    Locked,
    UsedUp,
)
from lambda_fn.stream_log.removal import hide, remove
from lambda_fn.stream_log.results import Input, ResultLog
from tests.support.network import Fate
from tests.support.stream_logs import NOW, Ground
from tests.support.units import item_size

DAY = 86_400


def items(*names: str, text: str = "Hi") -> list[dict[str, Any]]:
    """Return items with these ids."""
    return [{"id": name, "type": "message", "text": text} for name in names]


def kept(ground: Ground) -> Conversations:
    """Return the conversations of the table."""
    return Conversations(ground.table, days=30, now=ground.clock)


async def made(ground: Ground, *names: str) -> str:
    """Make a conversation, and return its id."""
    name = new_request_id(NOW)
    await kept(ground).create(name, "key", items(*names))
    return name


async def ids(ground: Ground, name: str) -> list[str]:
    """Return the ids of the items, in order."""
    return [item_id async for entry in kept(ground).entries(name) for item_id in entry.ids]


async def held(ground: Ground, name: str, by: str = "another") -> Conversation:
    """Take the lock as a writer that does not go on."""
    seen = await kept(ground).read(name, "key")
    return await kept(ground).acquire(seen, by, until=ground.now + HOLD)


async def answered(ground: Ground, name: str, *, ends: bool = True) -> ResultLog:
    """Be a response that has the lock, and has ended unless `ends` is false."""
    head = Head(ground.response_id, int(NOW), "m", form="responses_body")
    log = ResultLog(
        ground.table,
        ground.stored(head=head),
        Input([msgspec.Raw(b'{"role":"user","content":"x"}')], [], name),
        lambda: (1, 1),
        seconds=60,
        now=ground.clock,
    )
    await log.open(head)
    await held(ground, name, ground.response_id)
    log.append((0, [*ground.tokens(1), Finish("stop")]))
    if ends:
        await log.end((2, [End()]))
    return log


async def test_items_are_appended(ground: Ground) -> None:
    """Each call is an entry: a read, a lock, the entry, and the head without the lock."""
    name = await made(ground, "msg_a")
    ground.network.calls.clear()
    await kept(ground).add(name, "key", items("msg_b", "msg_c"))
    assert ground.network.calls == ["GetItem", "UpdateItem", "PutItem", "UpdateItem"]
    assert await kept(ground).places(name) == [(0, ["msg_a"]), (1, ["msg_b", "msg_c"])]
    found = await kept(ground).read(name, "key")
    assert (found.count, found.next, found.rev, found.lock) == (3, 2, 1, None)
    entry = await kept(ground).entry(name, 1)
    assert [msgspec.json.decode(raw) for raw in entry.items] == items("msg_b", "msg_c")
    assert found.size == sum(
        len(msgspec.json.encode(it)) for it in items("msg_a", "msg_b", "msg_c")
    )


async def test_an_entry_in_parts(ground: Ground) -> None:
    """An entry of any size is one append. What is left of it when an item goes is written again."""
    text = random.Random(1).randbytes(400_000).hex()
    name = await made(ground)
    await kept(ground).add(name, "key", items("msg_a", "msg_b", text=text))
    assert len(ground.items("P#")) > 1
    [entry] = [it async for it in kept(ground).entries(name)]
    assert msgspec.json.decode(entry.items[1])["text"] == text
    await kept(ground).remove(name, "key", "msg_a")
    assert await ids(ground, name) == ["msg_b"]
    assert {it["sk"].split("#")[2] for it in ground.items("P#")} == {ground.items("E#")[0]["name"]}
    await ground.table.delete({key: ground.items("P#")[0][key] for key in ("pk", "sk")})
    with pytest.raises(Incomplete):
        await ids(ground, name)


async def test_an_entry_with_many_items(ground: Ground) -> None:
    """No item is over what DynamoDB takes, 400 kB, however the ids and the texts are divided."""
    name, source = await made(ground), random.Random(1)
    many = [
        {"id": f"msg_{name}_in{number}", "text": source.randbytes(57).hex()}
        for number in range(4000)
    ]
    await kept(ground).add(name, "key", many)
    assert await ids(ground, name) == [item["id"] for item in many]
    assert max(item_size(item) for item in ground.items()) <= 400 * 1024


async def test_another_keys_conversation(ground: Ground) -> None:
    """It does not exist: nor does one that was deleted, or is over its time."""
    name = await made(ground, "msg_a")
    for key, conversation in (("other", name), ("key", new_request_id())):
        with pytest.raises(Gone):
            await kept(ground).read(conversation, key)
        with pytest.raises(Gone):
            await kept(ground).add(conversation, key, items("msg_b"))
        with pytest.raises(Gone):
            await kept(ground).update(conversation, key, {"a": "b"})
    ground.now += 32 * DAY
    with pytest.raises(Gone):
        await kept(ground).read(name, "key")


async def test_a_conversation_lives_on_with_its_items(ground: Ground) -> None:
    """It expires a month after its last item, and none of its entries before it."""
    name = await made(ground, "msg_0")
    for number in range(1, 6):
        ground.now += 20 * DAY
        await kept(ground).add(name, "key", items(f"msg_{number}"))
        head = ground.items("HEAD")[0]
        assert 30 * DAY <= head["expires"] - ground.now < 31 * DAY
        assert all(it["expires"] >= head["expires"] for it in ground.items("E#"))
        assert head["lasts"] <= min(it["expires"] for it in ground.items("E#"))
    assert len(await ids(ground, name)) == 6


async def test_a_second_writer_is_told(ground: Ground) -> None:
    """While one has the lock, others get `Locked`. It does not hold for ever."""
    name = await made(ground, "msg_a")
    await held(ground, name)
    for change in (
        kept(ground).add(name, "key", items("b")),
        kept(ground).remove(name, "key", "a"),
    ):
        with pytest.raises(Locked):
            await change
    ground.now += HOLD + 1
    await kept(ground).add(name, "key", items("msg_b"))
    assert await ids(ground, name) == ["msg_a", "msg_b"]


async def test_no_lock_of_what_has_changed(ground: Ground) -> None:
    """Who has read the items gets the lock only if they are still all there is."""
    name = await made(ground, "msg_a")
    changes: tuple[Any, ...] = (
        lambda: kept(ground).add(name, "key", items("msg_b")),
        lambda: kept(ground).remove(name, "key", "msg_b"),
    )
    for change in changes:
        seen = await kept(ground).read(name, "key")
        await change()
        with pytest.raises(Locked):
            await kept(ground).acquire(seen, "late", until=NOW + HOLD)
        assert (await kept(ground).read(name, "key")).lock is None


async def test_the_next_reader_ends_what_a_response_left(ground: Ground) -> None:
    """A response whose process died behind its end has its items, once, whoever comes next."""
    name = await made(ground, "msg_a")
    await answered(ground, name)
    for _ in range(2):
        assert (await kept(ground).unlocked(name, "key")).lock is None
        assert await ids(ground, name) == [
            "msg_a",
            f"msg_{ground.response_id}_in0",
            f"msg_{ground.response_id}_0",
        ]


async def test_a_response_that_runs_keeps_its_lock(ground: Ground) -> None:
    """However long it runs. One whose producer is dead loses it, and adds nothing."""
    name = await made(ground, "msg_a")
    await answered(ground, name, ends=False)
    ground.now += 80
    with pytest.raises(Locked):
        await kept(ground).unlocked(name, "key")
    ground.now += 20  # its time and the lease are over
    assert (await kept(ground).unlocked(name, "key")).lock is None
    assert await ids(ground, name) == ["msg_a"]


async def test_the_late_entry_of_a_writer(ground: Ground) -> None:
    """It stands where the next one would be, which then takes the next place, and counts both."""
    name = await made(ground, "msg_a")
    late = await held(ground, name)
    ground.now += HOLD + 1
    slow = await kept(ground).unlocked(name, "key")
    held_again = await kept(ground).acquire(slow, "next", until=ground.now + HOLD)
    await kept(ground).append(late, module.encoded(items("msg_b")))
    after = await kept(ground).append(held_again, module.encoded(items("msg_c", "msg_d")))
    assert await ids(ground, name) == ["msg_a", "msg_b", "msg_c", "msg_d"]
    assert (after.count, after.next) == (4, 3)
    assert await kept(ground).read(name, "key") == after


async def test_a_writer_knows_its_entry_without_a_deleted_item(ground: Ground) -> None:
    """A repeat of an append that was carried out adds nothing, though an item is gone since."""
    name = await made(ground, "msg_a")
    seen = await held(ground, name, "writer")
    await kept(ground).append(seen, module.encoded(items("msg_b", "msg_c")))
    await kept(ground).remove(name, "key", "msg_c")
    await kept(ground).append(seen, module.encoded(items("msg_b", "msg_c")))
    assert await ids(ground, name) == ["msg_a", "msg_b"]


async def test_a_conversation_that_is_full(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes no more items than the limits say, and room comes back with a deletion."""
    monkeypatch.setattr(module, "MAX_ITEMS", 3)
    name = await made(ground, "msg_a", "msg_b")
    with pytest.raises(Full):
        await kept(ground).add(name, "key", items("msg_c", "msg_d"))
    await kept(ground).add(name, "key", items("msg_c"))
    await kept(ground).remove(name, "key", "msg_a")
    await kept(ground).add(name, "key", items("msg_d"))
    monkeypatch.setattr(module, "MAX_SIZE", 200)
    with pytest.raises(Full):
        await kept(ground).add(name, "key", items("msg_e"))
    assert await ids(ground, name) == ["msg_b", "msg_c", "msg_d"]


async def test_a_conversation_that_is_used_up(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Items that come and go leave empty entries, which every reader reads: they are bounded."""
    monkeypatch.setattr(module, "MAX_ENTRIES", 3)
    name = await made(ground)
    for item in ("msg_a", "msg_b", "msg_c"):
        await kept(ground).add(name, "key", items(item))
        await kept(ground).remove(name, "key", item)
    assert (await kept(ground).read(name, "key")).count == 0
    with pytest.raises(UsedUp):
        await kept(ground).add(name, "key", items("msg_d"))


async def test_a_deletion_leaves_a_head_without_content(ground: Ground) -> None:
    """A conversation is gone at once. An append that comes too late does not bring it back."""
    name = await made(ground, "msg_a")
    late = await held(ground, name)
    key = keys.conversation_key(name)
    await ground.table.update(hide(key, now=int(NOW)))
    with pytest.raises(Gone):
        await kept(ground).read(name, "key")
    await remove(ground.table, key, now=int(NOW))
    [head] = ground.items()
    assert head.keys() == {"pk", "sk", "v", "deleted", "expires"}
    with pytest.raises(Gone):
        await kept(ground).append(late, module.encoded(items("msg_b")))
    [head] = ground.items("HEAD")
    assert head["owner"] == keys.DELETED  # so the sweeper removes the late entry


async def test_an_answer_that_is_lost(ground: Ground) -> None:
    """A writer tells its own lock, entry and release from others', though no call was answered."""
    name = await made(ground)
    ground.fates += [
        Fate.WELL,
        *(Fate.UNANSWERED, Fate.WELL),
        *(Fate.UNANSWERED, Fate.WELL),
        *(Fate.UNANSWERED, Fate.WELL),
    ]
    await kept(ground).add(name, "key", items("msg_a"))
    assert await ids(ground, name) == ["msg_a"]
    assert (await kept(ground).read(name, "key")).count == 1


async def test_many_entries(ground: Ground) -> None:
    """A long conversation is read page by page, and its size is known before it is read."""
    name = await made(ground)
    for number in range(300):
        await kept(ground).add(name, "key", items(f"msg_{number}"))
    found = await kept(ground).read(name, "key")
    assert (found.count, len(await kept(ground).places(name))) == (300, 300)
