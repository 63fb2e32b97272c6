"""Account and ledger compared with a reference in memory.

Whatever is lost, late, throttled or killed between two calls, every request is booked exactly once
in the end. moto's DynamoDB carries out the real calls of the real `Table`, and Hypothesis draws
what goes wrong on the way to it. A write may be lost, carried out without a response, carried out
late (after its caller has continued), or throttled. The process may end before or after any write.
"""

import asyncio
import os
import uuid
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambda_fn import ids, limits
from lambda_fn.aws.attributes import Item
from lambda_fn.aws.dynamodb import MeterError, MeterUnavailable
from lambda_fn.errors import APIError, InsufficientQuota, RateLimited, RequestRunning, Unavailable
from lambda_fn.metering import accounts, holds, ledger, settlements
from lambda_fn.metering.accounts import Account, Hold, Limits
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices, Tokens
from lambda_fn.metering.windows import windows_of
from lambda_fn.stream import admit
from lambda_fn.stream.admit import Admission, Gate
from tests.support.function import KEY, KEY_ID
from tests.support.network import Fate, Killed, Network, all_items, create_table, delete_table
from tests.support.one_request import CALLER, START

LIMITS = Limits(tokens_day=1000, cost_day=20_000, max_streams=5, tokens_month=4000)
EXAMPLES = int(os.environ.get("SLUICE_BOOKS_EXAMPLES", "12"))
"""`make books` runs more."""
# of the first calls of a step; the others go well
fates = st.lists(
    st.sampled_from([Fate.WELL, Fate.LATE, Fate.WELL, Fate.UNANSWERED, *Fate]), max_size=6
)  # the first calls of a step; later ones succeed
late_fates = st.lists(st.sampled_from([Fate.WELL, Fate.LATE]), max_size=8)


@dataclass
class Request:
    """What the reference has recorded of a request."""

    opening: Opening
    admission: Admission | None = None
    hold: Hold | None = None
    """Its hold, as its function knows it."""
    running: bool = False
    truth: Settlement | None = None
    """The settlement that the function made; None if it was killed or the request never began."""
    written: bool = False
    """Whether account and ledger are known to have that settlement."""
    at_least: int = 0
    """Completion tokens of the last checkpoint that is known to be written."""
    at_most: int = 0
    """Completion tokens that were generated."""

    @property
    def granted(self) -> int:
        """Completion tokens that may be generated. The prompt has one token."""
        return (self.hold.tokens if self.hold else self.opening.reserved) - 1


@dataclass
class World:
    """The table, the network to it, and the time."""

    name: str = field(default_factory=lambda: f"usage-{uuid.uuid4().hex}")
    now: float = START

    def __post_init__(self) -> None:
        """Create the table."""
        self.fates: list[Fate] = []
        self.network = Network(lambda _: self.fates.pop(0) if self.fates else Fate.WELL)
        self.table = self.network.table(self.name)
        create_table(self.name)

    def run(self, work: Any, fates: list[Fate]) -> Any:
        """Run one step of one process with fates for its calls.

        Return its result, or the exception that ended it.
        """
        self.fates = list(fates)
        self.network.revive()

        async def step() -> Any:
            try:
                return await work
            except (MeterError, APIError, Killed) as error:
                return error

        try:
            return asyncio.run(step())
        finally:
            self.fates = []

    def items(self, prefix: str) -> list[Item]:
        """Return all items of a kind."""
        return [item for item in all_items(self.name) if item["pk"].startswith(prefix)]

    @property
    def account(self) -> Account:
        """Return the account."""
        [item] = self.items("KEY#")
        return Account.of(item)


class Books(RuleBasedStateMachine):
    """The state machine: requests begin, continue and end, and their calls meet their fates."""

    def __init__(self) -> None:
        """Begin with one key."""
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.world = World()
        self.patch.setattr(admit, "time", SimpleNamespace(time=lambda: self.world.now))
        self.patch.setattr(admit.Switch, "is_due", False)
        self.patch.setattr(limits, "META_BACKOFF", 0.0)
        self.patch.setattr(limits, "META_MAX_ATTEMPTS", 3)
        self.requests: list[Request] = []
        account = accounts.new_account(KEY, name="n", now=int(START), limits=LIMITS)
        self.world.run(self.world.table.put(account), [])
        self.gates = [Gate(self.world.table), Gate(self.world.table, meter_open=True)]
        self.served_without_limits = False

    @rule(
        tokens=st.integers(1, 400),
        price=st.integers(0, 40),
        fates=fates,
        repeat=st.booleans(),
        fails_open=st.sampled_from([False, False, True]),
    )
    def begin(
        self, tokens: int, price: int, fates: list[Fate], *, repeat: bool, fails_open: bool
    ) -> None:
        """Begin a request.

        A `repeat` is the same as another one, which may be running. With `fails_open` the request
        may be served although the meter does not answer.
        """
        world = self.world
        opening = Opening(
            ids.new_request_id(world.now), KEY_ID, "m", tokens, tokens * price, Prices(price, price)
        )
        request = Request(opening)
        self.requests.append(request)
        before = world.account
        work = self.gates[fails_open].admit(
            CALLER, opening, fingerprint="same" if repeat else "", repeat=repeat
        )
        result = world.run(work, fates)
        if isinstance(result, Admission):
            request.admission, request.running = result, True
            request.hold = result.entry
            self.served_without_limits |= result.entry is None
        elif isinstance(result, RequestRunning):
            request.truth, request.written = ledger.REFUSED, True
            assert any(hold.fingerprint for hold in before.in_flight.values())
        elif isinstance(result, InsufficientQuota | RateLimited):
            request.truth, request.written = ledger.REFUSED, True
            if not fates and not world.network.late:  # a request that fits succeeds
                windows = [
                    w for w in windows_of(world.now) if w.limit.startswith(("tokens", "cost"))
                ]
                needed = {"tokens": tokens, "cost": tokens * price}
                fits = all(before.remaining(w) >= needed[w.name.partition("#")[0]] for w in windows)
                assert not fits or len(before.in_flight) >= LIMITS.max_streams
        else:
            assert isinstance(result, Unavailable | Killed)
            assert fates

    def running(self) -> list[Request]:
        """Return the requests whose function still runs."""
        return [request for request in self.requests if request.running]

    @precondition(lambda self: self.running())
    @rule(index=st.integers(0, 9), tokens=st.integers(1, 100), fates=fates)
    def checkpoint(self, index: int, tokens: int, fates: list[Fate]) -> None:
        """Continue a stream, and write one checkpoint."""
        request = self.pick(self.running(), index)
        request.at_most = min(request.granted, request.at_most + tokens)
        update = ledger.checkpoint(
            request.opening.request_id,
            prompt_tokens=1,
            completion_tokens=request.at_most,
            now=self.world.now,
        )
        self.world.now += 1
        result = self.world.run(self.world.table.update(update, max_attempts=1), fates[:1])
        if not isinstance(result, Exception | Killed):
            request.at_least = request.at_most
        if isinstance(result, Killed):
            request.running = False

    @precondition(lambda self: any(request.hold for request in self.running()))
    @rule(index=st.integers(0, 9), tokens=st.integers(1, 900), fates=fates)
    def extend(self, index: int, tokens: int, fates: list[Fate]) -> None:
        """Extend a reservation. Its function may not learn whether that succeeded."""
        request = self.pick([request for request in self.running() if request.hold], index)
        hold, before = request.hold, self.world.account
        assert hold is not None
        work = settlements.extend(self.world.table, request.opening, hold, tokens=tokens)
        result = self.world.run(work, fates)
        if isinstance(result, Killed):
            request.running = False
        elif isinstance(result, Hold):
            assert (result.attempt, result.model) == (hold.attempt, hold.model)
            assert result.cost - hold.cost == request.opening.prices.bound(
                0, result.tokens - hold.tokens
            )
            request.hold = result
        elif (
            not fates
            and not self.world.network.late
            and request.opening.request_id in (before.in_flight)
        ):  # it was refused, so no token was left
            assert result is None
            needed = {"tokens": 1, "cost": request.opening.prices.completion}
            assert any(
                before.remaining(window) < needed[window.name.partition("#")[0]]
                for window in holds.budgets_of(request.opening.request_id)
            )

    @precondition(lambda self: self.running())
    @rule(index=st.integers(0, 9), tokens=st.integers(0, 100), whole=st.booleans(), fates=fates)
    def end(self, index: int, tokens: int, whole: bool, fates: list[Fate]) -> None:
        """End a stream: settle it, log it as unsaved, or kill its process."""
        request = self.pick(self.running(), index)
        request.running = False
        request.at_most = min(request.granted, request.at_most + tokens)
        truth = Settlement(
            "complete" if whole else "cut", 1, request.at_most, "stop" if whole else None, 1, 2
        )
        admission = request.admission
        assert admission is not None
        if request.hold is not None and admission.opened:
            work: Any = settlements.settle(
                self.world.table,
                request.opening,
                truth,
                hold=request.hold,
                now=self.world.now,
                expired=admission.stale,
            )
        else:
            work = settlements.replay(self.world.table, request.opening, truth, now=self.world.now)
        result = self.world.run(work, fates)
        if isinstance(result, Killed):
            return  # the outcome is unknown
        request.truth, request.written = truth, not isinstance(result, MeterUnavailable)

    @precondition(lambda self: self.running())
    @rule(index=st.integers(0, 9))
    def kill(self, index: int) -> None:
        """Kill a function."""
        self.pick(self.running(), index).running = False

    @precondition(lambda self: any(request.truth for request in self.requests))
    @rule(index=st.integers(0, 9), fates=fates | late_fates)
    def replay(self, index: int, fates: list[Fate]) -> None:
        """Replay a line of the log, which may have been booked already."""
        self.replay_one(
            self.pick([request for request in self.requests if request.truth], index), fates
        )

    def replay_one(self, request: Request, fates: list[Fate]) -> None:
        """Replay one settlement."""
        assert request.truth is not None
        result = self.world.run(
            settlements.replay(
                self.world.table, request.opening, request.truth, now=self.world.now
            ),
            fates,
        )
        if isinstance(result, bool):
            request.written = True

    @precondition(lambda self: any(not request.running for request in self.requests))
    @rule(index=st.integers(0, 9), fates=fates)
    def sweep(self, index: int, fates: list[Fate]) -> None:
        """Sweep a request that no function serves any more."""
        ended = [request for request in self.requests if not request.running]
        self.sweep_one(self.pick(ended, index), fates)

    def sweep_one(self, request: Request, fates: list[Fate]) -> None:
        """Recover one request as the sweeper does."""
        self.world.run(
            settlements.recover(
                self.world.table, KEY_ID, request.opening.request_id, now=self.world.now
            ),
            fates,
        )

    @precondition(lambda self: self.world.network.late)
    @rule(index=st.integers(0, 9))
    def arrive(self, index: int) -> None:
        """Carry out a late call."""
        self.world.network.deliver(index % len(self.world.network.late))

    @rule(seconds=st.sampled_from([1, 20, 90, 7200]))
    def wait(self, seconds: int) -> None:
        """Let time pass, to the next minute or the next day."""
        self.world.now += seconds

    @staticmethod
    def pick(among: list[Request], index: int) -> Request:
        """Return one of the requests."""
        return among[index % len(among)]

    @invariant()
    def nothing_is_overdrawn(self) -> None:
        """No balance is below 0, and no key has more streams than its limit.

        A balance may be below 0 only after a request was served without its limits.
        """
        account = self.world.account
        assert self.served_without_limits or all(left >= 0 for left in account.balance.values())
        assert (
            len([entry for entry in account.in_flight.values() if entry.tokens])
            <= LIMITS.max_streams
        )

    def teardown(self) -> None:
        """Check that in the end every request is booked once."""
        try:
            self.close_the_books()
        finally:
            self.patch.undo()
            delete_table(self.world.name)

    def close_the_books(self) -> None:
        """Carry out all late calls, replay every line, sweep, and compare."""
        world = self.world
        for request in self.requests:
            request.running = False
        for _ in range(2):
            while world.network.late:
                world.network.deliver(0)
            for request in self.requests:
                if request.truth and not request.written:
                    self.replay_one(request, [])
                self.sweep_one(request, [])
        account = world.account
        settled = world.items("LEDGER#")
        assert account.in_flight == {}
        assert {item["state"] for item in settled} <= {"SETTLED"}
        counted = [item for item in settled if item["outcome"] != "refused"]
        sums = [
            sum(item[name] for item in counted)
            for name in ("prompt_tokens", "completion_tokens", "cost")
        ]
        assert [account.prompt_tokens, account.completion_tokens, account.cost] == sums
        assert account.requests == len(counted)
        self.compare(settled)
        self.weigh(account, counted)

    def compare(self, settled: list[Item]) -> None:
        """Compare each ledger item with the reference."""
        by_id = {item["sk"]: item for item in settled}
        for request in self.requests:
            item = by_id.get(request.opening.request_id)
            if request.truth is not None and request.truth is not ledger.REFUSED:
                assert item is not None
                metered = (item["outcome"], item["prompt_tokens"], item["completion_tokens"])
                assert metered == (request.truth.outcome, 1, request.truth.completion_tokens)
                assert item["cost"] == request.opening.prices.cost(
                    Tokens(1, request.truth.completion_tokens)
                )
                assert "recovered" not in item
            elif item is not None:
                assert request.at_least <= item["completion_tokens"] <= request.at_most

    def weigh(self, account: Account, counted: list[Item]) -> None:
        """Compare the balances of this day and month with what was spent in them."""
        spent = {window.name: 0 for window in windows_of(self.world.now)}
        for item in counted:
            for window in windows_of(ids.request_time(item["sk"])):
                if window.name in spent:
                    tokens = item["prompt_tokens"] + item["completion_tokens"]
                    spent[window.name] += {"tokens": tokens, "cost": item["cost"], "requests": 0}[
                        window.name.partition("#")[0]
                    ]
        for window in windows_of(self.world.now):
            if window.limit in ("tokens_day", "cost_day", "tokens_month", "cost_month"):
                assert (
                    account.remaining(window)
                    == getattr(account.limits, window.limit) - spent[window.name]
                ), window


TestBooks = Books.TestCase
TestBooks.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
