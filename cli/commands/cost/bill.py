"""The arithmetic of the cost sheet: what a month costs by part, and whether capacity suffices.

All amounts are USD. A month has 730 hours, as in AWS's own calculator. The function's own encoder
measures the size of a token on the wire.
"""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from cli.commands.cost.prices import instance_price, price
from cli.commands.cost.schedule import average_minimum
from cli.lib import cloudwatch_cost
from cli.lib.project import UsageError
from infra.limits import LIMITS
from lambda_fn import limits

if TYPE_CHECKING:
    from infra.settings.deployment import Settings

HOURS = 730
"""Hours of a month."""
SECONDS = HOURS * 3600
WRITE_UNITS = 8
"""DynamoDB's write units for a request: 2 each to reserve and to release (an account with some
requests in flight is over 1 kB), 1 for each of the ledger's two writes, and 1 for each of the two
changes of the sparse index. A checkpoint, every `limits.CHECKPOINT` seconds of a stream, is one
more.
"""
STORED_UNITS = 5
"""Write units of a stored answer beside its text: its input, its head, its events and its end, and
two changes of the index. Source: docs/explanation/stream-log.md.
"""
LOGGED_UNITS = 2.3
"""Write units of a second of a logged stream. Source: docs/explanation/stream-log.md, a minute at
50 tokens/s.
"""
_KEPT_BYTES = 2.5
"""Bytes of a kept token of text, deflated."""
REST_OF_RESPONSE = 1500
"""Bytes of a response beside its tokens: headers, the first and the last chunks."""
FLEET = 3
"""Instances of Managed Instances at the least: by default, one in each of three zones. Source:
https://docs.aws.amazon.com/lambda/latest/dg/lambda-managed-instances-scaling.html
"""
FLEET_VCPUS = 2
"""vCPUs of the instances whose prices are `managed_instance_hour_arm64` and `…_x86_64`."""
SOCKET_EVENTS = 9
"""Messages of a response on a socket beside its deltas: its request, and the events before and
after its text.
"""
LOG_LINE = 400
"""Bytes of a request's log lines beside its metrics."""
SECRETS = 2
"""Secrets of every deployment: those of the origin. The admin API and a webhook have one each."""
RUN_SECONDS = 0.5
"""Billed seconds of a scheduled run that finds nothing to do, with 512 MB: assumed."""
RUN_LOG = 350
"""Bytes of the lines that Lambda itself logs for an invocation."""
UNRESERVED = 1000
"""AWS's default for all functions of an account at once."""
_TOKEN_CHARACTERS = 4
_WINDOW_CHARACTERS = 100
_WEB_ACL_RULES = 2
"""The number of rules in the web ACL that `web_acl=rate` makes."""
_FREE_STREAM = 6 * 1024 * 1024
"""Bytes of a streamed response that Lambda does not charge for."""
MULTIPLEXED = 8
"""Requests side by side in one stream, where their cost is told. At most 16 are."""
TAG_BYTES = len(',"stream_id":"a1"')
_PROMPT_BYTES = 5
"""Bytes of a prompt's token on its way to the endpoint, roughly."""
_UNIT_CHARACTERS = 1000
"""Characters of a guardrail's text unit."""
SPREAD = 3.0
"""Standard deviations over the mean that capacity must hold. Arrivals that do not know of each
other are spread by the root of the mean; three of them are exceeded in one of 700 moments.
"""
_UNWATCHED = cloudwatch_cost.Counts(0, 0, 0, 0)


@dataclass(frozen=True, kw_only=True)
class Use:
    """How the API is used. Times are seconds."""

    requests: float | None = None
    """Requests of a month; None: not known."""
    completion_tokens: int = 300
    prompt_tokens: int = 500
    tokens_per_second: float = 40.0
    """Tokens a second of one stream."""
    first_token: float = 0.5
    throughput: float | None = None
    """Tokens a second of one instance at full load; None: not known."""
    peak: float = 4.0
    """The busiest hour's requests over the average hour's."""
    streams_per_vcpu: int = 16
    """Streams at once for each vCPU of Managed Instances; 16 is AWS's default for Python."""
    sockets: float = 0.0
    """The share of the requests that come over sockets of API Gateway."""

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


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The parts of a deployment that are paid for."""

    instance_type: str
    instance_hour: float
    own: bool = True
    """Whether the deployment has an endpoint of its own."""
    instances: int
    """Instances that are there in the busiest hour before scaling starts more: `instance_count`,
    or the most that the schedule keeps.
    """
    idle: float
    """Instances that run on average when nobody calls."""
    running: float
    """Instances that run on average in a month with requests."""
    max_instances: int
    """Instances that scaling may start."""
    parallel: int
    """Requests that one instance serves at once."""
    context_tokens: int = 1_048_576
    """Tokens that a prompt and its answer may have."""
    architecture: str
    """The function's, arm64 or x86_64."""
    memory_mb: int
    concurrency: int | None
    """The function's reserved concurrency."""
    web_acl: bool = False
    """Whether AWS WAF sees each request."""
    own_web_acl: bool = False
    """Whether the deployment makes the web ACL, and so pays for it by the month."""
    guardrail: bool = False
    """Whether a guardrail judges the prompt, in one call, and the answer, in windows."""
    persistence: str = "off"
    """Which answers are kept: the setting. If any are, the keeper runs each minute."""
    webhook: bool = False
    """Whether the keeper calls a webhook, with a secret."""
    admin_url: bool = True
    """Whether the admin API has a URL, with a secret."""
    logged: int = 0
    """Bytes that metrics add to a request's log line."""
    watched: cloudwatch_cost.Counts = _UNWATCHED
    key_figures: str = "off"
    """Where the figures of each key are shown: the setting."""
    insight_rules: int = 0
    """The rules of Contributor Insights with `key_figures=insights`."""
    websocket: bool = False
    socket_concurrency: int | None = None
    """The reserved concurrency of the function that answers on sockets."""
    detailed_metrics: bool = False
    """Whether CloudWatch also bills the metrics that SageMaker collects on the instances."""
    traces: bool = False
    """Whether spans are sent, which their receiver may bill."""

    @classmethod
    def of(
        cls, settings: "Settings", instance_hour: float | None, running: float | None = None
    ) -> "Plan":
        """Return the plan of a deployment's settings.

        Args:
            settings: The deployment's settings.
            instance_hour: USD of an instance's hour; None: the price file's.
            running: Instances that run on average in a month with requests. None: those of the
                schedule, else `instance_count`.

        Raises:
            CommandError: the price file does not have the instance.
            UsageError: `running` is over what may run, or must be given, because the average of
                the schedule is not known.

        """
        own, reserves = settings.endpoint_name is None, settings.reserved_concurrency is not None
        if not own:
            hour = instance_hour or 0.0  # somebody else's endpoint is somebody else's bill
        else:
            hour = (
                instance_price(settings.instance_type) if instance_hour is None else instance_hour
            )
        idle = _idle(settings, running)
        if running is None:  # requests wake an endpoint that sleeps
            running = max(idle, settings.instance_count) if settings.scale_to_zero else idle
        most = settings.peak_instances
        regular = [it.minimum for it in settings.plans if not it.when.startswith("at(")]
        least = max(idle, min(regular, default=0.0))
        if not least <= running <= most:
            raise UsageError(
                f"--instances {running:g}: with these settings, {least:g} to {most} run on average."
            )
        return cls(
            own=own,
            instance_type=settings.instance_type,
            instance_hour=hour,
            instances=max(regular, default=settings.instance_count) or 1,
            idle=idle,
            running=running,
            max_instances=most,
            parallel=settings.parallel,
            context_tokens=settings.context_tokens,
            architecture=settings.architecture,
            memory_mb=settings.memory_mb,
            concurrency=settings.reserved_concurrency,
            web_acl=settings.web_acl is not None,
            own_web_acl=settings.web_acl == "rate",
            guardrail=settings.guardrail is not None,
            persistence=settings.persistence,
            webhook=settings.webhook_url is not None,
            admin_url=settings.admin_url,
            logged=cloudwatch_cost.bytes_a_request(settings),
            watched=cloudwatch_cost.counts(settings),
            key_figures=settings.key_figures,
            insight_rules=cloudwatch_cost.insight_rules(settings),
            websocket=settings.websocket,
            socket_concurrency=settings.websocket_concurrency if reserves else None,
            detailed_metrics=own and settings.detailed_metrics,
            traces=settings.traces is not None,
        )


def _idle(settings: "Settings", running: float | None) -> float:
    """Return how many instances run on average when nobody calls."""
    otherwise = 0 if settings.scale_to_zero else settings.instance_count
    found = average_minimum(settings.plans, otherwise)
    if found is not None:
        return found
    if running is None:
        raise UsageError(
            "The average number of instances cannot be computed for "
            f"schedule={'; '.join(settings.schedule)}. Give it with --instances N."
        )
    return running


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


def by_request(plan: Plan, use: Use, *, managed: bool = False) -> dict[str, float]:
    """Return what one request adds, by service, to what is paid by the hour or month.

    Args:
        plan: The deployment.
        use: How it is used.
        managed: Whether the function runs on Managed Instances, whose hours are `fleet_month`'s.

    """
    sent = bytes_a_token() * use.completion_tokens + REST_OF_RESPONSE
    streamed = max(0, sent - _FREE_STREAM) / 1e9 * price("lambda_stream_gb")
    function = price("lambda_request") + streamed
    if not managed:
        gb_second = price(f"lambda_gb_second_{plan.architecture}")
        function += use.seconds * plan.memory_mb / 1024 * gb_second
    writes = WRITE_UNITS + int(use.seconds / limits.CHECKPOINT) + use.extensions
    data = sent + use.prompt_tokens * _PROMPT_BYTES
    parts = {
        "SageMaker, data": data / 1e9 * price("sagemaker_data_gb"),
        _function(managed): function,
        "CloudFront": (1 - use.sockets) * _cloudfront(use, sent),
        "API Gateway": use.sockets * _gateway(use),
        "DynamoDB": writes * price("dynamodb_write"),
        "DynamoDB, kept answers": (
            kept_answer(use, logged=True) if plan.persistence == "all" else 0.0
        ),
        "CloudWatch, log": (LOG_LINE + plan.logged) / 1e9 * price("logs_gb"),
        "CloudWatch, figures of keys": (
            insights_request(plan)
            if plan.key_figures == "insights"
            else otlp_hour()
            if plan.key_figures == "otlp"
            else 0.0
        ),
        "AWS WAF": (1 - use.sockets) * price("waf_request") if plan.web_acl else 0.0,
        "Bedrock Guardrails": _guardrail_units(use) * _unit() if plan.guardrail else 0.0,
    }
    return {name: amount for name, amount in parts.items() if amount}


def _cloudfront(use: Use, sent: int) -> float:
    """Return what CloudFront costs for one request, whose response has so many bytes."""
    return (
        sent / 1e9 * price("cloudfront_gb")
        + use.prompt_tokens * _PROMPT_BYTES / 1e9 * price("cloudfront_origin_gb")
        + price("cloudfront_request")
    )


def by_socket(plan: Plan, use: Use) -> float:
    """Return what a request on a socket adds to `by_stream`.

    It goes to API Gateway, and neither through CloudFront nor through its web ACL.
    """
    parts = by_request(plan, replace(use, sockets=0.0))
    return _gateway(use) - parts["CloudFront"] - parts.get("AWS WAF", 0.0)


def _gateway(use: Use) -> float:
    """Return what API Gateway costs for one request on a socket.

    The socket is open as long as the response. Deltas that come within `limits.POST_INTERVAL` are
    one message.
    """
    posts = use.completion_tokens / max(1.0, use.tokens_per_second * limits.POST_INTERVAL)
    minutes = use.seconds / 60
    messages = SOCKET_EVENTS + posts
    return messages * price("websocket_message") + minutes * price("websocket_minute")


def by_stream(plan: Plan, use: Use) -> float:
    """Return what one request costs on its way: the function, on demand, and CloudFront."""
    parts = by_request(plan, replace(use, sockets=0.0))
    return parts[_function(False)] + parts["CloudFront"] + parts.get("AWS WAF", 0.0)


def by_multiplex(plan: Plan, use: Use, members: int = MULTIPLEXED) -> float:
    """Return what a request adds to `by_stream` as one of several side by side in one stream.

    It is usually negative: the members share an invocation, and so its time. Their deltas have one
    more field. The meter's writes are the same.
    """
    gb_second = price(f"lambda_gb_second_{plan.architecture}")
    shared = price("lambda_request") + use.seconds * plan.memory_mb / 1024 * gb_second
    shared += price("cloudfront_request") + (price("waf_request") if plan.web_acl else 0.0)
    alone = bytes_a_token() * use.completion_tokens + REST_OF_RESPONSE
    tagged = alone + TAG_BYTES * use.completion_tokens
    streamed = max(0, members * tagged - _FREE_STREAM) / members - max(0, alone - _FREE_STREAM)
    more = (tagged - alone) * price("cloudfront_gb") + streamed * price("lambda_stream_gb")
    return more / 1e9 - shared * (1 - 1 / members)


def insights_request(plan: Plan) -> float:
    """Return what a request costs with `key_figures=insights`: its line matches each rule."""
    return plan.insight_rules * price("insight_event")


def otlp_hour() -> float:
    """Return what an hour of a key and a model costs with `key_figures=otlp`.

    It is the most that a request can cost: other requests of the hour cost nothing more.
    """
    return cloudwatch_cost.otlp_bytes() / 1e9 * price("otlp_metric_gb")


def insights_month(plan: Plan) -> float:
    """Return what the rules of `key_figures=insights` cost a month."""
    return plan.insight_rules * price("insight_rule_month")


def kept_answer(use: Use, *, logged: bool) -> float:
    """Return what keeping one answer adds to the cost of the answer.

    It is stored with its input, or also `logged` while it streams, so that it can be resumed.
    Storage and reads cost far less than the writes.
    """
    text = use.prompt_tokens + (0 if logged else use.completion_tokens)
    units = STORED_UNITS + math.ceil(text * _KEPT_BYTES / 1024)
    return (units + (LOGGED_UNITS * use.seconds if logged else 0.0)) * price("dynamodb_write")


def by_month(plan: Plan, *, called: bool = False) -> dict[str, float]:
    """Return what a month costs beside its requests, by service: when nobody calls, or `called`.

    Custom metrics are included. They are charged for the hours in which a request comes.
    """
    watched = plan.watched
    parts = {
        "SageMaker, instances": (
            (plan.running if called else plan.idle) * plan.instance_hour * HOURS
        ),
        "CloudWatch, metrics and alarms": (
            watched.metrics * price("metric_month")
            + watched.alarm_metrics * price("alarm_metric_month")
            + watched.composite_alarms * price("composite_alarm_month")
            + watched.dashboards * price("dashboard_month")
        ),
        "CloudWatch, figures of keys": (
            insights_month(plan) if plan.key_figures == "insights" else 0.0
        ),
        "Secrets Manager": (SECRETS + plan.admin_url + plan.webhook) * price("secret_month"),
        "Lambda, schedules": _schedules(plan),
        "AWS WAF": (
            price("waf_acl_month") + _WEB_ACL_RULES * price("waf_rule_month")
            if plan.own_web_acl
            else 0.0
        ),
    }
    return {name: amount for name, amount in parts.items() if amount}


def _schedules(plan: Plan) -> float:
    """Return what a month of the sweeper costs, and of the keeper if answers are kept."""
    runs = SECONDS / LIMITS.sweep_period
    if plan.persistence != "off":
        runs += SECONDS / LIMITS.keeper_period
    gb_seconds = RUN_SECONDS * plan.memory_mb / 1024
    run = price("lambda_request") + gb_seconds * price(f"lambda_gb_second_{plan.architecture}")
    return runs * (run + RUN_LOG / 1e9 * price("logs_gb"))


def fleet_size(use: Use) -> int:
    """Return how many instances a fleet of Managed Instances needs at the peak."""
    streams = most(streams_at_once(use))
    return max(FLEET, math.ceil(streams / (use.streams_per_vcpu * FLEET_VCPUS)))


def fleet_hour(plan: Plan) -> float:
    """Return what an hour of one of Managed Instances costs."""
    hour = price(f"managed_instance_hour_{plan.architecture}")
    return hour * (1 + price("managed_instance_fee"))


def fleet_month(plan: Plan, use: Use) -> float:
    """Return what the hours of a fleet of Managed Instances cost in a month."""
    return fleet_size(use) * fleet_hour(plan) * HOURS


def month(plan: Plan, use: Use, *, managed: bool = False) -> dict[str, float]:
    """Return a month's bill by service, for `use.requests` requests."""
    requests = use.requests or 0.0
    parts = by_month(plan, called=requests > 0)
    if managed:
        parts[_function(managed)] = fleet_month(plan, use)
    for name, amount in by_request(plan, use, managed=managed).items():
        parts[name] = parts.get(name, 0.0) + requests * amount
    return dict(sorted(parts.items(), key=lambda part: -part[1]))


def tokens_a_second(use: Use) -> float:
    """Return the completion tokens that all users together request in an average second."""
    return (use.requests or 0.0) * use.completion_tokens / SECONDS


def utilisation(plan: Plan, use: Use) -> float | None:
    """Return the share of the instances' throughput that is used; None if it is not known."""
    if use.throughput is None:
        return None
    return tokens_a_second(use) / (plan.running * use.throughput) if plan.running else 0.0


def streams_at_once(use: Use) -> float:
    """Return the average number of streams at once in the busiest hour (Little's law)."""
    return (use.requests or 0.0) / SECONDS * use.peak * use.seconds


def most(average: float) -> int:
    """Return the most streams at once of an hour that has `average` of them."""
    return math.ceil(average + SPREAD * math.sqrt(average))


def token_price(use: Use, prompt: float, completion: float) -> float:
    """Return what a request costs in USD, at prices in USD per million tokens of each kind."""
    return (use.prompt_tokens * prompt + use.completion_tokens * completion) / 1e6


def _function(managed: bool) -> str:
    return "Lambda, Managed Instances" if managed else "Lambda, on demand"


def _guardrail_units(use: Use) -> int:
    """Return the text units that a guardrail judges.

    The prompt is one call. A window of the answer is a sentence of some 100 characters, which is a
    call and a unit of its own, and a token has some four.
    """
    prompt = max(1, math.ceil(use.prompt_tokens * _TOKEN_CHARACTERS / _UNIT_CHARACTERS))
    return prompt + math.ceil(use.completion_tokens * _TOKEN_CHARACTERS / _WINDOW_CHARACTERS)


def _unit() -> float:
    return price("guardrail_content_unit") + price("guardrail_sensitive_unit")
