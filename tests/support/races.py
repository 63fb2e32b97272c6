"""What the state machines of concurrent writers of StreamTable have in common.

moto's DynamoDB carries out the real calls, and a machine draws what happens to each of them.
"""

import asyncio
import os
import uuid
from collections.abc import Coroutine
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine

from lambda_fn import limits
from lambda_fn.aws.dynamodb import MeterError, Table
from tests.support.network import Fate, Killed, Network, delete_table, operate
from tests.support.stream_tables import stream_table

EXAMPLES = int(os.environ.get("SLUICE_LOG_EXAMPLES", "40"))
START = 1_800_000_000.0
"""The time at which each machine begins, in Unix seconds."""


def settings_of(steps: int) -> settings:
    """Return the settings of a machine that takes at most `steps` steps."""
    return settings(
        max_examples=EXAMPLES,
        stateful_step_count=steps,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Process:
    """A process with its own network, on which it may be killed."""

    def __init__(self, name: str) -> None:
        """Reach the table of a name."""
        self.fates: list[Fate] = []
        """What happens to the next calls. The others go well."""
        self.network = Network(lambda _: self.fates.pop(0) if self.fates else Fate.WELL)
        self.table: Table = self.network.table(name)


class StreamTableMachine(RuleBasedStateMachine):
    """A state machine over a table of its own, with a clock that it moves."""

    changed: ClassVar[dict[str, float]] = {}
    """The limits of the functions that the machine changes, and their values."""
    errors: ClassVar[tuple[type[Exception], ...]] = ()
    """What a step may raise beside `MeterError`."""

    def __init__(self) -> None:
        """Create StreamTable, and stop the clock."""
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        for limit, value in (
            {"META_BACKOFF": 0.0, "META_BACKOFF_MAX": 0.0, "META_MAX_ATTEMPTS": 3} | self.changed
        ).items():
            self.patch.setattr(limits, limit, value)
        self.name = f"streams-{uuid.uuid4().hex}"
        operate("CreateTable", **stream_table(self.name))
        self.loop = asyncio.new_event_loop()
        self.now = START

    def run(self, work: Coroutine[Any, Any, Any], process: Process, fates: list[Fate]) -> Any:
        """Run a step of a process with fates for its calls. Return its result or exception."""
        process.fates = list(fates)
        expected: tuple[type[BaseException], ...] = (MeterError, Killed, *self.errors)

        async def step() -> Any:
            try:
                return await work
            except expected as error:
                return error

        try:
            return self.loop.run_until_complete(step())
        finally:
            process.fates = []

    def close(self) -> None:
        """Delete the table, and let the clock run."""
        self.patch.undo()
        self.loop.close()
        delete_table(self.name)
