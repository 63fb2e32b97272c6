"""Background responses whose functions, calls and sweepers meet in every order.

moto's DynamoDB carries out the real calls. Hypothesis draws the order of the steps of functions
that ask and run, of sweepers and cancellers, and what happens to each of their calls. A function
may be killed before or after any write. A write may be lost, unanswered or late. A call of a
function may be lost, late, or come twice.
"""

from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from lambda_fn import limits
from lambda_fn.background.walk import sweep_background
from lambda_fn.encode import Head
from lambda_fn.events import End
from lambda_fn.ids import new_request_id
from lambda_fn.stream_log import places, queued
from lambda_fn.stream_log.heads import (
    QUEUED_TIME,
    Ending,
    StoredHead,
    cancel_head,
    end_update,
    new_name,
    open_head,
    read_head,
    win,
)
from tests.support.network import Fate, Network
from tests.support.races import START, Process, StreamTableMachine, settings_of

KEY_PLACES, RUN_PLACES = 3, 2
WAIT = 600.0
fates: st.SearchStrategy[list[Fate]] = st.just([]) | st.lists(
    st.sampled_from([Fate.WELL, Fate.LATE, Fate.UNANSWERED, *Fate]), max_size=5
)


class Function(Process):
    """A function that asks for a response, or runs one."""

    def __init__(self, name: str) -> None:
        """Reach the table by a network on which it may be killed."""
        super().__init__(name)
        self.head: StoredHead | None = None
        self.run = ""


class Queue(StreamTableMachine):
    """The state machine."""

    changed: ClassVar = {"META_MAX_ATTEMPTS": 2}
    errors = (places.Full,)

    def __init__(self) -> None:
        """Begin without responses."""
        super().__init__()
        self.others = Network().table(self.name)
        self.events: list[str] = []
        self.runs: list[Function] = []
        """Functions that have claimed a response and have a place, and generate."""
        self.late: list[Network] = []
        self.asked: list[str] = []
        self.generated: list[str] = []
        """The responses that were generated to their end."""

    def head(self, name: str) -> StoredHead | None:
        """Return a head as it is."""
        return self.loop.run_until_complete(read_head(self.others, name, now=self.now))

    @rule(fates=fates)
    def ask(self, fates: list[Fate]) -> None:
        """Ask for a response: take a place of the key, put the head, call the function."""
        process = Function(self.name)
        self.late.append(process.network)
        name = new_request_id(self.now)

        async def asking() -> None:
            expires = int(START) + 86_400
            await places.take(
                process.table, "key", name, "f", maximum=KEY_PLACES, expires=expires, now=self.now
            )
            head = StoredHead(
                head=Head(name, int(self.now), "m"),
                owner="key",
                status="queued",
                created=int(self.now),
                expires=expires,
                kept="result",
                endpoint="e",
                dialect="sluice",
                writer=name,
                lease=self.now,
                invoked=self.now,
                starter=new_name(),
                until=self.now + WAIT,
            )
            await open_head(process.table, head)
            self.asked.append(name)
            self.events.append(name)

        self.run(asking(), process, fates)

    @rule(fates=fates)
    def run_at_once(self, fates: list[Fate]) -> None:
        """Ask for a response that runs at once, and finds no room: queue it then."""
        process = Process(self.name)
        self.late.append(process.network)
        name, expires = new_request_id(self.now), int(START) + 86_400

        async def take(owner: str | None, mark: str, maximum: int) -> None:
            await places.take(
                *(process.table, owner, name, mark), maximum=maximum, expires=expires, now=self.now
            )

        async def asking() -> None:
            await take("key", "f", KEY_PLACES)
            try:
                await take(None, name, RUN_PLACES)
            except places.Full:
                await places.release(process.table, "key", name, "f")
                return
            head = StoredHead(
                head=Head(name, int(self.now), "m"),
                owner="key",
                status="in_progress",
                created=int(self.now),
                expires=expires,
                bodies={"input": 1},
                endpoint="e",
                dialect="sluice",
                writer=name,
                lease=self.now,
            )
            await open_head(process.table, head)
            self.asked.append(name)
            until = self.now + WAIT
            await queued.enqueue(process.table, head, parts=1, until=until, now=self.now)
            await places.release(process.table, None, name, name)

        self.run(asking(), process, fates)

    @precondition(lambda self: self.events)
    @rule(data=st.data(), fates=fates, again=st.booleans())
    def called(self, data: st.DataObject, fates: list[Fate], *, again: bool) -> None:
        """Deliver a call of a function, once or as the first of two."""
        number = data.draw(st.integers(0, len(self.events) - 1))
        name = self.events[number] if again else self.events.pop(number)
        process = Function(self.name)
        self.late.append(process.network)
        process.run = new_request_id(self.now)

        async def beginning() -> bool:
            found = await read_head(process.table, name, now=self.now)
            if found is None or found.status != "queued":
                return False
            process.head = await queued.claim(
                process.table, found, run=process.run, by=new_name(), now=self.now
            )
            if process.head is None:
                return False
            try:
                await places.take(
                    process.table,
                    None,
                    name,
                    process.run,
                    maximum=RUN_PLACES,
                    expires=int(START) + 86_400,
                    now=self.now,
                )
            except places.Full:
                await queued.wait(process.table, process.head)
                return False
            return True

        if self.run(beginning(), process, fates) is True:
            self.runs.append(process)

    @precondition(lambda self: self.events)
    @rule(data=st.data())
    def call_lost(self, data: st.DataObject) -> None:
        """Lose the call of a function."""
        self.events.pop(data.draw(st.integers(0, len(self.events) - 1)))

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), fates=fates, room=st.booleans())
    def end(self, data: st.DataObject, fates: list[Fate], *, room: bool) -> None:
        """A run ends its response, or finds no room for it at the model."""
        process = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
        head = process.head
        assert head is not None
        name = head.response_id

        async def ending() -> None:
            if room:
                done = Ending(status="completed", event=End(), by=head.writer, now=self.now)
                update = end_update(
                    name,
                    done,
                    "#status = :was AND writer = :writer",
                    {":was": "in_progress", ":writer": head.writer},
                )
                _, won = await win(process.table, update, done)
                if won:
                    self.generated.append(name)
            else:
                await queued.wait(process.table, head)
            await places.release(process.table, None, name, process.run)
            if room:
                await places.release(process.table, "key", name, "f")

        self.run(ending(), process, fates)

    @rule(fates=fates)
    def sweep(self, fates: list[Fate]) -> None:
        """Sweep, and call the functions of what waits."""
        process = Function(self.name)
        self.late.append(process.network)

        async def invoke(name: str) -> None:
            self.events.append(name)

        sweeping = sweep_background(process.table, now=self.now, stop=lambda: False, invoke=invoke)
        self.run(sweeping, process, fates)

    @precondition(lambda self: self.asked)
    @rule(data=st.data(), fates=fates)
    def cancel(self, data: st.DataObject, fates: list[Fate]) -> None:
        """Cancel a response, and give its place back."""
        process = Function(self.name)
        self.late.append(process.network)
        name = data.draw(st.sampled_from(self.asked))

        async def cancelling() -> None:
            head = await cancel_head(process.table, name, now=self.now)
            if head is not None and head.is_final:
                await places.release(process.table, "key", name, "f")

        self.run(cancelling(), process, fates)

    @rule(seconds=st.sampled_from([1.0, limits.LEASE, QUEUED_TIME, WAIT]))
    def wait(self, seconds: float) -> None:
        """Let time pass. Runs that live renew their leases in time."""
        self.now += seconds
        for process in list(self.runs):
            assert process.head is not None
            standing = self.loop.run_until_complete(
                queued.renew(self.others, process.head, (1, 1), now=self.now)
            )
            if standing is not None:  # it has been cancelled
                self.runs.remove(process)

    @precondition(lambda self: any(network.late for network in self.late))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Carry out a write of a function late."""
        network = data.draw(st.sampled_from([it for it in self.late if it.late]))
        network.deliver(data.draw(st.integers(0, len(network.late) - 1)))

    @invariant()
    def bounds_hold(self) -> None:
        """Neither a key's unended responses nor all that run are ever too many."""
        heads = [head for name in self.asked if (head := self.head(name)) is not None]
        unended = [head for head in heads if not head.is_final]
        assert len(unended) <= KEY_PLACES
        owners = {process.head.writer: process for process in self.runs if process.head}
        assert len(owners) == len(self.runs)
        running = [head for head in unended if head.writer in owners and not head.is_waiting]
        assert len(running) <= RUN_PLACES

    @invariant()
    def each_runs_once(self) -> None:
        """No response is generated twice, nor by two functions that own it at once."""
        assert len(set(self.generated)) == len(self.generated)
        for name in self.generated:
            head = self.head(name)
            assert head is not None
            assert head.status == "completed"

    def teardown(self) -> None:
        """All processes die: each response ends, and every place is free then."""
        try:
            for network in self.late:
                while network.late:
                    network.deliver(0)
            self.now += WAIT + QUEUED_TIME
            for _ in range(2):
                walk = self.loop.run_until_complete(
                    sweep_background(self.others, now=self.now, stop=lambda: False)
                )
                assert not walk.failures
            heads = [self.head(name) for name in self.asked]
            assert all(head is not None and head.is_final for head in heads)

            async def taken() -> list[places.Places]:
                return [it async for it in places.every(self.others)]

            assert self.loop.run_until_complete(taken()) == []
        finally:
            self.close()


TestQueue = Queue.TestCase
TestQueue.settings = settings_of(steps=30)
