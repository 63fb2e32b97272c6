"""Writers of one conversation that meet in every order: none loses an item, or adds one twice.

moto's DynamoDB carries out the real calls. Hypothesis lets one call of one writer through at a
time, and draws what happens to it: it may be lost, unanswered or late, and its process may be
killed before or after it. Writers are calls that add or delete items, and responses that go on with
the conversation.
"""

import asyncio
from collections import deque
from collections.abc import Coroutine
from typing import Any, ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from lambda_fn.aws.dynamodb import MeterError
from lambda_fn.encode import Head
from lambda_fn.errors import APIError, UpstreamFailed
from lambda_fn.event_log import failed_by
from lambda_fn.events import Delta, End, Event, Finish
from lambda_fn.ids import new_request_id
from lambda_fn.stream.conversing import converse
from lambda_fn.stream_log.conversations import (
    ANSWERED,
    Conversations,
    Gone,
    Locked,
    items_of,
)
from lambda_fn.stream_log.heads import StoredHead
from lambda_fn.stream_log.results import Input, ResultLog, read_kept
from tests.support.network import Answer, Fate, Killed, Network
from tests.support.races import START, StreamTableMachine, settings_of

ACTORS = 3
actors = st.integers(0, ACTORS - 1)
fates = st.sampled_from([Fate.WELL] * 12 + [*Fate])


class Gated(Network):
    """A network whose calls wait until a test lets them through, with a fate."""

    def __init__(self) -> None:
        """Begin without calls."""
        super().__init__(lambda _: self.chosen)
        self.chosen = Fate.WELL
        self.waiting: deque[asyncio.Future[Fate]] = deque()
        self.arrived = asyncio.Event()

    def pass_one(self, fate: Fate) -> None:
        """Carry out the first call that waits."""
        self.waiting.popleft().set_result(fate)
        if not self.waiting:
            self.arrived.clear()

    async def request(self, *args: Any, **options: Any) -> Answer:
        """Wait, and then make the call."""
        gate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        self.waiting.append(gate)
        self.arrived.set()
        self.chosen = await gate
        return await super().request(*args, **options)


class Actor:
    """A process that makes one change."""

    def __init__(self, names: tuple[str, ...], network: Gated, task: "asyncio.Task[Any]") -> None:
        """Keep what it does. `names` are the ids of the items that it adds."""
        self.names = names
        self.network = network
        self.task = task


class Writers(StreamTableMachine):
    """The state machine."""

    changed: ClassVar = {"LOG_OPEN_TIMEOUT": 60.0, "LOG_END_TIMEOUT": 60.0}

    def __init__(self) -> None:
        """Make a conversation with one item."""
        super().__init__()
        self.others = self.kept(Network().table(self.name))
        self.id = new_request_id(START)
        self.loop.run_until_complete(
            self.others.create(self.id, "key", [{"id": "msg_0", "type": "message"}])
        )
        self.actors: list[Actor | None] = [None] * ACTORS
        self.networks: list[Network] = []
        self.numbers = 0
        self.added: dict[tuple[str, ...], str] = {}
        """The ids of the items of each call that adds some, and how it ended."""
        self.slow: set[str] = set()
        """The items of calls during which time passed, so that they may have lost their lock."""
        self.removed: dict[str, str] = {}
        self.seen: dict[str, list[str]] = {}
        """The items that each response had before it when it took the lock."""
        self.responses: list[str] = []

    def kept(self, table: Any) -> Conversations:
        """Return the conversations of a table."""
        return Conversations(table, days=30, now=lambda: self.now)

    def begin(self, number: int, work: Any, names: tuple[str, ...] = ()) -> None:
        """Begin a process, up to its first call."""
        network = Gated()
        self.networks.append(network)
        task = self.loop.create_task(self.outcome(work(network.table(self.name))))
        self.actors[number] = Actor(names, network, task)
        self.settle(self.actors[number])

    async def outcome(self, work: Coroutine[Any, Any, Any]) -> str:
        """Return how a change ended: made, refused, or not known."""
        try:
            await work
        except (Locked, Gone, APIError) as error:
            return "unknown" if getattr(error, "status", 0) == 503 else "refused"
        except (MeterError, Killed):
            return "unknown"
        return "made"

    def settle(self, actor: Actor | None) -> None:
        """Run the loop until a process waits for a call, or has ended."""
        assert actor is not None

        async def go() -> None:
            arrival = asyncio.create_task(actor.network.arrived.wait())
            await asyncio.wait([arrival, actor.task], return_when=asyncio.FIRST_COMPLETED)
            arrival.cancel()

        self.loop.run_until_complete(go())
        if actor.task.done() and actor in self.actors:
            self.actors[self.actors.index(actor)] = None

    @rule(number=actors, fates=st.lists(fates, min_size=1, max_size=6))
    def step(self, number: int, fates: list[Fate]) -> None:
        """Carry out some calls of a process."""
        for fate in fates:
            actor = self.actors[number]
            if actor is None:
                return
            actor.network.pass_one(fate)
            self.settle(actor)

    @rule(number=actors, count=st.integers(1, 3))
    def add(self, number: int, count: int) -> None:
        """Begin to add items."""
        if self.actors[number] is not None:
            return
        names = tuple(f"msg_{self.numbers + at + 1}" for at in range(count))
        self.numbers += count

        async def work(table: Any) -> None:
            self.added[names] = "unknown"
            try:
                items = [{"id": name, "type": "message"} for name in names]
                await self.kept(table).add(self.id, "key", items)
            except (Locked, Gone):
                self.added[names] = "refused"
                raise
            self.added[names] = "made"

        self.begin(number, work, names)

    @precondition(lambda self: self.numbers)
    @rule(number=actors, which=st.integers(0, 20))
    def remove(self, number: int, which: int) -> None:
        """Begin to delete an item."""
        if self.actors[number] is not None:
            return
        name = f"msg_{which % (self.numbers + 1)}"

        async def work(table: Any) -> None:
            self.removed.setdefault(name, "unknown")
            await self.kept(table).remove(self.id, "key", name)
            self.removed[name] = "made"

        self.begin(number, work)

    @rule(number=actors, fails=st.booleans())
    def respond(self, number: int, *, fails: bool) -> None:
        """Begin a response that goes on with the conversation."""
        if self.actors[number] is not None:
            return
        self.begin(number, lambda table: self.response(table, fails=fails))

    async def response(self, table: Any, *, fails: bool) -> None:
        """Be a response from its beginning to its end."""
        kept = self.kept(table)
        try:
            found = await kept.unlocked(self.id, "key")
        except Locked:
            found = await kept.read(self.id, "key")
        before = [name async for entry in kept.entries(self.id) for name in entry.ids]
        response_id = new_request_id(self.now)
        head = Head(response_id, int(self.now), "m", form="responses_body")
        stored = StoredHead(
            head=head,
            owner="key",
            status="in_progress",
            created=int(self.now),
            expires=int(self.now) + 10**7,
            endpoint="e",
            dialect="sluice",
        )
        asked = Input([msgspec.Raw(b'{"role":"user","content":"x"}')], [], self.id)
        log = ResultLog(table, stored, asked, lambda: (1, 1), seconds=60, now=lambda: self.now)
        await log.open(head)
        self.responses.append(response_id)
        conversing = await converse(log, kept, found, response_id, seconds=60)
        self.seen[response_id] = before
        events: list[Event] = [Delta(msgspec.Raw(b'{"content":"y"}'), 0, 1), Finish("stop")]
        conversing.append((0, events))
        last: Event = failed_by(UpstreamFailed("m")) if fails else End()
        await conversing.end((2, [last]))
        await conversing.close()

    @rule(seconds=st.sampled_from([1.0, 20.0, 120.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
        for actor in self.actors:
            self.slow.update(actor.names if actor is not None else ())

    @precondition(lambda self: any(it.late for it in self.networks))
    @rule(number=st.integers(0, 99))
    def deliver(self, number: int) -> None:
        """Carry out a late call."""
        nets = [it for it in self.networks if it.late]
        net = nets[number % len(nets)]
        net.deliver(number % len(net.late))

    def teardown(self) -> None:
        """Run everything to its end, and compare."""
        try:
            self.finish()
        finally:
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.close()

    def finish(self) -> None:
        """End the processes. The next user of the conversation finds them gone."""
        for number in range(ACTORS):
            while self.actors[number] is not None:
                self.step(number, [Fate.WELL])
        for net in self.networks:
            while net.late:
                net.deliver(0)
        self.now += 1000
        found = self.loop.run_until_complete(self.others.unlocked(self.id, "key"))
        assert found.lock is None
        entries = self.loop.run_until_complete(self.all_entries())
        names = [name for entry in entries for name in entry]
        assert len(names) == len(set(names)), "an item stands twice"
        self.check_added(entries, names)
        self.check_removed(names)
        places = {name: at for at, entry in enumerate(entries) for name in entry}
        for response_id in self.responses:
            self.check_response(response_id, entries, places)

    async def all_entries(self) -> list[list[str]]:
        """Return the ids of the items, by entry."""
        return [entry.ids async for entry in self.others.entries(self.id)]

    def check_added(self, entries: list[list[str]], names: list[str]) -> None:
        """A call's items are all there, together, or none of them, as it was told."""
        for added, outcome in self.added.items():
            there = [name for name in added if name in names]
            left = [name for name in added if name not in self.removed]
            if outcome == "made":
                assert set(left) <= set(there), "an item is lost"
            if outcome == "refused":
                assert not there
            if there:
                assert set(left) <= set(there), "half of the items are there"
                [entry] = [entry for entry in entries if there[0] in entry]
                assert entry == there

    def check_removed(self, names: list[str]) -> None:
        """What was deleted is gone."""
        for name, outcome in self.removed.items():
            assert outcome == "unknown" or name not in names

    def check_response(
        self, response_id: str, entries: list[list[str]], places: dict[str, int]
    ) -> None:
        """A completed response has its items, behind all that it had seen and nothing else."""
        table = self.others._table
        kept = self.loop.run_until_complete(read_kept(table, response_id, now=self.now))
        assert kept is not None
        assert kept.head.is_final or kept.head.is_overdue(self.now)
        own = [msgspec.json.decode(raw)["id"] for raw in items_of(kept)]
        if kept.head.status not in ANSWERED or response_id not in self.seen:
            assert not any(name in places for name in own)
            return
        assert own in entries
        before = [name for entry in entries[: places[own[0]]] for name in entry]
        seen = [name for name in self.seen[response_id] if name in places]
        # The late entry of a writer that lost its lock, and does not know what became of it.
        late = {name for names, how in self.added.items() if how == "unknown" for name in names}
        late |= self.slow
        assert [name for name in before if name in self.seen[response_id]] == seen
        assert set(before) - set(seen) <= late


TestWriters = Writers.TestCase
TestWriters.settings = settings_of(steps=40)
