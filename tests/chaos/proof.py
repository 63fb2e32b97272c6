"""Compare accounts, ledger and rollups with each other and with the container's own log."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from lambda_fn import limits
from lambda_fn.http.client import Client
from lambda_fn.ids import request_time
from lambda_fn.reporting.reconcile import Report, reconcile
from tests.chaos.deployment import ChaosDeployment

# On a busy machine, it takes this time until the container has noticed that its caller was killed,
# and a checkpoint has arrived. It is less than the time of a further checkpoint, so that a missing
# one shows.
NOTICED_S = 4.0
Item = dict[str, Any]


@dataclass
class Leftovers:
    """The leftovers of killed functions, by the cases of `lambda_fn.metering.settlements`."""

    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return the counts on one line."""
        return (
            ", ".join(f"{count} {what}" for what, count in sorted(self.counts.items())) or "nothing"
        )


def leftovers(items: Iterable[Item]) -> Leftovers:
    """Return the requests that are OPEN or in flight."""
    flying: set[str] = set()
    ledger: dict[str, Item] = {}
    for item in items:
        if item["pk"].startswith("LEDGER#"):
            ledger[item["sk"]] = item
        elif item["pk"].startswith("KEY#"):
            flying |= item["in_flight"].keys()
    found = Leftovers()
    for request_id, item in ledger.items():
        where = "in flight" if request_id in flying else "not in flight"
        if item["state"] == "OPEN":
            found.counts[f"OPEN and {where}"] += 1
        elif request_id in flying:
            found.counts["SETTLED and in flight"] += 1
    if unknown := len(flying - ledger.keys()):
        found.counts["in flight without a ledger item"] = unknown
    return found


def generated(deployment: ChaosDeployment) -> dict[str, Item]:
    """Return the container's log entries, by request id."""
    found = {}
    for line in deployment.lines("endpoint-*"):
        if '"generated"' in line:
            entry = json.loads(line[line.index("{") :])
            if entry["request_id"] and request_time(entry["request_id"]) >= deployment.since:
                found[entry["request_id"]] = entry
    return found


@dataclass
class Comparison:
    """The ledger compared with the container's log.

    `behind` has, for each recovered request, the seconds of generation that its settlement lacks.
    """

    exact: int = 0
    recovered: int = 0
    behind: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return the comparison on one line."""
        worst = f", at most {max(self.behind):.1f} s of generation behind" if self.behind else ""
        return (
            f"{self.exact} to the token, {self.recovered} recovered{worst}; {len(self.wrong)} wrong"
        )


def compare(
    items: Iterable[Item], container: dict[str, Item], rate: Callable[[float], float]
) -> Comparison:
    """Compare each settled request with the container's log.

    `rate` returns the tokens a second of requests at a time. A settlement by the function is exact
    to the token. A settlement by the sweeper may lack the tokens since the last checkpoint, and
    never has more. One of a cancelled request may lack what was sampled until the container knew.
    """
    result = Comparison()
    slowest = limits.CHECKPOINT + NOTICED_S
    for item in items:
        request_id = item["sk"]
        said = container.get(request_id, {"prompt_tokens": 0, "completion_tokens": 0})
        counts = (int(item["prompt_tokens"]), int(item["completion_tokens"]))
        true = (said["prompt_tokens"], said["completion_tokens"])
        is_behind = item.get("recovered") or item["outcome"] in ("refused", "cancelled")
        if not is_behind:
            result.exact += counts == true
            if counts != true:
                result.wrong.append(
                    f"{request_id}: {item['outcome']}, ledger {counts}, container {true}"
                )
            continue
        result.recovered += 1
        behind = (true[1] - counts[1]) / rate(request_time(request_id))
        result.behind.append(behind)
        if counts[0] not in (0, true[0]) or not 0 <= behind <= slowest:
            result.wrong.append(
                f"{request_id}: recovered, ledger {counts}, container {true}: {behind:.1f} s behind"
            )
    missing = container.keys() - {item["sk"] for item in items}
    result.wrong += [f"{request_id}: generated, and not in the ledger" for request_id in missing]
    return result


async def reconciled(deployment: ChaosDeployment) -> Report:
    """Return the reconciliation report for the keys of the deployment."""
    client = Client()
    try:
        report = await reconcile(deployment.table(client))
    finally:
        client.close()
    mine = deployment.key_ids
    return Report(
        [one for one in report.keys if one.key in mine],
        [one for one in report.differences if one.key in mine],
        report.rolled,
    )


def exact(report: Report, items: Iterable[Item]) -> list[str]:
    """Return what is wrong after a sweep, as sentences."""
    wrong = [str(difference) for difference in report.differences]
    wrong += [
        f"{one.key}: {one.open} open, {one.in_flight} in flight"
        for one in report.keys
        if one.open or one.in_flight
    ]
    left = leftovers(items)
    return wrong + ([f"left over: {left}"] if left.counts else [])
