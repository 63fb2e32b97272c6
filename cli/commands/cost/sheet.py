"""Print the cost sheet as tables and sentences, or as JSON."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from rich.markup import escape

from cli.commands.cost import bill, prices, turns
from cli.commands.cost.bill import Plan, Use
from cli.commands.cost.measured import Measured
from cli.lib import cloudwatch_cost, terminal
from cli.lib.printable import printable
from cli.lib.terminal import columns, console, print_json

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


class Capacity(NamedTuple):
    """What the busiest hour needs of something, and what there is."""

    name: str
    needed: float
    holds: float
    remedy: str

    @property
    def share(self) -> float:
        """Return the share that is needed."""
        return self.needed / self.holds if self.holds else float("inf")


def sources(args: argparse.Namespace, plan: Plan, found: Measured | None) -> dict[str, str]:
    """Return where each figure comes from: `given`, `measured`, `assumed` or the `settings`."""
    names = (*_ASSUMED, "sockets")
    origin = {name: "assumed" if getattr(args, name) is None else "given" for name in names}
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
    scales = plan.max_instances > plan.idle
    origin["instances"] = (
        "given" if args.instances is not None else "assumed" if scales else "settings"
    )
    origin["instance_hour"] = (
        "given" if args.instance_hour is not None else "prices" if plan.own else "owner"
    )
    return origin


def sentence(text: str) -> None:
    """Print a text, which has no markup, such that its lines wrap at spaces."""
    terminal.sentence(escape(printable(text)))


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
    if plan.running != plan.idle:
        sentence(
            f"With requests, the average number of instances is taken as {plan.running:.3g}, which "
            f"costs {plan.running * plan.instance_hour * bill.HOURS:,.2f} USD. Give another average "
            "with --instances N."
        )
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
    most = bill.most(average)
    lines = [
        f"Busiest hour: {average:,.1f} streams at once on average, and up to {most:,} at times.",
        *map(_holds, capacities(plan, use)),
    ]
    if plan.own and plan.max_instances > plan.instances:
        lines.append(
            f"Scaling may start up to {plan.max_instances} instances. The month has "
            f"{plan.running:.3g} on average: --instances N says how many run."
        )
    if plan.own and use.throughput is None:
        lines.append(
            "Whether the instances generate fast enough is not known: give --throughput or "
            "--measured."
        )
    return lines


def capacities(plan: Plan, use: Use) -> list[Capacity]:
    """Return what the busiest hour needs, and what the deployment has before scaling adds to it.

    Of somebody else's endpoint nothing is known.
    """
    average = bill.streams_at_once(use)
    found = []
    if plan.own:
        slots = plan.instances * plan.parallel
        remedy = "raise instance_count or parallel"
        found.append(Capacity("The instances' slots", bill.most(average), slots, remedy))
    found += _functions(plan, use, average)
    if plan.own and use.throughput is not None:
        needed = bill.tokens_a_second(use) * use.peak
        holds = plan.instances * use.throughput
        found.append(Capacity("The instances' tokens/s", needed, holds, "raise instance_count"))
    return found


def _functions(plan: Plan, use: Use, average: float) -> list[Capacity]:
    if plan.concurrency is None:  # the functions share the account's
        streams, remedy = bill.most(average), "raise the quota, or reserve concurrency"
        return [Capacity("Lambda's default quota", streams, bill.UNRESERVED, remedy)]
    shares = [("function", 1 - use.sockets, plan.concurrency, "reserved_concurrency")]
    if use.sockets and plan.socket_concurrency is not None:
        sockets = plan.socket_concurrency
        shares.append(("socket function", use.sockets, sockets, "websocket_concurrency"))
    return [
        Capacity(
            f"The {name}'s reserved concurrency",
            bill.most(average * share),
            reserved,
            f"raise {setting}, or the quota",
        )
        for name, share, reserved, setting in shares
    ]


def _holds(found: Capacity) -> str:
    text = f"{found.name}: {found.needed:,.0f} of {found.holds:,.0f} are needed, {found.share:.0%}"
    if found.share > 1:
        return f"{text}. Not enough: {found.remedy}."
    return f"{text}. Scarce: {found.remedy}." if found.share > _SPREAD_SHARE else f"{text}. Enough."


def comparisons(plan: Plan, use: Use, compare: tuple[float, float] | None) -> list[str]:
    """Return sentences on where Managed Instances or prices by the token cost less."""
    instead = sum(bill.month(plan, use, managed=True).values())
    lines = [
        "With the function on Managed Instances "
        f"({bill.fleet_size(use)} of them, {bill.fleet_month(plan, use):,.2f} USD), the month "
        f"would cost {instead:,.2f} USD. "
        + _since("They cost", "the function on demand", turns.managed_turn(plan, use))
    ]
    if compare is not None:
        lines += _beside_tokens(plan, use, compare)
    lines += [transports(plan, use), ""]
    return lines


def _beside_tokens(plan: Plan, use: Use, compare: tuple[float, float]) -> list[str]:
    text = f"At {compare[0]:g} and {compare[1]:g} USD for a million prompt and completion tokens"
    if use.requests:
        text += f", this demand would cost {compared(use, compare):,.2f} USD a month"
    turn = turns.token_turn(plan, use, compare)
    lines = [f"{text}. {_since('This deployment costs', 'those tokens', turn)}"]
    if turn is not None and turn.always is not None and plan.own:
        count = turns.needed(plan, use, turn.always)
        by = "slots" if use.throughput is None else "slots and tokens/s"
        lines.append(
            f"At that load, the busiest hour needs {count:,} "
            f"{'instance' if count == 1 else 'instances'} (by {by}). The computed cost includes "
            f"{turns.paid(plan, count):.3g}."
        )
    return lines


def compared(use: Use, compare: tuple[float, float]) -> float:
    """Return what the demand costs in a month at prices of tokens."""
    return (use.requests or 0.0) * bill.token_price(use, *compare)


def _since(subject: str, other: str, turn: turns.Turn | None) -> str:
    """Return a sentence on the requests a month from which something costs less."""
    if turn is None:
        return f"{subject} more than {other} at any load."
    if turn.always is None:
        return (
            f"{subject} less than {other} at some loads from {turn.first:,.0f} requests a month "
            "on, and more at others, because instances are paid whole."
        )
    text = f"{subject} less than {other} from {turn.always:,.0f} requests a month on"
    if turn.first < turn.always * 0.999:
        text += f", and at some loads from {turn.first:,.0f} on, because instances are paid whole"
    return f"{text}."


def transports(plan: Plan, use: Use) -> str:
    """Return a sentence on what the ways to the client cost."""
    million = 1e6 / use.completion_tokens
    shared = bill.by_multiplex(plan, use) * million
    return (
        "On the way to the client (function on demand and CloudFront), 1 million tokens cost "
        f"{bill.by_stream(plan, use) * million:,.2f} USD as server-sent events, "
        f"{bill.by_socket(plan, use) * million:,.2f} USD more over sockets of API Gateway "
        f"(websocket=true), and {abs(shared):,.2f} USD {'less' if shared < 0 else 'more'} with "
        f"{bill.MULTIPLEXED} answers side by side in one stream (POST /v1/sluice/multiplex)."
    )


def left_out(plan: Plan) -> list[str]:
    """Return what else this deployment pays for, which is not in the sums."""
    found = []
    if plan.detailed_metrics:
        found.append("the metrics that SageMaker collects on the instances (detailed_metrics)")
    if plan.traces:
        found.append("spans (traces)")
    if plan.websocket:
        found.append("writes for the items of sockets, and the data that they send (websocket)")
    if plan.persistence != "off":
        found.append("answers that only some requests keep" if plan.persistence != "all" else "")
    if plan.max_instances > plan.running:
        found.append("instances that scaling starts beyond the average")
    return [*filter(None, found), "traffic between regions", "storage", "support"]


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
    if not plan.own:
        sentence("Supply: an endpoint that exists already, whose instances its owner pays for.\n")
        return
    text = f"Supply: {plan.instances} {plan.instance_type} at {plan.instance_hour:g} USD an hour"
    if plan.running != plan.instances:
        text += f" ({plan.running:.3g} of them on average)"
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
    if plan.websocket and origin["sockets"] == "assumed":
        assumed.append("no requests over sockets")
    if origin["instances"] == "assumed" and use.requests and plan.own:
        assumed.append(f"{plan.running:.3g} instances on average")
    if assumed:
        sentence(f"Assumed, not measured: {', '.join(assumed)}.")
    if "caution" in origin:
        sentence(f"Measured: {origin['caution']}.")
    sentence(f"Not included: {', '.join(left_out(plan))}.")
    file = prices.read()
    days = sorted({entry["date"] for entry in file["prices"].values()})
    hour = (
        f" The price of an instance is that of {file['instances_region']}, looked up on "
        f"{file['instances'][plan.instance_type]['date']}."
        if origin["instance_hour"] == "prices" and plan.instance_type in file["instances"]
        else ""
    )
    sentence(
        f"The prices are those of {file['region']}, looked up on {' and '.join(days)}.{hour} They "
        f"are in USD, without free tiers, discounts and taxes, from {prices.NAME}."
    )
    if unsure := unconfirmed(plan, origin):
        sentence(f"Not confirmed at their source: {', '.join(unsure)}.")


def unconfirmed(plan: Plan, origin: Mapping[str, str]) -> list[str]:
    """Return the names of prices that were not seen at AWS."""
    file = prices.read()
    entries = dict(file["prices"])
    if origin["instance_hour"] == "prices" and plan.instance_type in file["instances"]:
        entries[plan.instance_type] = file["instances"][plan.instance_type]
    return [name for name, entry in entries.items() if not entry["confirmed"]]


def _json(
    plan: Plan, use: Use, origin: Mapping[str, str], compare: tuple[float, float] | None
) -> dict[str, Any]:
    average = bill.streams_at_once(use)
    file = prices.read()
    turn = turns.managed_turn(plan, use)
    month = bill.month(plan, use)
    return {
        "object": "cost_sheet",
        "currency": file["currency"],
        "prices": {
            "region": file["region"],
            "instances_region": file["instances_region"],
            "unconfirmed": unconfirmed(plan, origin),
        },
        "plan": {**asdict(plan), "watched": plan.watched._asdict()},
        "use": asdict(use),
        "sources": dict(origin),
        "month": month,
        "total": sum(month.values()),
        "month_managed": bill.month(plan, use, managed=True),
        "idle": bill.by_month(plan),
        "request": bill.by_request(plan, use),
        "request_by_stream": bill.by_stream(plan, use),
        "request_by_socket": bill.by_socket(plan, use),
        "request_by_multiplex": bill.by_multiplex(plan, use),
        "kept_answer": {
            name: bill.kept_answer(use, logged=logged)
            for name, logged in (("stored", False), ("logged", True))
        },
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
        "capacities": [
            {"name": it.name, "needed": it.needed, "holds": it.holds, "suffices": it.share <= 1}
            for it in capacities(plan, use)
        ],
        "break_even": {
            "managed_instances": None if turn is None else asdict(turn),
            "tokens": None if compare is None else _compared(plan, use, compare),
        },
        "not_included": left_out(plan),
    }


def _compared(plan: Plan, use: Use, compare: tuple[float, float]) -> dict[str, Any]:
    turn = turns.token_turn(plan, use, compare)
    return {
        "prices": {"prompt": compare[0], "completion": compare[1]},
        "month": compared(use, compare) if use.requests else None,
        "turn": None if turn is None else asdict(turn),
        "instances": (
            None if turn is None or turn.always is None else turns.needed(plan, use, turn.always)
        ),
    }
