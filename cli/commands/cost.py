"""`sluice cost`: compute the cost of requests and tokens, and the share of each service.

Prices, with their date and sources, are in `prices.json`. The function's own encoder measures the
size of a token on the wire. The settings are a stage's. Users must measure the throughput of their
model at full load themselves.
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.lib import cloudwatch_cost, values
from cli.lib.project import CommandError
from cli.lib.settings import add_settings, settings_of
from cli.lib.terminal import columns, console, print_json, sentence
from lambda_fn import limits

if TYPE_CHECKING:
    from infra.settings.deployment import Settings

HELP = "Compute what requests and tokens cost on AWS, and the share of each service."
PRICES = Path(__file__).with_name("prices.json")
WRITE_UNITS = 8
"""DynamoDB's write units for a request: 2 each to reserve and to release (an account with some
requests in flight is over 1 kB), 1 for each of the ledger's two writes, and 1 for each of the two
changes of the sparse index. A checkpoint, every `limits.CHECKPOINT` seconds of a stream, is one
more.
"""
REST_OF_RESPONSE = 1500
"""Bytes of a response beside its tokens: headers, the first and the last chunks."""
_SECONDS_AN_HOUR = 3600
_TOKEN_CHARACTERS = 4
_WINDOW_CHARACTERS = 100
_WEB_ACL_RULES = 2
"""The number of rules in the web ACL that `web_acl=rate` makes."""
_FREE_STREAM = 6 * 1024 * 1024
"""Bytes of a streamed response that Lambda does not charge for."""


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stage(parser, default="prod", choices=["dev", "prod"])
    add_settings(parser)
    text = "tokens of one answer (300)"
    parser.add_argument("--completion-tokens", type=int, default=300, metavar="N", help=text)
    text = "tokens a second of one stream (40)"
    parser.add_argument("--tokens-per-second", type=float, default=40.0, metavar="N", help=text)
    parser.add_argument(
        "--first-token",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds to the first token (0.5)",
    )
    text = "tokens a second of one instance at full load (all its slots at --tokens-per-second)"
    parser.add_argument("--throughput", type=float, metavar="N", help=text)
    text = "the share of that throughput that is used, over all paid hours (0.3)"
    parser.add_argument("--utilisation", type=float, default=0.3, metavar="P", help=text)
    text = "streams at once for each vCPU of Managed Instances (16)"
    parser.add_argument("--streams-per-vcpu", type=int, default=16, metavar="N", help=text)
    text = "the price of an instance's hour, in place of the price file's"
    parser.add_argument("--instance-hour", type=float, metavar="USD", help=text)
    parser.add_argument("--json", action="store_true", help="print JSON, in USD a request")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the costs with the function on demand and on Managed Instances."""
    use = Use(**{field.name: getattr(args, field.name) for field in fields(Use)})
    show(args.stage, dict(args.set), use, args.instance_hour, as_json=args.json)


@dataclass(frozen=True, kw_only=True)
class Use:
    """How the API is used. Times are seconds."""

    completion_tokens: int = 300
    tokens_per_second: float = 40.0
    """Tokens a second of one stream."""
    first_token: float = 0.5
    throughput: float | None = None
    """Tokens a second of one instance at full load; None: `tokens_per_second` of all its parallel
    requests.
    """
    utilisation: float = 0.3
    """The share of the instances' throughput that is used, over the hours that they are paid for.
    """
    streams_per_vcpu: int = 16
    """Streams at once for each vCPU of Managed Instances; 16 is AWS's default for Python."""

    @property
    def seconds(self) -> float:
        """Return how long a response takes."""
        return self.first_token + self.completion_tokens / self.tokens_per_second

    @property
    def extensions(self) -> int:
        """Return how often the reservation grows, if the key has a budget and no limit is named."""
        lead = limits.EXTENSION_LEAD * self.tokens_per_second
        count, step = 0, limits.FIRST_STEP
        reserved = step
        while self.completion_tokens > reserved - lead:
            count, step = count + 1, 2 * step
            reserved += step
        return count


@dataclass(frozen=True)
class Cost:
    """USD a request, by service. The function runs either on demand or on Managed Instances."""

    model: float
    on_demand: float
    managed: float
    cloudfront: float
    dynamodb: float
    cloudwatch: float = 0.0
    """The metrics' part of the log. What metrics, alarms and the dashboard cost by the month is not
    included.
    """
    waf: float = 0.0
    """Zero without a web ACL. The web ACL's monthly price is not included."""
    guardrail: float = 0.0
    """Zero without a guardrail. With one: content filters and sensitive information."""

    def parts(self, *, managed: bool) -> dict[str, float]:
        """Return the parts that are paid together, by their names on the bill."""
        function = (
            {"Lambda, Managed Instances": self.managed}
            if managed
            else {"Lambda, on demand": self.on_demand}
        )
        parts = {
            "SageMaker": self.model,
            **function,
            "CloudFront": self.cloudfront,
            "DynamoDB": self.dynamodb,
        }
        further = {
            "CloudWatch": self.cloudwatch,
            "AWS WAF": self.waf,
            "Bedrock Guardrails": self.guardrail,
        }
        return parts | {name: amount for name, amount in further.items() if amount}


def prices() -> dict[str, Any]:
    """Return the price file."""
    content: dict[str, Any] = json.loads(PRICES.read_text())
    return content


def price(name: str) -> float:
    """Return one price in USD."""
    value: float = prices()["prices"][name]["value"]
    return value


def instance_price(instance_type: str) -> float:
    """Return the price of an instance's hour in USD.

    Raises:
        CommandError: the price file does not have the type.

    """
    instances = prices()["instances"]
    if instance_type not in instances:
        raise CommandError(
            f"cli/commands/prices.json has no price of {instance_type}; set one with "
            "--instance-hour"
        )
    value: float = instances[instance_type]["value"]
    return value


@cache
def bytes_a_token() -> int:
    """Return the size in bytes of one token's chunk on the wire.

    It includes the default padding and the HTTP framing.
    """
    import msgspec

    from lambda_fn.encode.base import Head
    from lambda_fn.encode.chat_stream import ChatStream
    from lambda_fn.events import Delta

    head = Head("0" * 26, 1_700_000_000, "model-name", fingerprint="fp_0123456789")
    chunk = ChatStream(head).encode([Delta(delta=msgspec.Raw(b'{"content":" token"}'), tokens=1)])
    return len(chunk) + len(b"100\r\n\r\n")


def cost(
    *,
    architecture: str,
    memory_mb: int,
    parallel: int,
    instance_hour: float,
    use: Use,
    web_acl: bool = False,
    guardrail: bool = False,
    logged: int = 0,
) -> Cost:
    """Return what one request costs.

    Args:
        architecture: The function's, arm64 or x86_64.
        memory_mb: The function's memory.
        parallel: Requests that one instance serves at once.
        instance_hour: USD of an instance's hour.
        use: How the API is used.
        web_acl: Whether AWS WAF sees each request.
        guardrail: Whether a guardrail judges the prompt, in one call, and the answer, in windows.
        logged: The bytes of log lines that metrics take.

    """
    throughput = use.throughput or parallel * use.tokens_per_second
    model = (
        instance_hour / _SECONDS_AN_HOUR / (throughput * use.utilisation) * use.completion_tokens
    )
    sent = bytes_a_token() * use.completion_tokens + REST_OF_RESPONSE
    streamed = max(0, sent - _FREE_STREAM) / 1e9 * price("lambda_stream_gb")
    request = price("lambda_request") + streamed
    on_demand = request + use.seconds * memory_mb / 1024 * price(f"lambda_gb_second_{architecture}")
    vcpu_second = (
        price("managed_instance_hour") * (1 + price("managed_instance_fee")) / _SECONDS_AN_HOUR / 2
    )
    managed = request + use.seconds * vcpu_second / (use.streams_per_vcpu * use.utilisation)
    return Cost(
        model=model,
        on_demand=on_demand,
        managed=managed,
        cloudfront=sent / 1e9 * price("cloudfront_gb") + price("cloudfront_request"),
        dynamodb=(WRITE_UNITS + int(use.seconds / limits.CHECKPOINT) + use.extensions)
        * price("dynamodb_write"),
        waf=price("waf_request") if web_acl else 0.0,
        guardrail=_guardrail_units(use.completion_tokens) * _unit() if guardrail else 0.0,
        cloudwatch=logged / 1e9 * price("logs_gb"),
    )


def _guardrail_units(tokens: int) -> int:
    """Return the calls of a guardrail, which cost a text unit each.

    One is for the prompt. A window of the answer is a sentence of some 100 characters, and a token
    has some four.
    """
    return 1 + math.ceil(tokens * _TOKEN_CHARACTERS / _WINDOW_CHARACTERS)


def _unit() -> float:
    return price("guardrail_content_unit") + price("guardrail_sensitive_unit")


def by_the_month(settings: "Settings") -> dict[str, tuple[int, float]]:
    """Return number and USD a month of metrics, alarms and dashboards, by their names."""
    found = cloudwatch_cost.counts(settings)
    return {
        "metrics": (found.metrics, found.metrics * price("metric_month")),
        "metrics of alarms": (
            found.alarm_metrics,
            found.alarm_metrics * price("alarm_metric_month"),
        ),
        "composite alarms": (
            found.composite_alarms,
            found.composite_alarms * price("composite_alarm_month"),
        ),
        "dashboard": (found.dashboards, found.dashboards * price("dashboard_month")),
    }


def show(
    stage: str,
    changes: dict[str, str],
    use: Use,
    instance_hour: float | None,
    *,
    as_json: bool = False,
) -> None:
    """Print the costs with the function on demand and on Managed Instances.

    Args:
        stage: The stage whose settings are used.
        changes: Settings that replace the stage's.
        use: How the API is used.
        instance_hour: USD of an instance's hour; None: the price file's.
        as_json: Print JSON, in USD a request.

    Raises:
        CommandError: a setting or a figure is invalid.

    """
    settings = settings_of(stage, changes)
    if not 0 < use.utilisation <= 1:
        raise CommandError("--utilisation must be over 0 and at most 1.")
    if use.completion_tokens < 1 or use.tokens_per_second <= 0:
        raise CommandError("--completion-tokens and --tokens-per-second must be over 0.")
    if use.seconds > limits.STREAM_DEADLINE:
        raise CommandError(
            f"An answer would take {use.seconds:.0f} s, which is over the stream's deadline of "
            f"{limits.STREAM_DEADLINE:.0f} s. Lower --completion-tokens, or raise "
            "--tokens-per-second."
        )
    if (use.throughput is not None and use.throughput <= 0) or use.streams_per_vcpu < 1:
        raise CommandError("--throughput and --streams-per-vcpu must be over 0.")
    if use.first_token < 0 or (instance_hour is not None and instance_hour < 0):
        raise CommandError("--first-token and --instance-hour must not be under 0.")
    instance = settings.instance_type
    hour = instance_hour if instance_hour is not None else instance_price(instance)
    request = cost(
        architecture=settings.architecture,
        memory_mb=settings.memory_mb,
        parallel=settings.parallel,
        instance_hour=hour,
        use=use,
        web_acl=settings.web_acl is not None,
        guardrail=settings.guardrail is not None,
        logged=cloudwatch_cost.bytes_a_request(settings),
    )
    months = by_the_month(settings)
    throughput = use.throughput or settings.parallel * use.tokens_per_second
    if as_json:
        print_json(
            {
                "instance": instance,
                "instance_hour": hour,
                "throughput": throughput,
                "use": asdict(use),
                "request": asdict(request),
                "cloudwatch_month": {name: usd for name, (_, usd) in months.items()},
            }
        )
        return
    sentence(
        f"{instance} at {hour:g} USD an hour, {throughput:g} tokens/s at full load, "
        f"{use.utilisation:.0%} of it used; "
        f"answers of {use.completion_tokens} tokens in {use.seconds:.1f} s; "
        f"{bytes_a_token()} bytes a token.\n"
    )
    for managed in (False, True):
        _table(request.parts(managed=managed), use)
    watched = ", ".join(f"{count} {name}" for name, (count, _) in months.items() if count)
    sentence(
        f"CloudWatch also costs {sum(usd for _, usd in months.values()):.2f} USD a month, if "
        f"requests come in every hour: {watched}. The settings `metrics` and `dashboard` turn them "
        "off.\n"
    )
    if settings.web_acl == "rate":
        month = price("waf_acl_month") + _WEB_ACL_RULES * price("waf_rule_month")
        console.print(f"The web ACL also costs {month:g} USD a month, with or without requests.\n")
    file = prices()
    unsure = [
        name
        for name, entry in {**file["prices"], **file["instances"]}.items()
        if not entry["confirmed"]
    ]
    sentence(
        f"The prices are those of {file['date']} in {file['region']}, in USD and without free "
        "tiers, from cli/commands/prices.json."
    )
    sentence(f"Not confirmed at their source: {', '.join(unsure)}.")


def _table(parts: dict[str, float], use: Use) -> None:
    total = sum(parts.values())
    rows = [
        [
            name,
            f"{amount * 1e3:.4f}",
            f"{amount / use.completion_tokens * 1e6:.4f}",
            f"{amount / total:.1%}",
        ]
        for name, amount in [*parts.items(), ("total", total)]
    ]
    head = ["", "1,000 requests", "1 million tokens", "share"]
    columns(head, rows, right=head[1:])
    console.print()
