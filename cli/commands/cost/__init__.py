"""`sluice cost`: what a month costs by part, whether capacity suffices, and what alternatives cost.

Prices, with their date and sources, are in `prices.json`. Each figure that is not given is an
assumption, and the sheet names it. The settings are a stage's.
"""

import argparse
from pathlib import Path

from cli.commands.cost import prices
from cli.commands.cost.bill import Plan, Use
from cli.commands.cost.measured import Measured, read
from cli.lib import values
from cli.lib.project import UsageError
from cli.lib.settings import add_settings, settings_of
from cli.lib.terminal import console
from lambda_fn import limits

HELP = "Compute what a month costs on AWS, by part, and whether instances and function suffice."
_MONTH_DAYS = 730 / 24
_DEFAULTS = {
    "completion_tokens": 300,
    "prompt_tokens": 500,
    "tokens_per_second": 40.0,
    "first_token": 0.5,
    "peak": 4.0,
    "streams_per_vcpu": 16,
    "sockets": 0.0,
}
_LEAST, _MOST = 1e-6, 1e12


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stage(parser, default="prod", choices=["dev", "prod"])
    add_settings(parser)
    demand = parser.add_argument_group("demand")
    demand.add_argument("--users", type=float, metavar="N", help="people who use it")
    text = "answers for each user and day (5)"
    demand.add_argument("--answers-a-day", type=float, metavar="N", help=text)
    text = "requests a month, instead of --users"
    demand.add_argument("--requests-per-month", type=float, metavar="N", help=text)
    text = "demand as an average share of --throughput, instead of both"
    demand.add_argument("--utilisation", type=float, metavar="P", help=text)
    text = "tokens of one answer (300)"
    demand.add_argument(
        "--tokens",
        "--completion-tokens",
        type=int,
        metavar="N",
        help=text,
        dest="completion_tokens",
    )
    text = "tokens of one prompt (500)"
    demand.add_argument("--prompt-tokens", type=int, metavar="N", help=text)
    text = "the busiest hour's requests over the average hour's (4)"
    demand.add_argument("--peak", type=float, metavar="N", help=text)
    text = "the share of requests that come over sockets (0)"
    demand.add_argument("--sockets", type=float, metavar="P", help=text)
    text = "the instances that run on average, if they scale (the schedule's, or instance_count)"
    demand.add_argument("--instances", type=float, metavar="N", help=text)

    model = parser.add_argument_group("the model")
    text = "a report of `sluice load --json` or `python -m bench.model`"
    model.add_argument("--measured", type=Path, metavar="FILE", help=text)
    text = "the instances that --measured loaded (1)"
    model.add_argument("--measured-instances", type=int, metavar="N", help=text)
    text = "tokens a second of one instance at full load"
    model.add_argument("--throughput", type=float, metavar="N", help=text)
    text = "tokens a second of one stream (40)"
    model.add_argument("--tokens-per-second", type=float, metavar="N", help=text)
    text = "seconds to the first token (0.5)"
    model.add_argument("--first-token", type=float, metavar="S", help=text)

    other = parser.add_argument_group("prices and comparisons")
    text = "the price of an instance's hour, instead of the price file's"
    other.add_argument("--instance-hour", type=float, metavar="USD", help=text)
    text = "streams at once for each vCPU of Managed Instances (16)"
    other.add_argument("--streams-per-vcpu", type=int, metavar="N", help=text)
    text = "another service's prices for a million prompt and completion tokens: 0.22,0.22"
    other.add_argument("--compare", type=_pair, metavar="P,C", help=text)
    text = "read the instances' prices from AWS's price list into the price file, and exit"
    other.add_argument("--refresh-prices", action="store_true", help=text)
    text = "the region whose prices are read (us-east-1)"
    other.add_argument("--region", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON, in USD")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the cost sheet, or refresh the prices."""
    from cli.commands.cost import price_list, sheet

    if args.refresh_prices:
        region = "us-east-1" if args.region is None else args.region
        if not region.replace("-", "").isalnum():
            raise UsageError(f"--region {region!r} is not a region's name.")
        count = price_list.refresh(region)
        console.print(f"{prices.NAME} has the prices of {count:,} instances in {region}.")
        return
    if args.region is not None:
        raise UsageError(
            "--region says whose prices --refresh-prices reads into the price file. Give both."
        )
    settings = settings_of(args.stage, dict(args.set))
    if args.instances is not None and not 0.001 <= args.instances <= _MOST:
        raise UsageError("--instances must be at least 0.001 and at most 10^12.")
    plan = Plan.of(settings, args.instance_hour, args.instances)
    found = read(args.measured) if args.measured else None
    use = use_of(args, plan, found)
    sheet.show(plan, use, sheet.sources(args, plan, found), compare=args.compare, as_json=args.json)


def use_of(args: argparse.Namespace, plan: Plan, found: Measured | None) -> Use:
    """Return the use that the arguments describe: given, else measured, else assumed.

    Raises:
        UsageError: a figure is impossible, or demand is given twice.

    """
    given = {name: getattr(args, name) for name in _DEFAULTS if getattr(args, name) is not None}
    instances = 1 if args.measured_instances is None else args.measured_instances
    if found is None and args.measured_instances is not None:
        raise UsageError("--measured-instances is about --measured. Give that, too.")
    if found is not None:
        if not 1 <= instances <= _MOST:
            raise UsageError("--measured-instances must be at least 1 and at most 10^12.")
        measured = {
            "tokens_per_second": found.tokens_per_second,
            "first_token": found.first_token,
        }
        given = {name: figure for name, figure in measured.items() if figure} | given
    throughput = args.throughput
    if throughput is None and found is not None:
        throughput = found.throughput / instances
    use = Use(**{**_DEFAULTS, **given, "throughput": throughput})
    _check(use, args, plan)
    requests = _requests(args, use, plan)
    return Use(**{**vars(use), "requests": requests})


def _requests(args: argparse.Namespace, use: Use, plan: Plan) -> float | None:
    ways = {
        "--users": args.users,
        "--requests-per-month": args.requests_per_month,
        "--utilisation": args.utilisation,
    }
    named = [name for name, figure in ways.items() if figure is not None]
    if len(named) > 1:
        raise UsageError(f"{' and '.join(named)} are two statements of demand. Give one.")
    if args.answers_a_day is not None and args.users is None:
        raise UsageError("--answers-a-day are the answers of each user. Give --users, too.")
    if not named:
        return None
    if args.utilisation is not None:
        if use.throughput is None:
            raise UsageError("--utilisation is a share of the throughput. Give --throughput, too.")
        full = use.throughput * plan.running * 730 * 3600 / use.completion_tokens
        return float(full * args.utilisation)
    if args.users is not None:
        return float(
            args.users * (5.0 if args.answers_a_day is None else args.answers_a_day) * _MONTH_DAYS
        )
    return float(args.requests_per_month)


def _check(use: Use, args: argparse.Namespace, plan: Plan) -> None:
    for name in ("users", "answers_a_day", "requests_per_month", "instance_hour", "first_token"):
        figure = getattr(args, name)
        if figure is not None and figure != 0 and not _LEAST <= figure <= _MOST:
            raise UsageError(
                f"--{name.replace('_', '-')} must be 0, or at least 0.000001 and at most 10^12."
            )
    if args.utilisation is not None and not 0 < args.utilisation <= 1:
        raise UsageError("--utilisation must be over 0 and at most 1.")
    for option, figure in (
        ("--tokens", use.completion_tokens),
        ("--streams-per-vcpu", use.streams_per_vcpu),
    ):
        if not 1 <= figure <= _MOST:
            raise UsageError(f"{option} must be at least 1 and at most 10^12.")
    for option, rate in (
        ("--tokens-per-second", use.tokens_per_second),
        ("--throughput", use.throughput),
    ):
        if rate is not None and not _LEAST <= rate <= _MOST:
            raise UsageError(f"{option} must be at least 0.000001 and at most 10^12.")
    if not 0 <= use.prompt_tokens <= _MOST:
        raise UsageError("--prompt-tokens must be at least 0 and at most 10^12.")
    if not 0 <= use.sockets <= 1:
        raise UsageError("--sockets must be at least 0 and at most 1.")
    if use.sockets and not plan.websocket:
        raise UsageError("--sockets needs -c websocket=true: the deployment has no sockets.")
    if use.prompt_tokens + use.completion_tokens > plan.context_tokens:
        raise UsageError(
            f"A prompt of {use.prompt_tokens:,} and an answer of {use.completion_tokens:,} tokens "
            f"do not fit the context of {plan.context_tokens:,} tokens. Raise -c context_tokens."
        )
    if not 1 <= use.peak <= 720:
        raise UsageError("--peak must be at least 1, which is an even load, and at most 720.")
    if use.seconds > limits.STREAM_DEADLINE:
        raise UsageError(
            f"An answer would take {use.seconds:.0f} s, which is over the stream's deadline of "
            f"{limits.STREAM_DEADLINE:.0f} s. Lower --tokens, or raise --tokens-per-second."
        )


def _pair(text: str) -> tuple[float, float]:
    parts = text.split(",")
    try:
        prompt, completion = (float(part) for part in parts)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not PROMPT,COMPLETION in USD") from None
    if not (0 <= prompt <= _MOST and 0 <= completion <= _MOST):
        raise argparse.ArgumentTypeError(f"{text!r} has a price that is under 0 or over 10^12")
    return prompt, completion
