"""Run checks wave by wave, so that an error of one does not affect the others."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cli.commands.verify.registry import Check, Outcome, Wave, absent, refuted, unknown
from cli.commands.verify.target import NoResponse, Target
from cli.lib.project import CommandError

AT_ONCE = 4
"""Checks of one wave that run at the same time."""
SCRIPTED = "the engine is not the scripted one: deploy a stage for it with -c engine=scripted"


@dataclass(frozen=True)
class Result:
    """A check, its outcome, and how long it took."""

    check: Check
    outcome: Outcome
    seconds: float


def run(
    target: Target, checks: Sequence[Check], said: Callable[[Result], None] = lambda _: None
) -> list[Result]:
    """Run checks, and return their results in the same order. `said` is called with each.

    On the local cloud, checks that need AWS are not run. A check that is interrupted goes on to
    its end, and changes back what it has changed.
    """
    found: dict[str, Result] = {}
    for wave in Wave:
        chosen = [check for check in checks if check.wave is wave]
        pool = ThreadPoolExecutor(1 if wave is Wave.DESTRUCTIVE else AT_ONCE)
        try:
            for result in pool.map(lambda check: _run(target, check), chosen):
                found[result.check.id] = result
                said(result)
        finally:  # after Ctrl-C, what runs is not waited for here, so that keys are deleted first
            pool.shutdown(wait=False, cancel_futures=True)
    return [found[check.id] for check in checks]


def _run(target: Target, check: Check) -> Result:
    from botocore.exceptions import BotoCoreError, ClientError

    if target.stage == "local" and not check.local:
        return Result(check, Outcome("needs AWS", check.how), 0.0)
    began = time.monotonic()
    try:
        scripted = check.wave is not Wave.SCRIPTED or target.engine == "scripted"
        outcome = check.run(target) if scripted else absent(SCRIPTED)
    except NoResponse as error:
        outcome = refuted(f"there was no response: {error}")
    except (BotoCoreError, ClientError, CommandError, OSError) as error:
        outcome = unknown(f"a call was refused: {error}")
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
        outcome = refuted(f"a response has another form: {type(error).__name__}: {error}")
    return Result(check, outcome, time.monotonic() - began)


def plan(checks: Sequence[Check]) -> Iterator[tuple[Wave, int, float, float]]:
    """Yield each wave, the number of its checks, its minutes at most, and its cost in USD."""
    for wave in Wave:
        chosen = [check for check in checks if check.wave is wave]
        if chosen:
            pool = 1 if wave is Wave.DESTRUCTIVE else AT_ONCE
            total = sum(check.seconds for check in chosen)
            seconds = max(total / pool, *(check.seconds for check in chosen), 0)
            yield wave, len(chosen), seconds / 60, sum(check.usd for check in chosen)
