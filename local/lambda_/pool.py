"""The pool of one function's environments.

A warm environment is reused, and a new one is started when none is idle. There are never more
environments than the function's concurrency.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from local.lambda_.environment import Environment
from local.lambda_.launch import Launch
from local.lambda_.response import FunctionError, Invocation
from local.limits import value
from local.state import Function

log = logging.getLogger("local.lambda_")

# A start is CPU work, so more starts at once would only delay all of them. A waiting invocation
# gets the first environment that becomes free.
_STARTS_AT_ONCE = 2 * (os.cpu_count() or 1)
# Seconds that a start waits for an environment that has finished its response. Such an environment
# asks for its next invocation within a moment.
_FINISHING_S = 0.02
# Seconds after which an idle environment is stopped. AWS keeps it for minutes; here it takes the
# developer's memory.
IDLE_S = 60.0


class Throttled(Exception):
    """All of the function's concurrency is in use."""


class Pool:
    """The environments of one deployed version of a function."""

    _starts = asyncio.Semaphore(_STARTS_AT_ONCE)

    def __init__(
        self,
        function: Function,
        launch: Callable[[Function], Awaitable[Launch]],
        concurrency: int = 1,
        others: Callable[[], int] = lambda: 0,
    ) -> None:
        """`launch` collects what a new environment needs, and may raise FunctionError.

        `concurrency` is how many invocations one environment takes at once. `others` returns how
        many invocations the function's other versions have: they share its concurrency.
        """
        self.function = function
        self._concurrency = concurrency
        self._launch = launch
        self._others = others
        self._used = True
        self._environments: set[Environment] = set()
        # An environment is in this list once for each further invocation that it can take.
        self._idle: list[Environment] = []
        self._waiting: deque[tuple[Invocation, asyncio.Future[None]]] = deque()
        # The number of environments that are being launched. Other starts still wait.
        self._launching = 0
        self._starting: set[asyncio.Task[None]] = set()
        self._stopping: set[asyncio.Task[None]] = set()
        self._retired = False
        self._resting: list[asyncio.Future[None]] = []
        self._reaper: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """Return the number of environments that run or are being started."""
        return len(self._environments) + len(self._starting)

    @property
    def invocations(self) -> int:
        """The number of invocations that run or wait."""
        return sum(one.busy for one in self._environments) + len(self._waiting)

    @property
    def _limit(self) -> int:
        reserved = self.function.reserved_concurrency
        return value("lambda_account_concurrency") if reserved is None else reserved

    def set_concurrency(self, function: Function) -> None:
        """Use a changed function whose environments stay the same."""
        self.function = function

    async def invoke(self, invocation: Invocation) -> None:
        """Pass the invocation to an environment; return when an environment has taken it.

        Raises Throttled and FunctionError.
        """
        if self.invocations + self._others() >= self._limit:
            raise Throttled
        if self._idle:
            self._idle.pop().invoke(invocation)
            return
        accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((invocation, accepted))
        if len(self._starting) * self._concurrency < len(self._waiting):
            task = asyncio.create_task(self._start())
            self._starting.add(task)
            task.add_done_callback(self._starting.discard)
        await accepted

    async def retire(self) -> None:
        """Take no further invocations.

        Idle environments stop now, busy ones when they have finished.
        """
        self._retired = True
        idle, self._idle = self._idle, []
        await asyncio.gather(
            *(environment.stop() for environment in set(idle) if environment.at_rest)
        )

    async def use(self, used: bool) -> None:
        """Set whether idle environments are kept. They are not once no alias leads here any more.

        AWS keeps them for minutes. A pool that is not used still takes invocations.
        """
        if used is self._used:
            return
        self._used = used
        if not used:
            idle, self._idle = self._idle, []
            self._idle += [environment for environment in idle if not environment.at_rest]
            await asyncio.gather(
                *(environment.stop() for environment in set(idle) if environment.at_rest)
            )

    @property
    def at_rest(self) -> bool:
        """Whether no invocation is in progress, or waits."""
        return not self._waiting and all(one.at_rest for one in self._environments)

    async def rest(self) -> None:
        """Return when the pool is at rest."""
        if not self.at_rest:
            self._resting.append(asyncio.get_running_loop().create_future())
            await self._resting[-1]

    @property
    def at_work(self) -> bool:
        """Whether any environment is not frozen."""
        return any(not environment.frozen for environment in self._environments)

    def check_memory(self, used: Mapping[int, int]) -> None:
        """Kill environments that exceed the function's memory; `used` is by process group."""
        for environment in list(self._environments):
            environment.check_memory(used)

    def kill(self, access_key: str) -> bool:
        """Send SIGKILL to the environment with these credentials; return whether there is one."""
        owners = [
            environment
            for environment in self._environments
            if environment.access_key == access_key
        ]
        for environment in owners:
            environment.kill()
        return bool(owners)

    async def stop(self) -> None:
        """Stop everything at once."""
        self._retired = True
        if self._reaper is not None:
            self._reaper.cancel()
        for task in self._starting:
            task.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        await asyncio.gather(*(environment.stop() for environment in list(self._environments)))
        await asyncio.gather(*self._stopping, return_exceptions=True)

    async def _start(self) -> None:
        environment: Environment | None = None
        try:
            if any(running.finishing for running in self._environments):
                await asyncio.sleep(_FINISHING_S)
            async with self._starts:
                # The launches in progress will take all invocations that wait. One more environment
                # would find nothing to do.
                if len(self._waiting) <= self._launching * self._concurrency:
                    return
                if len(self) > self._limit:
                    raise Throttled
                self._launching += 1
                try:
                    environment = Environment(
                        await self._launch(self.function), self._became_idle, self._ended
                    )
                    await environment.start()
                finally:
                    self._launching -= 1
        except (FunctionError, Throttled) as error:
            log.warning("function %s: %r", self.function.name, error)
            if self._waiting:
                _, accepted = self._waiting.popleft()
                if not accepted.done():
                    accepted.set_exception(error)
            self._tell_rest()
            return
        except asyncio.CancelledError:
            if environment is not None:
                await environment.stop()
            raise
        self._environments.add(environment)
        self._became_idle(environment)

    def _became_idle(self, environment: Environment) -> None:
        while self._waiting:
            invocation, accepted = self._waiting.popleft()
            if not accepted.done():
                accepted.set_result(None)
                environment.invoke(invocation)
                return
        if self._retired or (not self._used and environment.at_rest):
            if environment.at_rest:
                self._stop_later(environment)
            self._tell_rest()
            return
        self._idle.append(environment)
        if environment.at_rest:
            environment.freeze()
        self._tell_rest()
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().call_later(IDLE_S, self._reap)

    def _ended(self, environment: Environment) -> None:
        self._environments.discard(environment)
        self._idle = [idle for idle in self._idle if idle is not environment]
        self._tell_rest()

    def _tell_rest(self) -> None:
        if self._resting and self.at_rest:
            resting, self._resting = self._resting, []
            for waiter in resting:
                if not waiter.done():
                    waiter.set_result(None)

    def _reap(self) -> None:
        self._reaper = None
        now = asyncio.get_running_loop().time()
        old = {idle for idle in self._idle if idle.at_rest and now - idle.idle_since >= IDLE_S}
        self._idle = [environment for environment in self._idle if environment not in old]
        for environment in old:
            self._stop_later(environment)
        if self._idle:
            self._reaper = asyncio.get_running_loop().call_later(IDLE_S / 2, self._reap)

    def _stop_later(self, environment: Environment) -> None:
        task = asyncio.create_task(environment.stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)


def same_environment(function: Function, other: Function) -> bool:
    """Return whether environments of one function may serve the other one."""
    return _of_environments(function) == _of_environments(other)


def _of_environments(function: Function) -> Function:
    """Return a function without what its environments do not see."""
    return replace(
        function,
        reserved_concurrency=None,
        url=None,
        invoke_mode=None,
        auth_type=None,
        policy="",
        event_retries=0,
        event_age=0,
    )
