"""`make meter-bench`: many settlements of one key at full speed against the local table.

None may be lost.

Some responses are lost on the way, so that writes are repeated. The rate is the local table's, not
DynamoDB's, which is limited to 1,000 write units a second for one item; `ceiling` prints the
consequence.
"""

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
import time
from collections import Counter

from lambda_fn import ids, limits
from lambda_fn.auth import Caller
from lambda_fn.errors import Unavailable
from lambda_fn.metering import accounts, settlements
from lambda_fn.metering.keys import account_key
from lambda_fn.metering.ledger import Opening, Settlement
from lambda_fn.metering.money import Prices
from lambda_fn.stream.admit import Gate
from tests.support.network import Fate, Network, create_table
from tests.support.units import item_size

DONE = Settlement("complete", 1, 2, "stop", 1, 1)


async def run(count: int, at_once: int) -> list[str]:
    """Make `count` requests, `at_once` at a time, and print the figures.

    Return a sentence for each figure that is wrong.
    """
    limits.META_BACKOFF = 0.001
    limits.META_MAX_ATTEMPTS = 20
    chance = random.Random(7)  # noqa: S311 (the same faults at each run, nothing secret)
    fates: Counter[Fate] = Counter()

    def fate(_: str) -> Fate:
        drawn = chance.random()
        outcome = Fate.WELL
        if drawn < 0.03:
            outcome = (Fate.LOST, Fate.UNANSWERED, Fate.THROTTLED)[int(drawn * 100)]
        fates[outcome] += 1
        return outcome

    create_table("bench")
    network = Network(fate)
    table = network.table("bench")
    key = ids.new_key()
    key_id = ids.key_id_of(key) or ""
    await table.put(accounts.new_account(key, name="bench", now=int(time.time())))
    gate, caller = Gate(table), Caller(key_id, ids.hash_key(key))
    remaining = iter(range(count))

    async def work() -> None:
        for number in remaining:
            admission = None
            while admission is None:
                opening = Opening(ids.new_request_id(), key_id, "m", 10, 30, Prices(1, 1))
                with contextlib.suppress(Unavailable):  # throttled: the caller sends it again
                    admission = await gate.admit(caller, opening)
            hold = admission.entry
            assert hold is not None  # noqa: S101 (the meter is closed)
            if number % 2:  # a long answer
                hold = await settlements.extend(table, opening, hold, tokens=20) or hold
            await settlements.settle(
                table, opening, DONE, hold=hold, now=time.time(), expired=admission.stale
            )

    started = time.monotonic()
    await asyncio.gather(*(work() for _ in range(at_once)))
    took = time.monotonic() - started
    item = await table.get(account_key(key_id))
    assert item is not None  # noqa: S101 (it was put)
    retries = sum(number for kind, number in fates.items() if kind is not Fate.WELL)
    print(
        f"{count} requests on one key, {at_once} at once, in {took:.1f} s: "
        f"{count / took:.0f} a second"
    )
    print(
        f"{len(network.calls)} writes made, {retries} attempts failed and were repeated: "
        f"{dict(fates.most_common())}"
    )
    booked = {
        name: item[name] for name in ("requests", "prompt_tokens", "completion_tokens", "cost")
    }
    booked["in_flight"] = len(item["in_flight"])
    expected = {
        "requests": count,
        "prompt_tokens": count,
        "completion_tokens": 2 * count,
        "cost": 3 * count,
        "in_flight": 0,
    }
    print(f"booked: {booked}")
    ceiling(item)
    return [
        f"{name} is {booked[name]}, not {value}"
        for name, value in expected.items()
        if booked[name] != value
    ]


def ceiling(item: dict[str, object]) -> None:
    """Print how many requests a second one key can make on DynamoDB, by their duration.

    The limits are 1,000 write units a second for one item, and the maximum of concurrent streams.
    """
    base = item_size(item)
    entry = accounts.Hold(1, 2248, 350_000, "f" * 16, "sluice-demo")
    hold_bytes = 1 + 26 + len(entry.text)
    print(f"account item: {base} bytes, and {hold_bytes} for each request in flight")
    for seconds, writes in itertools.product((1, 2, 5, 7, 10, 30, 60), (2, 3)):
        rate = 1
        max_rate = accounts.MAX_STREAMS // seconds
        while (
            rate < max_rate
            and writes * (rate + 1) * -(-(base + hold_bytes * seconds * (rate + 1)) // 1024) <= 1000
        ):
            rate += 1
        what = f"answers of {seconds:>2} s, {writes - 2} extensions each"
        print(f"  {what}: {rate} a second, {rate * seconds} in flight")


def main() -> int:
    """Run the benchmark. Return the exit status, which is 1 if anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--at-once", type=int, default=20)
    args = parser.parse_args()
    wrong = asyncio.run(run(args.requests, args.at_once))
    for line in wrong:
        print(f"WRONG: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
