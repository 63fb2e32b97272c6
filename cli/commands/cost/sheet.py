"""Print the cost sheet as tables and sentences, or as JSON."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from cli.commands.cost import bill, prices
from cli.commands.cost.bill import Plan, Use
from cli.commands.cost.measured import Measured
from cli.lib import cloudwatch_cost
from cli.lib.terminal import columns, console, print_json, sentence

_ASSUMED = {
    "completion_tokens": "{:g} tokens an answer",
    "prompt_tokens": "{:g} tokens a prompt",
    "tokens_per_second": "{:g} tokens/s of a stream",
    "first_token": "{:g} s to the first token",
    "peak": "a busiest hour of {:g} times the average",
    "streams_per_vcpu": "{:g} streams at once for each vCPU of Managed Instances",
}
_SPREAD_SHARE = 0.8
"""The used share of a capacity over which the sheet warns."""


def sources(args: argparse.Namespace, found: Measured | None) -> dict[str, str]:
    """Return where each figure comes from: `given`, `measured` or `assumed`."""
    origin = {name: "assumed" if getattr(args, name) is None else "given" for name in _ASSUMED}
    if found is not None:
        for name in ("tokens_per_second", "first_token"):
            if origin[name] == "assumed" and getattr(found, name):
                origin[name] = "measured"
    origin["throughput"] = (
        "given" if args.throughput is not None else "measured" if found is not None else "unknown"
    )
    if found is not None and found.caution:
        origin["caution"] = f"{args.measured}: {found.caution}"
    if args.users is not None and args.answers_a_day is None:
        origin["answers_a_day"] = "assumed"
    return origin


def show(
    plan: Plan,
    use: Use,
    origin: Mapping[str, str],
    *,
    compare: tuple[float, float] | None = None,
    as_json: bool = False,
) -> None:
    """Print the sheet.

    Args:
        plan: What the deployment has.
        use: How it is used.
        origin: Where each figure of `use` comes from, as `sources` returns it.
        compare: USD of a million prompt and completion tokens of another service.
        as_json: Print JSON.

    """
    if as_json:
        print_json(_json(plan, use, origin, compare))
        return
    _demand(plan, use, origin)
    _table(plan, use)
    idle = sum(bill.by_month(plan).values())
    sentence(f"When nobody calls, a month costs {idle:,.2f} USD.")
    if plan.persistence != "off":
        stored, logged = (bill.kept_answer(use, logged=one) * 1e6 for one in (False, True))
        sentence(
            f"A million answers that are stored cost {stored:,.2f} USD more, and a million that "
            f"are logged while they stream {logged:,.2f} USD."
        )
    sentence(keys(plan))
    console.print()
    if use.requests:
        for line in enough(plan, use):
            sentence(line)
        console.print()
    for line in comparisons(plan, use, compare):
        sentence(line)
    _prices(plan, use, origin)


def keys(plan: Plan) -> str:
    """Return a sentence on what it costs to see the figures of each key in CloudWatch."""
    each = cloudwatch_cost.metrics_of_a_key() * prices.price("metric_month")
    lines = plan.logged / 1e6 * prices.price("logs_gb")
    return (
        "Figures of keys in CloudWatch, for 1,000 requests: as rules of Contributor Insights "
        f"(key_figures=insights) {bill.insights_request(plan) * 1e3:.6f} USD, and "
        f"{bill.insights_month(plan):,.2f} USD a month; as OTLP metrics (key_figures=otlp) "
        f"{bill.otlp_hour() * 1e3:.6f} USD at most, as each key and model is paid for once an "
        f"hour. The metrics of requests cost {lines:.6f} USD; with keys as a dimension, they would "
        f"cost {each:,.2f} USD a month more for each key and model."
    )


def enough(plan: Plan, use: Use) -> list[str]:
    """Return a sentence for each capacity: whether it suffices in the busiest hour."""
    average = bill.streams_at_once(use)
    streams = bill.most(average)
    lines = [
        f"Busiest hour: {average:,.1f} streams at once on average, and up to {streams:,} at times."
    ]
    slots = plan.instances * plan.parallel
    lines.append(_holds("The instances' slots", streams, slots, "raise instance_count or parallel"))
    if plan.max_instances > plan.instances:
        lines.append(
            f"Scaling may start up to {plan.max_instances} instances, which adds to the bill what "
            "they run."
        )
    concurrency = plan.concurrency or bill.UNRESERVED
    name = "The function's reserved concurrency" if plan.concurrency else "Lambda's default quota"
    lines.append(_holds(name, streams, concurrency, "raise reserved_concurrency, or the quota"))
    if use.throughput is None:
        lines.append(
            "Whether the instances generate fast enough is not known: give --throughput or "
            "--measured."
        )
    else:
        needed = bill.tokens_a_second(use) * use.peak
        holds = plan.instances * use.throughput
        lines.append(_holds("The instances' tokens/s", needed, holds, "raise instance_count"))
    return lines


def _holds(name: str, needed: float, holds: float, remedy: str) -> str:
    share = needed / holds if holds else float("inf")
    text = f"{name}: {needed:,.0f} of {holds:,.0f} are needed, {share:.0%}"
    if share > 1:
        return f"{text}. Not enough: {remedy}."
    return f"{text}. Scarce: {remedy}." if share > _SPREAD_SHARE else f"{text}. Enough."


def comparisons(plan: Plan, use: Use, compare: tuple[float, float] | None) -> list[str]:
    """Return sentences on where Managed Instances or prices by the token cost less."""
    instead = sum(bill.month(plan, use, managed=True).values())
    text = (
        "With the function on Managed Instances "
        f"({bill.fleet_size(use)} of them, {bill.fleet_month(use):,.2f} USD), the month would cost "
        f"{instead:,.2f} USD."
    )
    turn = managed_turn(plan, use)
    if turn is None:
        lines = [f"{text} On demand costs less at any load."]
    else:
        lines = [f"{text} They cost less than on demand from {turn:,.0f} requests a month on."]
    if compare is not None:
        tokens = bill.token_price(use, *compare)
        text = (
            f"At {compare[0]:g} and {compare[1]:g} USD for a million prompt and completion tokens"
        )
        if use.requests:
            text += f", this demand would cost {use.requests * tokens:,.2f} USD a month"
        turn = token_turn(plan, use, compare)
        if turn is None:
            lines.append(f"{text}. That is less than this deployment at any load.")
        else:
            lines.append(
                f"{text}. This deployment costs less from {turn:,.0f} requests a month on."
            )
            if use.throughput is not None:
                share = bill.utilisation(plan, replace(use, requests=turn)) or 0.0
                lines.append(f"That is {share:.0%} of what its instances can generate.")
    lines += [transports(plan, use), ""]
    return lines


def transports(plan: Plan, use: Use) -> str:
    """Return a sentence on what the ways to the client cost."""
    million = 1e6 / use.completion_tokens
    shared = bill.by_multiplex(plan, use) * million
    return (
        "On the way to the client (function on demand and CloudFront), 1 million tokens cost "
        f"{bill.by_stream(plan, use) * million:,.2f} USD as server-sent events, "
        f"{bill.by_socket(use) * million:,.2f} USD more over sockets of API Gateway "
        f"(websocket=true), and {abs(shared):,.2f} USD {'less' if shared < 0 else 'more'} with "
        f"{bill.MULTIPLEXED} answers side by side in one stream (POST /v1/sluice/multiplex)."
    )


def managed_turn(plan: Plan, use: Use) -> float | None:
    """Return the requests a month from which Managed Instances cost less; None: never."""

    def cheaper(requests: float) -> bool:
        at = replace(use, requests=requests)
        bills = [sum(bill.month(plan, at, managed=managed).values()) for managed in (True, False)]
        return bills[0] < bills[1]

    return bill.break_even(cheaper)


def token_turn(plan: Plan, use: Use, compare: tuple[float, float]) -> float | None:
    """Return the requests a month from which this costs less than the tokens; None: never."""
    tokens = bill.token_price(use, *compare)

    def cheaper(requests: float) -> bool:
        return sum(bill.month(plan, replace(use, requests=requests)).values()) < requests * tokens

    return bill.break_even(cheaper)


def _demand(plan: Plan, use: Use, origin: Mapping[str, str]) -> None:
    if use.requests is None:
        sentence(
            "No demand is given (--users, --requests-per-month or --utilisation), so the month has "
            "only what is paid without requests."
        )
    else:
        sentence(
            f"Demand: {use.requests:,.0f} requests a month of {use.completion_tokens:,} tokens, "
            f"{bill.tokens_a_second(use):,.0f} tokens/s on average."
        )
    text = f"Supply: {plan.instances} {plan.instance_type} at {plan.instance_hour:g} USD an hour"
    if use.throughput is None:
        sentence(f"{text}, whose throughput is not known (--throughput, --measured).\n")
        return
    text += f", {use.throughput:,.0f} tokens/s each ({origin['throughput']})"
    share = bill.utilisation(plan, use)
    used = f", {share:.1%} used" if share is not None and use.requests is not None else ""
    sentence(f"{text}{used}.\n")


def _table(plan: Plan, use: Use) -> None:
    month = bill.month(plan, use)
    total = sum(month.values())
    request = bill.by_request(plan, use)
    rows = []
    for name, amount in [*month.items(), ("total", total)]:
        if use.requests:
            each = amount / use.requests
        else:
            each = sum(request.values()) if name == "total" else request.get(name, 0.0)
        share = amount / total if total else 0.0
        figures = [f"{amount:,.2f}", f"{share:.1%}"] if amount else ["", ""]
        by_use = [f"{each * 1e3:,.4f}", f"{each / use.completion_tokens * 1e6:,.4f}"]
        rows.append([name, *figures, *(by_use if each else ["", ""])])
    head = ["USD", "a month", "share", "1,000 requests", "1 million tokens"]
    columns(head, rows, right=head[1:])
    console.print()


def _prices(plan: Plan, use: Use, origin: Mapping[str, str]) -> None:
    assumed = [
        _ASSUMED[name].format(getattr(use, name))
        for name, what in origin.items()
        if what == "assumed" and name in _ASSUMED
    ]
    if origin.get("answers_a_day") == "assumed":
        assumed.insert(0, "5 answers a day of each user")
    if assumed:
        sentence(f"Assumed, not measured: {', '.join(assumed)}.")
    if "caution" in origin:
        sentence(f"Measured: {origin['caution']}.")
    file = prices.read()
    sentence(
        f"The prices are those of {file['date']} (instances: {file['instances_date']}) in "
        f"{file['region']}, in USD, without free tiers, discounts and taxes, from {prices.NAME}."
    )
    entries = {**file["prices"], plan.instance_type: file["instances"].get(plan.instance_type)}
    unsure = [name for name, entry in entries.items() if entry and not entry["confirmed"]]
    if unsure:
        sentence(f"Not confirmed at their source: {', '.join(unsure)}.")


def _json(
    plan: Plan, use: Use, origin: Mapping[str, str], compare: tuple[float, float] | None
) -> dict[str, Any]:
    average = bill.streams_at_once(use)
    file = prices.read()
    return {
        "object": "cost_sheet",
        "currency": file["currency"],
        "prices": {name: file[name] for name in ("date", "instances_date", "region")},
        "plan": {**asdict(plan), "watched": plan.watched._asdict()},
        "use": asdict(use),
        "sources": dict(origin),
        "month": bill.month(plan, use),
        "month_managed": bill.month(plan, use, managed=True),
        "idle": bill.by_month(plan),
        "request": bill.by_request(plan, use),
        "request_by_stream": bill.by_stream(plan, use),
        "request_by_socket": bill.by_socket(use),
        "request_by_multiplex": bill.by_multiplex(plan, use),
        "key_figures": {
            "insights": {
                "request": bill.insights_request(plan),
                "month": bill.insights_month(plan),
            },
            "otlp": {"request_at_most": bill.otlp_hour(), "month": 0.0},
            "dimension": {
                "request": plan.logged / 1e9 * prices.price("logs_gb"),
                "month_of_a_key": (
                    cloudwatch_cost.metrics_of_a_key() * prices.price("metric_month")
                ),
            },
        },
        "utilisation": bill.utilisation(plan, use) if use.requests is not None else None,
        "peak": {
            "streams": average,
            "most_streams": bill.most(average),
            "slots": plan.instances * plan.parallel,
            "concurrency": plan.concurrency or bill.UNRESERVED,
            "tokens_per_second": bill.tokens_a_second(use) * use.peak,
            "fleet": bill.fleet_size(use),
        },
        "break_even": {
            "managed_instances": managed_turn(plan, use),
            "tokens": token_turn(plan, use, compare) if compare else None,
        },
    }
