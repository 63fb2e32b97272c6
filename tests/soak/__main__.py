"""Run many streams under random faults over the whole local cloud.

    python -m tests.soak [--streams 2000] [--concurrency 32] [--seed 1] [--minutes 10]

No stream may hang or end silently, and nothing may be left over. The seed decides the faults, their
places and each client's behaviour. Exits with 1 if anything is wrong.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx2
import openai

from cli.lib import local_keys
from cli.lib.terminal import console, step
from local.cloud import LocalCloud
from tests.soak import accounting
from tests.support import gates, leftovers
from tests.support.versions import change_function

# The faults. Each strikes a response, a table call or an invocation with its own probability.
FAULTS: list[dict[str, Any]] = [
    {"kind": "one-byte-parts", "probability": 0.03},
    {"kind": "joined-parts", "probability": 0.05},
    {"kind": "container-killed", "probability": 0.01, "count": 5, "after_most": 800},
    {"kind": "container-stalled", "probability": 0.03, "after_most": 800, "seconds": 0.3},
    {"kind": "container-reset", "probability": 0.04, "after_most": 800},
    {"kind": "container-error", "probability": 0.02},
    {"kind": "container-garbage", "probability": 0.03, "after_most": 800},
    {"kind": "container-endless-line", "probability": 0.01, "after_most": 800},
    {"kind": "stream-cut", "probability": 0.03, "after_most": 800},
    {"kind": "table-throttled", "probability": 0.03},
    {"kind": "table-slow", "probability": 0.03, "seconds": 0.2},
    {"kind": "table-down", "probability": 0.02},
    {"kind": "table-unreachable", "probability": 0.01},
    {"kind": "table-answer-lost", "probability": 0.02},
    {"kind": "table-down", "operation": "UpdateItem", "probability": 1, "count": 30},
    {"kind": "function-killed-at-start", "probability": 0.01, "seconds": 0.05},
    {"kind": "function-killed-at-response", "probability": 0.01},
    {"kind": "function-killed-in-response", "probability": 0.02, "after_most": 2000},
    {"kind": "function-killed-at-settlement", "probability": 0.01},
]
MODEL = "sluice-demo"
# A stream that has not ended after this many seconds hangs.
_HANGS_S = 60.0
_QUIET_S = 60.0
# The bytes that moto keeps for each stream: its ledger item, log lines and trace.
_STORED = 10_000


@dataclass(frozen=True)
class Target:
    """The deployment under load."""

    cloud: LocalCloud
    origin: str
    key: str
    table: Any
    functions: Any
    function: str
    """The stream function's name."""

    def renew_environments(self) -> None:
        """Replace the function's environments, as a deployment does.

        The old environments end once they are idle.
        """
        memory = self.functions.get_function_configuration(FunctionName=self.function)["MemorySize"]
        change_function(self.functions, self.function, MemorySize=memory + 1)


def main() -> int:
    """Deploy, run the streams and account for them. Return the exit status."""
    parser = argparse.ArgumentParser(description="Streams under random faults.")
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10, help="stop sending after so long")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        cloud = LocalCloud.start(Path(folder))
        try:
            wrong = _soak(_deploy(cloud, Path(folder)), args)
        finally:
            cloud.stop()
            left = leftovers.processes(cloud.pid)
    wrong += [f"processes after the end: {left}"] if left else []
    for line in wrong:
        console.print(f"[red]✗[/red] {line}")
    console.print(
        "[green]✓[/green] nothing is wrong" if not wrong else f"{len(wrong)} thing(s) wrong"
    )
    return 1 if wrong else 0


def _deploy(cloud: LocalCloud, folder: Path) -> Target:
    outputs = gates.deploy(
        cloud,
        folder,
        "the scripted engine",
        engine="scripted",
        tokens_per_second="0",
        parallel="64",
    )
    options = cloud.client_options()
    table = boto3.resource("dynamodb", **options).Table(outputs["UsageTableName"])
    key = local_keys.create(table, name="soak")
    origin = f"http://{outputs['DistributionDomain']}/v1"
    return Target(
        cloud, origin, key, table, boto3.client("lambda", **options), outputs["FunctionName"]
    )


def _soak(target: Target, args: argparse.Namespace) -> list[str]:
    with step("Warming up"):
        warm, first = asyncio.run(_run(target, args, args.streams // 10, args.seed - 1))
        before = _at_rest(target)
    with step(f"{args.streams} streams, {args.concurrency} at once, seed {args.seed}"):
        found, second = asyncio.run(_run(target, args, args.streams, args.seed))
    console.print("  clients: " + _counts(found))
    console.print(
        "  faults: "
        + ", ".join(f"{one['landed'] or one['struck']} {one['kind']}" for one in second)
    )
    with step("Waiting until all is quiet"):
        after = _at_rest(target, before, stored=args.streams * _STORED)
    for role in after:
        console.print(f"  {role}: {before.get(role)} -> {after[role]}")
    seen = warm + found
    kills = sum(
        one["landed"] for one in first + second if one["kind"].startswith("function-killed")
    )
    with step("Accounting"):
        summary, wrong = accounting.check(
            target.table, seen, accounting.logged(target.cloud.directory / "logs"), kills
        )
    console.print(f"  {summary}")
    if len(found) < args.streams:
        wrong.append(f"only {len(found)} of {args.streams} streams in {args.minutes:g} minutes")
    return [
        *(f"{one.request_id}: {one.wrong}" for one in seen if one.wrong),
        *leftovers.grown(before, after, stored=args.streams * _STORED),
        *wrong,
    ]


def _counts(found: list[accounting.Seen]) -> str:
    return ", ".join(
        f"{count} {end}" for end, count in Counter(one.end for one in found).most_common()
    )


async def _run(
    target: Target, args: argparse.Namespace, streams: int, seed: int
) -> tuple[list[accounting.Seen], list[dict[str, Any]]]:
    """Send streams under faults. Return what the clients saw, and the faults with their counts.

    Afterwards no fault is set.
    """
    ends = time.monotonic() + args.minutes * 60
    for number, fault in enumerate(FAULTS):
        body = {"seed": seed * 1000 + number, "scope": "*sluice-local*", **fault}
        target.cloud.ask("faults", method="POST", body=body)
    left = iter(range(streams))
    async with openai.AsyncOpenAI(
        base_url=target.origin, api_key=target.key, max_retries=0, timeout=_HANGS_S
    ) as client:

        async def send() -> list[accounting.Seen]:
            seen = []
            for number in left:
                if time.monotonic() > ends:
                    break
                seen.append(await _stream(client, random.Random(f"{seed}/{number}")))
                if seen[-1].turned_away:
                    await asyncio.sleep(1)  # the response's retry-after is one second
            return seen

        found = [
            one
            for some in await asyncio.gather(*(send() for _ in range(args.concurrency)))
            for one in some
        ]
    listing = target.cloud.ask("faults")["faults"]
    target.cloud.ask("faults", method="DELETE")
    return found, listing


async def _stream(client: openai.AsyncOpenAI, chance: random.Random) -> accounting.Seen:
    """Run one client's stream. Return what it saw."""
    count = chance.randrange(1, 60)
    said = "".join(f" ö{number}" for number in range(count))
    script = json.dumps({"repeat": " ö{i}", "count": count, "rate": chance.choice([50, 200, 1000])})
    behaviour = chance.choices(["reads", "slow", "leaves"], [90, 5, 5])[0]
    request_id, heard, reason = "", "", None
    try:
        async with (
            asyncio.timeout(_HANGS_S),
            client.chat.completions.with_streaming_response.create(
                model=MODEL, messages=[{"role": "user", "content": script}], stream=True
            ) as raw,
        ):
            request_id = raw.headers.get("x-request-id", "").removeprefix("req_")
            async for chunk in await raw.parse():
                for choice in chunk.choices:
                    heard += choice.delta.content or ""
                    reason = choice.finish_reason or reason
                if behaviour == "leaves" and len(heard) > 20:
                    return accounting.Seen(request_id, "left")
                if behaviour == "slow":
                    await asyncio.sleep(0.02)
    except TimeoutError:
        return accounting.Seen(request_id, "hangs", wrong="it hangs")
    except openai.APIStatusError as error:
        request_id = error.response.headers.get("x-request-id", "").removeprefix("req_")
        return accounting.Seen(
            request_id, f"{error.status_code} {error.code or 'of Lambda or CloudFront'}"
        )
    except (openai.APIConnectionError, httpx2.TransportError):  # TransportError: in a body
        return accounting.Seen(request_id, "connection lost")
    except openai.APIError as error:
        return accounting.Seen(request_id, f"error event {error.code}")
    wrong = (
        ""
        if (heard, reason) == (said, "stop")
        else f"a silent end: {heard!r} for {said!r}, {reason}"
    )
    return accounting.Seen(request_id, "whole", wrong=wrong)


def _at_rest(
    target: Target, like: leftovers.State | None = None, *, stored: int = 0
) -> leftovers.State:
    """Return what processes hold once no environment of the function is left.

    It waits for processes and connections that take longer to end.
    """
    target.renew_environments()
    ends = time.monotonic() + _QUIET_S
    state = leftovers.state(target.cloud.pid)
    while time.monotonic() < ends:
        time.sleep(6 if like is None else 2)  # idle connections are kept for 5 s
        state = leftovers.state(target.cloud.pid)
        if "function" not in state and (
            like is None or not leftovers.grown(like, state, stored=stored)
        ):
            break
    return state


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
