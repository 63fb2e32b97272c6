"""The parts of a chaos run.

Each part causes failures, has them repaired, and returns sentences that say what is wrong
afterwards.
"""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lambda_fn.http.client import Client
from lambda_fn.metering import hours
from lambda_fn.reporting.replay import ReplayResult, replay
from lambda_fn.reporting.rollups import advance, rebuild
from tests.chaos import load, proof
from tests.chaos.deployment import ChaosDeployment
from tests.chaos.stages import SHORT, Stage

Say = Callable[[str], None]
# Within this time the container of a killed function has noticed the death, and each log line has
# arrived.
_SETTLED_S = 60.0
_SWEEPS = 20


@dataclass
class Waves:
    """The rates of requests, by the time at which each rate began."""

    known: list[tuple[float, float]] = field(default_factory=list)

    def begin(self, rate: float) -> None:
        """Record that requests from now on have this rate."""
        self.known.append((time.time(), rate))

    def rate(self, moment: float) -> float:
        """Return the rate of requests at a time."""
        return next((rate for began, rate in reversed(self.known) if began <= moment + 0.01), 1.0)


async def kills(
    deployment: ChaosDeployment,
    stages: Sequence[Stage],
    waves: Waves,
    say: Say,
    *,
    requests: int,
    at_once: int,
    seed: int,
) -> list[str]:
    """Kill the function in half of the requests of each stage. Return what is wrong."""
    wrong = []
    for number, stage in enumerate(stages):
        before = proof.leftovers(deployment.items())
        count = requests * (number + 1) // len(stages) - requests * number // len(stages)
        strikes = (count + 1) // 2
        fault = deployment.set_fault(count=strikes, seed=seed + number, **stage.fault)
        waves.begin(stage.rate)
        seen = await load.streams(deployment, count, stage.script, at_once=at_once)
        struck = deployment.clear_fault(fault, strikes=strikes)["landed"]
        left = proof.leftovers(deployment.items())
        left.counts.subtract(before.counts)
        left.counts = +left.counts
        say(
            f"{stage.name}: {count} requests, {struck} kills; clients: {load.counts(seen)}; "
            f"left: {left}"
        )
        if not struck:
            wrong.append(f"{stage.name}: no function was killed")
        wrong += [f"{stage.name}: a stream hangs" for one in seen if one.end == "hangs"]
    return wrong


async def sweep_all(deployment: ChaosDeployment, say: Say) -> list[str]:
    """Wait until everything is overdue, then sweep until nothing is left. Return what is wrong."""
    await deployment.all_overdue()
    for number in range(_SWEEPS):
        counts = await asyncio.to_thread(deployment.sweep)
        say(f"sweep {number + 1}: {counts}")
        if counts.get("Overdue") == 0 and not counts["Unfinished"]:
            return []
    return [f"{_SWEEPS} sweeps are not enough"]


async def broken_sweepers(deployment: ChaosDeployment, say: Say, *, times: int) -> list[str]:
    """Kill the sweeper in the middle of its work, repeatedly. Return what is wrong."""
    await deployment.all_overdue()
    killed = 0
    for number in range(times):
        call = ("caller-killed-before", "caller-killed-after")[number % 2]
        operation = ("UpdateItem", "PutItem", "UpdateItem", "GetItem")[number % 4]
        fault = deployment.set_fault(
            kind=call, operation=operation, probability=0.2, count=1, seed=number, seconds=0
        )
        await asyncio.to_thread(deployment.sweep)
        killed += deployment.clear_fault(fault)["landed"]
    say(
        f"{killed} of {times} sweepers killed half-way; left: {proof.leftovers(deployment.items())}"
    )
    return [] if killed else ["no sweeper was killed"]


async def sweep_twice(deployment: ChaosDeployment, say: Say) -> list[str]:
    """Sweep when there is nothing to do. It must change nothing. Return what is wrong.

    If an hour has ended since the last sweep, its rollups are to be made. Then this begins again.
    """
    while True:
        closing, before = deployment.closing, deployment.snapshot()
        counts = [await asyncio.to_thread(deployment.sweep) for _ in range(2)]
        same = deployment.snapshot() == before
        if same or closing == deployment.next_to_close():
            break
    say(
        f"two more sweeps: {[one.get('Overdue') for one in counts]} overdue, table "
        f"{'unchanged' if same else 'CHANGED'}"
    )
    return [] if same else ["a sweep with nothing to do changed the table"]


async def prove(
    deployment: ChaosDeployment, waves: Waves, say: Say, *, recovered: bool = True
) -> list[str]:
    """Compare accounts, ledger, rollups and the container's log. Return what is wrong.

    `recovered` says whether recovered requests are allowed.
    """
    ends = time.monotonic() + _SETTLED_S
    while True:  # the container's last log lines may not have arrived yet
        items = deployment.items()
        ledger = [item for item in items if item["pk"].startswith("LEDGER#")]
        compared = proof.compare(ledger, proof.generated(deployment), waves.rate)
        if not compared.wrong or time.monotonic() > ends:
            break
        await asyncio.sleep(0.5)
    report = await proof.reconciled(deployment)
    say(f"ledger against the container's log: {compared}")
    for one in report.keys:
        say(
            f"{one.key}: account {one.account}, ledger {one.ledger}, rollups {one.rollups}, "
            f"{one.refused} refused"
        )
    wrong = compared.wrong + proof.exact(report, items)
    if not recovered and compared.recovered:
        wrong.append(f"{compared.recovered} requests are only recovered")
    return wrong


async def outage(
    deployment: ChaosDeployment, waves: Waves, say: Say, *, seconds: float, requests: int
) -> list[str]:
    """Take the table away in the middle of a run, and replay the log afterwards.

    Return what is wrong.
    """
    script = {**SHORT, "count": 150, "rate": 25}
    waves.begin(script["rate"])
    running = asyncio.create_task(
        load.streams(deployment, requests, script, at_once=requests, apart=0.1)
    )
    await asyncio.sleep(requests * 0.1)
    fault = deployment.set_fault(kind="table-down", probability=1)
    await asyncio.sleep(seconds)
    struck = deployment.clear_fault(fault)["struck"]
    seen = await running
    say(
        f"the table was down for {seconds:g} s ({struck} calls failed); clients: "
        f"{load.counts(seen)}"
    )
    whole = {one.request_id for one in seen if one.end == "whole"}
    ends = time.monotonic() + _SETTLED_S
    while missing := whole - _closed(deployment):
        if time.monotonic() > ends:
            return [f"{name}: whole, and its settlement is not logged" for name in missing]
        await asyncio.sleep(0.5)
    first, second = [await _replayed(deployment) for _ in range(2)]
    say(f"replay: {first.settled} settled, {first.corrected} corrected, {first.already} already")
    say(
        f"replay again: {second.settled} settled, {second.corrected} corrected, "
        f"{second.already} already"
    )
    wrong = [f"replay failed: {name}" for name in first.failed + first.malformed]
    if not first.settled + first.corrected:
        wrong.append("the outage lost no settlement: it was too short to prove anything")
    if second.settled + second.corrected:
        wrong.append("a second replay changed something")
    return wrong


def _closed(deployment: ChaosDeployment) -> set[str]:
    """Return the requests whose settlement, or its failure, the function has logged."""
    found = set()
    for line in deployment.lines("function-*"):
        closed = '"event":"request"' in line or '"event":"settlement_unsaved"' in line
        if closed and line.endswith("}"):  # a last line may still be arriving
            found.add(json.loads(line[line.index("{") :])["request_id"])
    return found


async def _replayed(deployment: ChaosDeployment) -> ReplayResult:
    client = Client()
    try:
        return await replay(deployment.table(client), deployment.lines("function-*"))
    finally:
        client.close()


async def rollups(deployment: ChaosDeployment, say: Say) -> list[str]:
    """Make the rollups as the sweeper will once the hour is closed, delete them, and rebuild them.

    Return what is wrong.
    """
    client = Client()
    table = deployment.table(client)
    now = time.time()
    since, until = hours.hour_at(now - 86_400), hours.hour_at(now + 3600)
    try:
        count = await advance(
            table, now=now + 2 * 3600, longest=deployment.overdue, stop=lambda: False
        )
        before = deployment.snapshot("USAGE#")
        rows = [item for item in deployment.items() if item["pk"].startswith("USAGE#")]
        for item in rows:
            deployment.boto.delete_item(Key={"pk": item["pk"], "sk": item["sk"]})
        empty = deployment.snapshot("USAGE#") == "[]"
        await rebuild(table, since, until)
    finally:
        client.close()
    same = deployment.snapshot("USAGE#") == before
    found = "the same" if same else "OTHERS"
    say(
        f"{count} hours rolled; {len(rows)} rollups, {len(before)} bytes, deleted and "
        f"rebuilt: {found}"
    )
    return (
        [] if rows and empty and same else ["the rebuilt rollups are not the same, byte for byte"]
    )
