"""Equal requests that meet in every order: one response is generated, and the others get it.

moto's DynamoDB carries out the real calls. Hypothesis draws the order of the steps of functions
that serve equal requests, and what happens to each of their calls. A function may be killed before
or after any write. A write may be lost, unanswered or late.
"""

import time
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
)

from lambda_fn import limits
from lambda_fn.encode import Head
from lambda_fn.errors import UpstreamFailed
from lambda_fn.event_log import failed_by
from lambda_fn.events import End
from lambda_fn.ids import new_request_id
from lambda_fn.stream import repeats as module
from lambda_fn.stream.repeats import Asked, Repeats
from lambda_fn.stream_log.heads import Ending, StoredHead, end_update, open_head, read_head, win
from tests.support.network import Fate, Killed, Network, operate
from tests.support.races import START, Process, StreamTableMachine, settings_of

ACTORS = 4
FAILED = failed_by(UpstreamFailed("The model's response was truncated.", code="upstream_cut"))
fates: st.SearchStrategy[list[Fate]] = st.just([]) | st.lists(
    st.sampled_from([Fate.WELL, Fate.LATE, Fate.UNANSWERED, *Fate]), max_size=4
)
actors = st.integers(0, ACTORS - 1)
statuses = st.sampled_from(["completed", "incomplete", "failed"])


class Actor(Process):
    """A function that serves one of the equal requests."""

    def __init__(self, name: str, make: Any) -> None:
        """Reach the table by a network on which it may be killed."""
        super().__init__(name)
        self.repeats: Repeats = make(self.table)
        self.step = "find"
        self.id = ""


class Races(StreamTableMachine):
    """The state machine."""

    errors = (OSError,)

    def __init__(self) -> None:
        """Begin without requests."""
        super().__init__()
        clock = SimpleNamespace(time=lambda: self.now, monotonic=time.monotonic)
        self.patch.setattr(module, "time", clock)
        self.keys = True
        self.cache: int | None = None
        self.actors: list[Actor | None] = [None] * ACTORS
        self.others = Network().table(self.name)
        self.late: list[Network] = []
        self.generated: list[str] = []
        """The responses whose generation has begun, in their order."""
        self.attached: list[str] = []

    @initialize(keys=st.booleans(), cache=st.booleans(), patient=st.booleans())
    def begin(self, *, keys: bool, cache: bool, patient: bool) -> None:
        """Choose how the requests are known to be equal, and how often a claim is attempted."""
        self.patch.setattr(limits, "LOG_OPEN_TIMEOUT", 60.0 if patient else -1.0)
        self.keys = keys or not cache
        self.cache = 10**6 if cache else None

    def make(self, table: Any) -> Repeats:
        """Return the identities of the request."""
        return Repeats(
            table,
            Asked("POST", "/v1/chat/completions", "chat_stream none", b"{}", "fp"),
            {"idempotency-key": "k"} if self.keys else {},
            owner="key",
            is_repeat=self.keys,
            cache=self.cache,
        )

    def take(self, work: Coroutine[Any, Any, Any], actor: Actor, fates: list[Fate]) -> Any:
        """Run a step of an actor, which leaves if it was killed."""
        result = self.run(work, actor, fates)
        if isinstance(result, Killed):
            self.leave(actor)
        return result

    def leave(self, actor: Actor) -> None:
        """End a function. Its late writes may still come."""
        self.late.append(actor.network)
        self.actors[self.actors.index(actor)] = None

    def head(self, name: str) -> StoredHead | None:
        """Return a head as it is."""
        return self.loop.run_until_complete(read_head(self.others, name, now=self.now))

    @rule(number=actors, fates=fates, status=statuses)
    def act(self, number: int, fates: list[Fate], status: str) -> None:
        """Run a function up to its next call, or begin it."""
        actor = self.actors[number]
        if actor is None:
            actor = self.actors[number] = Actor(self.name, self.make)
            self.find(actor, fates)
        elif actor.step == "open":
            self.open(actor, fates)
        elif actor.step == "claim":
            self.claim(actor, fates)
        else:
            self.end(actor, status, fates)

    def find(self, actor: Actor, fates: list[Fate]) -> None:
        """Look for the response."""
        found = self.take(actor.repeats.find(), actor, fates)
        if isinstance(found, StoredHead):
            self.attach(found)
            self.leave(actor)
        actor.step = "open"

    def attach(self, head: StoredHead) -> None:
        """Check the head of a response that a repeat gets."""
        assert head.status in ("in_progress", "completed", "incomplete")
        assert not head.is_overdue(self.now)
        self.attached.append(head.response_id)

    def open(self, actor: Actor, fates: list[Fate]) -> None:
        """Write the head of a request that found no response."""
        actor.id = new_request_id(self.now)
        stored = StoredHead(
            head=Head(actor.id, int(self.now), "m"),
            owner="key",
            status="in_progress",
            created=int(self.now),
            expires=int(START) + 86_400,
            endpoint="e",
            dialect="sluice",
            writer=actor.id,
            lease=self.now,
        )
        result = self.take(open_head(actor.table, stored), actor, fates)
        if result is None:
            actor.step = "claim"
        elif not isinstance(result, Killed):
            self.leave(actor)  # it is refused

    def claim(self, actor: Actor, fates: list[Fate]) -> None:
        """Name the response. The function that wins generates it."""
        result = self.take(actor.repeats.claim(actor.id, int(START) + 86_400), actor, fates)
        if isinstance(result, Killed):
            return
        if result is None:
            self.generated.append(actor.id)
            actor.step = "end"
            return
        if isinstance(result, StoredHead):
            self.attach(result)
            assert result.response_id != actor.id
        self.end(actor, "cancelled", [])  # it is attached, or refused

    def end(self, actor: Actor, status: Any, fates: list[Fate]) -> None:
        """End a head, and the function."""
        event = End() if status in ("completed", "incomplete") else FAILED
        ending = Ending(status=status, event=event, by=actor.id, now=self.now)
        update = end_update(
            actor.id,
            ending,
            "#status = :was AND writer = :writer",
            {":was": "in_progress", ":writer": actor.id},
        )
        result = self.take(win(actor.table, update, ending), actor, fates)
        if not isinstance(result, Killed):
            self.leave(actor)

    @rule(seconds=st.sampled_from([1.0, limits.LEASE]))
    def wait(self, seconds: float) -> None:
        """Let time pass. Functions that live renew their leases."""
        self.now += seconds
        for actor in self.actors:
            if actor is not None and actor.step in ("claim", "end"):
                head = self.head(actor.id)
                if head is not None and not head.is_final:
                    key = {"pk": {"S": f"R#{actor.id}"}, "sk": {"S": "HEAD"}}
                    operate(
                        "UpdateItem",
                        TableName=self.name,
                        Key=key,
                        UpdateExpression="SET lease = :now",
                        ExpressionAttributeValues={":now": {"N": str(self.now)}},
                    )

    @precondition(lambda self: any(network.late for network in self.late))
    @rule(data=st.data())
    def deliver(self, data: st.DataObject) -> None:
        """Carry out a write of a function that has ended."""
        network = data.draw(st.sampled_from([it for it in self.late if it.late]))
        network.deliver(data.draw(st.integers(0, len(network.late) - 1)))

    @invariant()
    def one_is_generated(self) -> None:
        """There is never a second response that is running or complete."""
        found = {name: self.head(name) for name in self.generated}
        standing = [
            name
            for name, head in found.items()
            if head is not None
            and head.status in ("in_progress", "completed", "incomplete")
            and not head.is_overdue(self.now)
        ]
        assert len(standing) <= 1, standing

    def teardown(self) -> None:
        """Serve one more request: it gets the complete response, if there is one."""
        try:
            self.actors = [None] * ACTORS
            complete = [
                name
                for name in self.generated
                if (head := self.head(name)) is not None
                and head.status in ("completed", "incomplete")
            ]
            last = Actor(self.name, self.make)
            found = self.loop.run_until_complete(last.repeats.find())
            if complete:
                assert found is not None
                assert found.response_id == complete[0]
        finally:
            self.close()


def test_digests_are_of_parts() -> None:
    """Other parts with the same text together have another digest."""
    texts = [("a", "bc"), ("ab", "c"), ("abc", ""), ("1:a", "bc")]
    asked = [Asked(one, two, "", b"", "") for one, two in texts]
    assert len({it.digest() for it in asked}) == len(texts)
    assert asked[0].digest(b"") != asked[0].digest()


TestRaces = Races.TestCase
TestRaces.settings = settings_of(steps=30)
