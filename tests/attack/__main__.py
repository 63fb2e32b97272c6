"""Attack the deployed local cloud with hostile inputs, and watch memory and another client.

    python -m tests.attack [KIND ...] [--minutes 15]

The number and size of the inputs of each kind, the time of all kinds, and the cloud's memory are
bounded. Exits with 1 if the cloud did not withstand an input: a wrong answer, a process that grew
over its bound, another client that waited too long, or a planted word in a log.
"""

import argparse
import asyncio
import contextlib
import resource
import secrets
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import boto3
import httpx
from rich.markup import escape

from cli.lib import local_keys
from cli.lib.terminal import columns, console
from local.cloud import LocalCloud, LocalCloudError
from tests.attack.kinds import (
    admin,
    bodies,
    budgets,
    floods,
    images,
    kept,
    messages,
    origins,
    readers,
    samplers,
    schemas,
    sockets,
    texts,
    wire,
)
from tests.attack.kinds import keys as guesses
from tests.attack.target import Eyes, Findings, Target
from tests.attack.watch import MEMORY, Neighbour, Watch, planted, tracebacks
from tests.support import gates

_MODULES = (
    *(schemas, bodies, guesses, texts, wire, readers, admin, origins, floods),
    *(images, messages, samplers, budgets, kept, sockets),
)
KINDS = {module.KIND: module.attack for module in _MODULES}

ADDRESS_SPACE = 4 * 2**30
"""The limit of each process of the cloud: a process that exceeds it gets a MemoryError."""

NEIGHBOUR_WAITS_S = 8.0
"""The longest that the neighbour may wait for a chunk. At rest that is 0.03 s; it was 14 to 18 s
when one key could stop all others, and a busy machine of half the speed stays well below.
"""


def main() -> int:
    """Deploy, attack and report; return the exit status."""
    parser = argparse.ArgumentParser(description="Hostile inputs over the local cloud.")
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help=f"one of: {', '.join(KINDS)} (default: all)"
    )
    parser.add_argument("--minutes", type=float, default=15, help="give up after so long")
    args = parser.parse_args()
    if unknown := set(args.kinds) - KINDS.keys():
        parser.error(f"there is no kind {', '.join(sorted(unknown))}")
    with tempfile.TemporaryDirectory() as folder:
        with _limited_memory():
            cloud = LocalCloud.start(Path(folder))
        try:
            target = _deploy(cloud, Path(folder))
            wrong = asyncio.run(_attack(target, args.kinds or list(KINDS), args.minutes * 60))
        finally:
            with contextlib.suppress(LocalCloudError):  # a killed cloud has been reported
                cloud.stop()
        wrong += [
            f"a log has a planted word: {line}" for line in planted(Path(folder), target.marker)
        ]
        wrong += [f"a log has a traceback: {line}" for line in tracebacks(Path(folder))]
    for line in wrong:
        console.print(f"[red]✗[/red] {escape(line)}")
    console.print("[green]✓[/green] all withstood" if not wrong else f"{len(wrong)} not withstood")
    return 1 if wrong else 0


@contextlib.contextmanager
def _limited_memory() -> Iterator[None]:
    """Limit the address space of processes that are started in the block to `ADDRESS_SPACE`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _deploy(cloud: LocalCloud, folder: Path) -> Target:
    outputs = gates.deploy(
        cloud, folder, "the demo model", tokens_per_second="40", websocket="true"
    )
    options = cloud.client_options()
    gates.allow_gpus(cloud)
    seeing = gates.deploy(
        cloud,
        folder,
        "a model that reads images",
        name="eyes",
        container="vllm",
        instance_type="ml.g6.xlarge",
        weights="hf:org/model",
        max_images="4",
        image_hosts="*.example.com",
    )
    database = boto3.resource("dynamodb", **options)
    table = database.Table(outputs["UsageTableName"])
    eyes = database.Table(seeing["UsageTableName"])
    secret = boto3.client("secretsmanager", **options).get_secret_value(
        SecretId=outputs["AdminSecretArn"]
    )
    return Target(
        cloud=cloud,
        origin=f"http://{outputs['DistributionDomain']}",
        key=local_keys.create(table, name="attacker"),
        other_key=local_keys.create(table, name="neighbour"),
        admin_secret=secret["SecretString"],
        table=table,
        outputs=outputs,
        eyes=Eyes(
            origin=f"http://{seeing['DistributionDomain']}",
            key=local_keys.create(eyes, name="attacker"),
            model=seeing["ModelName"],
            table=eyes,
        ),
        marker=f"planted{secrets.token_hex(6)}",
    )


async def _attack(target: Target, kinds: Sequence[str], seconds: float) -> list[str]:
    """Run the kinds of attack one after the other. Return what was wrong."""
    watch, neighbour = Watch(target), Neighbour(target)
    beside = [asyncio.ensure_future(watch.run()), asyncio.ensure_future(neighbour.run())]
    wrong: list[str] = []
    rows = []
    try:
        async with asyncio.timeout(seconds):
            for kind in kinds:
                findings = Findings(kind)
                began = time.monotonic()
                try:
                    await KINDS[kind](target, findings)
                except (httpx.HTTPError, OSError) as error:
                    findings.check("a connection", False, repr(error))
                took = time.monotonic() - began
                await asyncio.sleep(1)  # late effects belong to this kind
                longest, felt = neighbour.felt()
                peaks = watch.peaks()
                wrong += findings.wrong + [f"{kind}: {line}" for line in felt]
                if longest > NEIGHBOUR_WAITS_S:
                    wrong.append(f"{kind}: the neighbour waited {longest:.1f} s for a chunk")
                wrong += [
                    (
                        f"{kind}: {role} has {peak / 1e6:.0f} MB, at most "
                        f"{MEMORY[role] / 1e6:.0f} are expected"
                    )
                    for role, peak in peaks.items()
                    if peak > MEMORY[role]
                ]
                memory = (f"{peaks.get(role, 0) / 1e6:.0f}" for role in MEMORY)
                rows.append(
                    (
                        kind,
                        str(findings.tried),
                        str(len(findings.wrong)),
                        f"{took:.1f}",
                        f"{longest:.2f}",
                        *memory,
                    )
                )
    except TimeoutError:
        wrong.append(
            f"it took more than {seconds:.0f} s: {len(rows)} of {len(kinds)} kinds were tried"
        )
    finally:
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    head = ("kind", "tried", "wrong", "seconds", "longest wait", *(f"{role} MB" for role in MEMORY))
    columns(head, rows, right=head[1:])
    console.print(f"The neighbour had {neighbour.answers} answers meanwhile.")
    if target.cloud.ended():
        wrong.append("the local cloud has ended")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
