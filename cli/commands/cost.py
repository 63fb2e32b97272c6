"""`sluice cost`: what a thousand requests and a million tokens cost, and which part of the bill is whose.

Prices are those of `prices.json`, with their date and sources; sizes on the wire are those of the function's own
encoder; settings are a stage's. What a model gives at full load is the user's to measure.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from cli.lib.project import CommandError
from cli.lib.terminal import columns, console
from infra.settings.context import settings_from_context
from infra.settings.deployment import SettingsError
from lambda_fn import limits
from lambda_fn.encode.base import Head
from lambda_fn.encode.chat_stream import ChatStream
from lambda_fn.events import Delta

PRICES = Path(__file__).with_name("prices.json")
WRITE_UNITS = 8
"""Of a request in DynamoDB: reserve and release 2 each (an account with some requests in flight is over 1 kB), the
ledger's two writes 1 each, and as many for the sparse index, which an open request enters and leaves.
Every `limits.CHECKPOINT` of an answer one more is written.
"""
REST_OF_ANSWER = 1500
"""Bytes of an answer beside its tokens: headers, the first and the last chunks."""
_SECONDS = 3600
_RULES = 2
"""Of the web ACL that `web_acl=rate` makes."""
_FREE_STREAM = 6 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Use:
    """How the API is used. Times are seconds."""

    completion_tokens: int = 300
    tokens_per_second: float = 40.0
    """Of one stream."""
    first_token: float = 0.5
    throughput: float | None = None
    """Tokens a second of one instance at full load; None: all its parallel requests at `tokens_per_second`."""
    utilisation: float = 0.3
    """Of the instances' throughput, over the hours that they are paid for."""
    streams_per_vcpu: int = 16
    """On Managed Instances; AWS's own default for Python."""

    @property
    def seconds(self) -> float:
        """Give how long an answer takes."""
        return self.first_token + self.completion_tokens / self.tokens_per_second


@dataclass(frozen=True)
class Cost:
    """USD a request, by part. The function runs on demand or on Managed Instances: one of the two is paid."""

    model: float
    on_demand: float
    managed: float
    cloudfront: float
    dynamodb: float
    waf: float = 0.0
    """Zero without a web ACL; what one costs a month is not in it."""

    def parts(self, *, managed: bool) -> dict[str, float]:
        """Give what is paid together."""
        function = {"Lambda, Managed Instances": self.managed} if managed else {"Lambda, on demand": self.on_demand}
        found = {"SageMaker": self.model, **function, "CloudFront": self.cloudfront, "DynamoDB": self.dynamodb}
        return found | ({"AWS WAF": self.waf} if self.waf else {})


def prices() -> dict[str, Any]:
    """Give the price file."""
    found: dict[str, Any] = json.loads(PRICES.read_text())
    return found


def price(name: str) -> float:
    """Give one price in USD."""
    value: float = prices()["prices"][name]["value"]
    return value


def instance_price(instance_type: str) -> float:
    """Give the USD of an hour. Raises CommandError for a type that the price file lacks."""
    known = prices()["instances"]
    if instance_type not in known:
        raise CommandError(f"cli/commands/prices.json has no price of {instance_type}: give one with --instance-hour")
    value: float = known[instance_type]["value"]
    return value


@cache
def bytes_a_token() -> int:
    """Give the size of one token's chunk on the wire, padded as it is by default, and its HTTP framing."""
    head = Head("0" * 26, 1_700_000_000, "model-name", fingerprint="fp_0123456789")
    chunk = ChatStream(head).encode([Delta(delta=msgspec.Raw(b'{"content":" token"}'), tokens=1)])
    return len(chunk) + len(b"100\r\n\r\n")


def cost(
    *, architecture: str, memory_mb: int, parallel: int, instance_hour: float, use: Use, web_acl: bool = False
) -> Cost:
    """Give what one request costs.

    Args:
        architecture: The function's.
        memory_mb: The function's.
        parallel: Requests that one instance serves at once.
        instance_hour: USD.
        use: How the API is used.
        web_acl: Whether AWS WAF sees each request.

    """
    throughput = use.throughput or parallel * use.tokens_per_second
    model = instance_hour / _SECONDS / (throughput * use.utilisation) * use.completion_tokens
    sent = bytes_a_token() * use.completion_tokens + REST_OF_ANSWER
    streamed = max(0, sent - _FREE_STREAM) / 1e9 * price("lambda_stream_gb")
    request = price("lambda_request") + streamed
    on_demand = request + use.seconds * memory_mb / 1024 * price(f"lambda_gb_second_{architecture}")
    vcpu_second = price("managed_instance_hour") * (1 + price("managed_instance_fee")) / _SECONDS / 2
    managed = request + use.seconds * vcpu_second / (use.streams_per_vcpu * use.utilisation)
    return Cost(
        model=model,
        on_demand=on_demand,
        managed=managed,
        cloudfront=sent / 1e9 * price("cloudfront_gb") + price("cloudfront_request"),
        dynamodb=(WRITE_UNITS + int(use.seconds / limits.CHECKPOINT)) * price("dynamodb_write"),
        waf=price("waf_request") if web_acl else 0.0,
    )


def show(stage: str, changes: dict[str, str], use: Use, instance_hour: float | None) -> None:
    """Print both bills. Raises CommandError for settings that make no sense."""
    try:
        settings = settings_from_context({**changes, "stage": stage})
    except SettingsError as error:
        raise CommandError(str(error)) from None
    if not 0 < use.utilisation <= 1 or use.completion_tokens < 1 or use.tokens_per_second <= 0:
        raise CommandError("Utilisation is over 0 and at most 1; tokens and tokens a second are over 0.")
    if use.seconds > limits.STREAM_DEADLINE:
        over = f"{use.seconds:.0f} s, over the stream's deadline of {limits.STREAM_DEADLINE:.0f} s"
        raise CommandError(f"An answer would take {over}.")
    if (use.throughput is not None and use.throughput <= 0) or use.streams_per_vcpu < 1:
        raise CommandError("--throughput and --streams-per-vcpu are over 0.")
    if use.first_token < 0 or (instance_hour is not None and instance_hour < 0):
        raise CommandError("--first-token and --instance-hour are not less than 0.")
    instance = settings.instance_type
    hour = instance_hour if instance_hour is not None else instance_price(instance)
    found = cost(
        architecture=settings.architecture,
        memory_mb=settings.memory_mb,
        parallel=settings.parallel,
        instance_hour=hour,
        use=use,
        web_acl=settings.web_acl is not None,
    )
    throughput = use.throughput or settings.parallel * use.tokens_per_second
    console.print(
        f"{instance} at {hour:g} USD an hour, {throughput:g} tokens/s at full load, {use.utilisation:.0%} of it used; "
        f"answers of {use.completion_tokens} tokens in {use.seconds:.1f} s; {bytes_a_token()} bytes a token.\n"
    )
    for managed in (False, True):
        _table(found.parts(managed=managed), use)
    if settings.web_acl == "rate":
        month = price("waf_acl_month") + _RULES * price("waf_rule_month")
        console.print(f"Beside it, whether requests come or not: {month:g} USD a month for the web ACL.\n")
    dated = prices()
    unsure = [name for name, one in {**dated["prices"], **dated["instances"]}.items() if not one["confirmed"]]
    console.print(f"Prices of {dated['date']}, {dated['region']}, USD, free tiers left out: cli/commands/prices.json.")
    console.print(f"Not confirmed at their source: {', '.join(unsure)}.")


def _table(parts: dict[str, float], use: Use) -> None:
    whole = sum(parts.values())
    rows = [
        [name, f"{one * 1e3:.4f}", f"{one / use.completion_tokens * 1e6:.4f}", f"{one / whole:.1%}"]
        for name, one in [*parts.items(), ("together", whole)]
    ]
    head = ["", "1,000 requests", "1 million tokens", "share"]
    columns(head, rows, right=head[1:])
    console.print()
