"""Checks of the meter: expressions that DynamoDB must accept, exact counts, and limits."""

from typing import Any

from cli.commands.check.wire import parse_stream
from cli.commands.verify.registry import Check, Outcome, Wave, absent, decided, refuted
from cli.commands.verify.target import Target


def expressions(target: Target) -> Outcome:
    """A key with every kind of limit is admitted, so DynamoDB took the reservation's condition."""
    limits = {
        "requests_per_minute": 100,
        "tokens_per_minute": 1_000_000,
        "tokens_per_day": 1_000_000,
        "tokens_per_month": 10_000_000,
        "concurrent_streams": 4,
    }
    key = target.make_key(limits=limits)
    statuses = [target.chat(max_tokens=4, key=key).status for _ in range(2)]
    wrong = [] if statuses == [200, 200] else [f"statuses {statuses}"]
    return decided(wrong, "two requests of a key with limits answered 200")


def unpriced(target: Target) -> Outcome:
    """A key with budgets of money is admitted to a model that costs nothing."""
    response = target.chat(max_tokens=4)
    item = target.ledger(response) if response.status == 200 else {}
    if item and float(item["completion_price"]) > 0:
        return absent(f"the model has a price, {item['completion_price']}: deploy without one")
    wrong = [] if response.status == 200 else [f"status {response.status}"]
    return decided(wrong, "a request to a model without a price answered 200")


def exact(target: Target) -> Outcome:
    """A stream's own usage, its ledger item and the key's totals are the same figures."""
    key = target.make_key()
    response = target.chat(
        "Count to ten.",
        stream=True,
        max_tokens=16,
        stream_options={"include_usage": True},
        key=key,
    )
    chunks = parse_stream(response).chunks
    usage = (chunks[-1].get("usage") if chunks else None) or {}
    if response.status != 200 or not usage:
        return decided([f"status {response.status}, usage {usage or 'missing'}"], "")
    item = target.ledger(response)
    if item["state"] != "SETTLED":
        return refuted(f"the ledger item is {item['state']}")

    def booked() -> dict[str, Any] | None:
        totals: dict[str, Any] = (target.send("GET", "/v1/usage", key=key).json() or {})["totals"]
        return totals if totals["requests"] else None

    totals = target.wait(booked) or {}
    wrong = []
    for name in ("prompt_tokens", "completion_tokens"):
        figures = {
            "stream": usage[name],
            "ledger": item[name],
            "totals": totals.get(name),
        }
        if len(set(figures.values())) > 1:
            wrong.append(f"{name}: {figures}")
    if totals.get("requests") != 1:
        wrong.append(f"{totals.get('requests')} requests in the totals")
    seen = f"{usage['prompt_tokens']} and {usage['completion_tokens']} tokens"
    return decided(wrong, f"{seen} in the stream, the ledger and the key's totals")


def throttle(target: Target) -> Outcome:
    """The third request of a key that may send two a minute is a 429 with `retry-after`."""
    key = target.make_key(limits={"requests_per_minute": 2})
    answers = [target.chat(max_tokens=2, key=key) for _ in range(5)]  # over the end of a minute
    statuses = [answer.status for answer in answers]
    refusals = [answer for answer in answers if answer.status == 429]
    wrong = []
    if not {*statuses} <= {200, 429} or 200 not in statuses or not refusals:
        wrong.append(f"statuses {statuses}")
    for answer in refusals:
        code = (answer.json() or {}).get("error", {}).get("code")
        if code != "rate_limit_exceeded":
            wrong.append(f"a 429 with the code {code}")
        if not answer.headers.get("retry-after", "").isdecimal():
            wrong.append(f"a 429 with retry-after {answer.headers.get('retry-after')}")
    return decided(wrong, f"statuses {statuses}, each 429 with its code and retry-after")


CHECKS = (
    Check(
        "expression-paths",
        "DynamoDB takes `if_not_exists(balance.#w, tokens_day)` and `size(in_flight) < "
        "max_streams`, of two paths each, as moto does",
        "two requests with a key that has every kind of limit answer 200",
        Wave.TRAFFIC,
        expressions,
    ),
    Check(
        "expression-cost",
        "DynamoDB takes `cost_day >= :unlimited AND cost_month >= :unlimited` in the reservation's "
        "condition",
        "the first request to a model without a price answers 200",
        Wave.TRAFFIC,
        unpriced,
    ),
    Check(
        "meter",
        "a request is metered once, with the figures that its client was told",
        "the usage in a stream, the ledger and the totals of `/v1/usage` are equal",
        Wave.TRAFFIC,
        exact,
        15,
        local=True,
    ),
    Check(
        "throttle",
        "the edge passes a 429 with its body and its `retry-after`",
        "five requests with a key that may send two a minute",
        Wave.TRAFFIC,
        throttle,
        15,
        local=True,
    ),
)
