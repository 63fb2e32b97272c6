"""Compare the usage table with what the clients saw and the function logged."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OUTCOMES = {"complete", "cut", "failed", "cancelled"}


@dataclass(frozen=True)
class Seen:
    """What a client saw of a stream: its request's id, its end, and what was wrong."""

    request_id: str
    end: str
    wrong: str = ""

    @property
    def turned_away(self) -> bool:
        """Whether the request may have failed before admission, without the meter."""
        return self.end == "503 service_unavailable"


def logged(folder: Path) -> dict[str, set[str]]:
    """Return the events that the function logged, by request id."""
    found: dict[str, set[str]] = {}
    for path in folder.glob("function-*.log"):
        for line in path.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict) and "request_id" in entry:
                found.setdefault(entry["request_id"], set()).add(entry["event"])
    return found


def check(
    table: Any, seen: Iterable[Seen], log: Mapping[str, set[str]], kills: int
) -> tuple[str, list[str]]:
    """Account for every request.

    Args:
        table: boto3's UsageTable, at rest.
        seen: What the clients saw.
        log: The result of `logged`.
        kills: The number of functions that were killed.

    Returns:
        A summary, and sentences that say what is wrong.

    """
    clients = {one.request_id: one for one in seen if one.request_id}
    items = _scan(table)
    ledger = [item for item in items if item["pk"].startswith("LEDGER#")]
    [account] = [item for item in items if item["pk"].startswith("KEY#")]
    by_id = {item["sk"]: item for item in ledger}
    flying = set(account["in_flight"])
    away = {name for name, one in clients.items() if one.turned_away}
    lost = {name for name, events in log.items() if "settlement_unsaved" in events}

    wrong = [
        f"{name}: {count} ledger items"
        for name, count in Counter(i["sk"] for i in ledger).items()
        if count > 1
    ]
    wrong += [
        f"{name}: no ledger item" for name in (clients.keys() | log.keys()) - by_id.keys() - away
    ]
    for name, item in by_id.items():
        if item["state"] == "SETTLED":
            if item["outcome"] == "refused":
                served = name in clients and not clients[name].turned_away
                if served or item["prompt_tokens"] or item["completion_tokens"]:
                    wrong.append(f"{name}: the ledger says refused, the client {clients.get(name)}")
            elif item["outcome"] not in OUTCOMES:
                wrong.append(f"{name}: outcome {item['outcome']}")
            elif name in clients and clients[name].end == "whole" and item["outcome"] != "complete":
                wrong.append(
                    f"{name}: the client has a whole answer, the ledger says {item['outcome']}"
                )
            elif (
                name in flying
                and name not in lost
                and name not in away
                and name in log
                and "request" in log[name]
            ):
                wrong.append(f"{name}: settled, and still in flight")
    open_items = {name for name, item in by_id.items() if item["state"] == "OPEN"}
    # killed between the two writes of admission: neither client nor log knows of these
    half_admitted = flying - by_id.keys() - away
    killed = (open_items - lost - away) | half_admitted
    if len(killed) > kills:
        wrong.append(
            f"{len(killed)} requests are not settled, and only {kills} functions killed: "
            f"{sorted(killed)[:5]}"
        )
    booked = [
        item for name, item in by_id.items() if item["state"] == "SETTLED" and name not in flying
    ]
    sums = {
        "requests": sum(item["outcome"] != "refused" for item in booked),
        "prompt_tokens": sum(item["prompt_tokens"] for item in booked),
        "completion_tokens": sum(item["completion_tokens"] for item in booked),
    }
    wrong += [
        f"the account's {name} are {account.get(name, 0)}, those of its settled requests {value}"
        for name, value in sums.items()
        if account.get(name, 0) != value
    ]
    outcomes = Counter(item["outcome"] for item in booked)
    summary = (
        f"{len(clients)} ids seen by clients, {len(log)} logged, {len(ledger)} ledger items: "
        f"{', '.join(f'{count} {what}' for what, count in outcomes.most_common())}; "
        f"{len(open_items)} OPEN "
        f"({len(killed & open_items)} by {kills} killed functions, {len(open_items & lost)} "
        "settlement failed, "
        f"{len(open_items & away)} turned away), {len(flying)} in flight "
        f"({len(half_admitted)} without an item: killed "
        f"within admission), {sums['completion_tokens']} tokens booked"
    )
    return summary, wrong


def _scan(table: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    page = table.scan(ConsistentRead=True)
    found += page["Items"]
    while "LastEvaluatedKey" in page:
        page = table.scan(ConsistentRead=True, ExclusiveStartKey=page["LastEvaluatedKey"])
        found += page["Items"]
    return found
