"""A log whose producer, canceller, sweeper and readers meet in every order.

moto's DynamoDB carries out the real calls. Hypothesis draws the order of the steps, and what
happens to each call of the producer, the canceller and the sweeper. Any of them may be killed
before or after any write. In the end every reader has to have read the same response, which has one
end, and the client that was live has to have seen a prefix of it, but for the last events that were
not acknowledged.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from lambda_fn.encode import Head, encoder_of
from lambda_fn.encode.numbered import GAP
from lambda_fn.errors import UpstreamFailed
from lambda_fn.event_log import Batch, LogEnded, Unended, error_of, failed_by
from lambda_fn.events import NULL, Delta, End, Event, Failed, Finish, Usage
from lambda_fn.ids import new_request_id
from lambda_fn.metering.ledger import Outcome, Settlement
from lambda_fn.stream_log.heads import (
    StoredHead,
    cancel_head,
    end_segment,
    new_name,
    read_head,
)
from lambda_fn.stream_log.reading import LogSource, read_all, read_log
from lambda_fn.stream_log.table_log import TableLog
from lambda_fn.stream_log.watching import Watch
from lambda_fn.sweep.logs import end_log
from tests.support.network import Fate
from tests.support.races import START, Process, StreamTableMachine, settings_of
from tests.support.stream_logs import look

fates = st.lists(
    st.sampled_from([Fate.WELL, Fate.LATE, Fate.WELL, Fate.UNANSWERED, *Fate]), max_size=4
)  # of the first calls of a step; the others go well


class Logs(StreamTableMachine):
    """The state machine."""

    changed: ClassVar = {
        "LOG_FLUSH": 1e6,
        "LOG_FLUSH_FIRST": 1e6,
        "LOG_WATCH": 1e6,
        "LOG_HEAD_POLL": 0.0,
        "LOG_GIVE_UP": 60.0,
        "LOG_OPEN_TIMEOUT": 60.0,
    }
    errors = (OSError, LookupError, LogEnded, Unended)

    def __init__(self) -> None:
        """Open a log."""
        super().__init__()
        self.sampled = 0
        self.settled: Outcome | None = None
        """What the producer has settled after it could not end its log."""
        self.live: list[Event] = []
        """The events that the live client got, in their order, but for the terminal one."""
        self.terminal: Batch | None = None
        self.told: list[bool] = []
        self.others = Process(self.name)
        self.producer = Process(self.name)
        self.producer_alive = True
        self.id = new_request_id(START)
        self.head = Head(self.id, int(START), "m", numbered=True)
        stored = StoredHead(
            head=self.head,
            owner="key",
            status="in_progress",
            created=int(START),
            expires=int(START) + 86_400,
            endpoint="e",
            dialect="sluice",
        )
        table = self.producer.table
        self.log = TableLog(
            table, Watch(table), stored, lambda: (3, self.sampled), now=lambda: self.now
        )
        self.log.on_end = self.told.append
        self.run(self.log.open(self.head), self.producer, [])
        readers = (read_log(self.others.table, self.id, now=lambda: self.now) for _ in range(2))
        self.readers: list[tuple[LogSource, list[Event]]] = [(it, []) for it in readers]
        self.seen: list[list[Event]] = [[], []]
        self.over: list[str] = ["", ""]

    def run(self, work: Coroutine[Any, Any, Any], process: Process, fates: list[Fate]) -> Any:
        """Run a step of a process. A new process takes the place of one that was killed."""
        try:
            return super().run(work, process, fates)
        finally:
            if process.network._killed:
                process.network.revive()
                if process is self.producer:
                    self.die()

    def die(self) -> None:
        """End the producer's process: nothing of it goes on."""
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.producer_alive = False

    @property
    def produces(self) -> bool:
        """Whether the producer goes on."""
        return self.producer_alive and self.terminal is None

    @precondition(lambda self: self.produces)
    @rule(count=st.integers(1, 4), tokens=st.integers(0, 2), logprobs=st.booleans())
    def append(self, count: int, tokens: int, *, logprobs: bool) -> None:
        """Sample some tokens, and deliver them to the live client."""
        self.sampled += count * tokens
        probabilities = msgspec.Raw(b'{"content":[],"refusal":null}') if logprobs else NULL
        events: list[Event] = [
            Delta(msgspec.Raw(b'{"content":"%d"}' % number), 0, tokens, probabilities)
            for number in range(len(self.live), len(self.live) + count)
        ]

        async def go() -> Any:
            return self.log.append((len(self.live), events))

        found = self.run(go(), self.producer, [])
        if not isinstance(found, LogEnded):  # a client gets the rest even if the log is lost
            self.live += events

    @precondition(lambda self: self.produces)
    @rule(fates=fates)
    def flush(self, fates: list[Fate]) -> None:
        """Write what is pending."""

        async def go() -> None:
            self.log.flush()
            if self.log._flushing is not None:
                await asyncio.wait([self.log._flushing])

        self.run(go(), self.producer, fates)

    @precondition(lambda self: self.produces and self.log._lost is None)
    @rule(fates=fates, renew=st.booleans())
    def check(self, fates: list[Fate], *, renew: bool) -> None:
        """Read the head, or renew the lease."""
        work = self.log.renew() if renew else look(self.producer.table, self.log)
        self.run(work, self.producer, fates)

    @precondition(lambda self: self.produces)
    @rule(fates=fates)
    def lose(self, fates: list[Fate]) -> None:
        """Give the log up, as after 15 s without an answer."""

        async def go() -> None:
            self.log._lose(OSError())
            await self.log.close()

        self.run(go(), self.producer, fates)

    @precondition(lambda self: self.produces)
    @rule(fates=fates, failed=st.booleans())
    def end(self, fates: list[Fate], *, failed: bool) -> None:
        """End the response, and what goes on after that."""
        event: Event = failed_by(UpstreamFailed("m")) if failed else End()
        if not failed and self.log._lost is None and not self.log._fenced:
            last: list[Event] = [Finish("stop"), Usage(3, self.sampled)]

            async def finish() -> Any:
                return self.log.append((len(self.live), last))

            if not isinstance(self.run(finish(), self.producer, []), Exception):
                self.live += last

        async def go() -> Batch:
            return await asyncio.shield(self.log.end((len(self.live), [event])))

        found = self.run(go(), self.producer, fates)
        if not self.producer_alive:
            return
        if isinstance(found, Exception):
            # The client gets no terminal event, and the process is done with it.
            self.settled = "failed" if failed else "complete"
            self.die()
            return
        self.terminal = found
        self.run(self.log.close(), self.producer, [])

    @rule(fates=fates)
    def cancel(self, fates: list[Fate]) -> None:
        """Cancel the response, and put the terminal segment if that won."""

        async def go() -> None:
            by = new_name()
            head = await cancel_head(self.others.table, self.id, now=self.now, by=by)
            assert head is not None
            if head.ended_by == by:
                await end_segment(self.others.table, head)

        self.run(go(), self.others, fates)

    @rule(fates=fates)
    def sweep(self, fates: list[Fate]) -> None:
        """Settle by the log. Only a dead producer is swept; the sweeper may die too."""
        if self.producer_alive:
            return
        self.run(self.end_log(), self.others, fates)

    async def end_log(self) -> Settlement | None:
        """End the log as the sweeper does."""
        return await end_log(self.others.table, self.id, now=self.now, settled=self.settled)

    @rule(seconds=st.sampled_from([0.3, 3.0, 6.0, 31.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @precondition(lambda self: self.producer.network.late or self.others.network.late)
    @rule(number=st.integers(0, 99))
    def deliver(self, number: int) -> None:
        """Carry out a late call."""
        nets = [it.network for it in (self.producer, self.others) if it.network.late]
        net = nets[number % len(nets)]
        net.deliver(number % len(net.late))

    @rule(which=st.integers(0, 1), fates=fates)
    def read(self, which: int, fates: list[Fate]) -> None:
        """Run one poll of a reader."""
        if self.over[which]:
            return
        source, _ = self.readers[which]
        found = self.run(source.read(time.monotonic()), self.others, fates)
        if isinstance(found, BaseException):
            # another process goes on from the same place
            after = len(self.seen[which]) - 1
            source = read_log(self.others.table, self.id, after, now=lambda: self.now)
            self.readers[which] = (source, [])
        elif found is not None:
            first, events = found
            assert first == len(self.seen[which]), "a hole, or a number twice"
            self.seen[which] += events
            if type(self.seen[which][-1]) in (End, Failed):
                self.over[which] = "ended"

    @invariant()
    def a_known_end_stands(self) -> None:
        """A producer that takes its head for final, so that nobody watches it, is right."""
        if self.log.has_end:
            assert self.stored_head().is_final

    def stored_head(self) -> StoredHead:
        """Return the head as it stands."""
        head = self.loop.run_until_complete(read_head(self.others.table, self.id, now=self.now))
        assert head is not None
        return head

    @invariant()
    def readers_agree(self) -> None:
        """One reader's events are a prefix of the other's."""
        one, other = self.seen
        shared = min(len(one), len(other))
        assert one[:shared] == other[:shared]

    def teardown(self) -> None:
        """Run everything to its end, and compare."""
        try:
            self.finish()
        finally:
            self.die()
            self.close()

    def finish(self) -> None:
        """Read to the end as readers do when the producer is gone."""
        if self.terminal is None and self.producer_alive:
            self.die()
        if not self.log.has_end:
            # Nobody has to read a response for its end: its request is OPEN, or watched.
            self.run(self.end_log(), self.others, [])
            assert self.stored_head().is_final
        for _ in range(40):
            if all(self.over):
                break
            self.now += 10
            for which in (0, 1):
                self.read(which, [])
        assert all(self.over), "a reader does not end"
        for net in (self.producer.network, self.others.network):
            while net.late:
                net.deliver(0)
        head = self.stored_head()
        segments = self.loop.run_until_complete(read_all(self.others.table, head))
        stored = [event for segment in segments for event in segment.events]
        assert [type(it) in (End, Failed) for it in stored] == [False] * (len(stored) - 1) + [True]
        assert self.seen == [stored, stored]
        self.check_end(head, stored)
        self.check_counts(head, segments[-1].completion_tokens)
        self.check_live(stored)

    def check_end(self, head: StoredHead, stored: list[Event]) -> None:
        """The head says what the terminal event says."""
        last = stored[-1]
        assert head.is_final
        assert (type(last) is End) == (head.status in ("completed", "incomplete"))
        by_producer = head.ended_by == head.writer
        if type(last) is Failed:
            assert last.fenced == (None if by_producer else len(stored) - 1)
        else:
            assert by_producer
        if self.terminal is not None and self.log._lost is None:
            assert self.terminal == (len(stored) - 1, [last])

    def check_counts(self, head: StoredHead, logged: int) -> None:
        """The ledger has all that is logged, and nothing that was not sampled."""
        settled = self.loop.run_until_complete(self.end_log())
        assert settled is not None
        assert logged <= settled.completion_tokens <= self.sampled
        if head.ended_by == head.writer:
            assert logged == settled.completion_tokens == self.sampled

    def check_live(self, stored: list[Event]) -> None:
        """The client saw a prefix, and resumes after any number to get the tail."""
        shared = min(len(self.live), len(stored) - 1)
        assert self.live[:shared] == stored[:shared]
        assert len(stored) - 1 <= len(self.live)
        whole = _pieces(self.head, stored, None)
        numbers = [number for number, _ in whole if number is not None]
        assert numbers == sorted(set(numbers))
        live = _pieces(self.head, self.live, None)
        if type(stored[-1]) is Failed and stored[-1].fenced is not None:
            assert numbers[-1] == (numbers[-2] if len(numbers) > 1 else -1) + GAP
            assert numbers[-1] > max(number for number, _ in live if number is not None)
        for number, _ in live:
            tail = _pieces(self.head, stored, number)
            assert tail == [it for it in whole if it[0] is None or it[0] > (number or 0)]


def _pieces(head: Head, events: list[Event], after: int | None) -> list[tuple[int | None, bytes]]:
    """Return the chunks of a stream with their numbers, None for `[DONE]`."""
    encoder = encoder_of(head, after)
    data = encoder.begin() + encoder.encode(events)
    if events and type(events[-1]) is Failed:
        data += encoder.fail(error_of(events[-1])) or b""
    out: list[tuple[int | None, bytes]] = []
    for chunk in data.split(b"\n\n")[:-1]:
        text = chunk.removeprefix(b"data: ")
        number = None if text == b"[DONE]" else msgspec.json.decode(text)["sluice"]["n"]
        out.append((number, chunk))
    return out


TestLogs = Logs.TestCase
TestLogs.settings = settings_of(steps=30)
