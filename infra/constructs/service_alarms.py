"""The alarms of the service: how responses end, how fast they begin, and what they cost.

[Operate](../../docs/how-to/operate.md) says for each what it means and what to do. Those of the
sweeper, the release and the endpoint are with these constructs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_lambda as lambda_
from constructs import Construct

from infra.constructs.alarms import add_alarm, add_math_alarm, alarm_topics
from infra.constructs.request_metrics import TTFT, metric
from infra.settings.deployment import Settings

_MINUTES = 5
_NEEDED = 3
"""Most alarms rise when 3 of 5 minutes are bad: one bad minute is no incident."""
REJECTED_5XX = 5
"""Requests in a minute that were rejected for a fault of the service."""
UNAVAILABLE = 3
"""Requests in a minute that found no endpoint, while none completed."""
CONCURRENCY = 0.8
"""The share of the concurrency from which streams will soon be throttled."""
DEFAULT_CONCURRENCY = 1000
"""Lambda's quota of an account that has asked for no other, where no concurrency is reserved.

A new account has less. There the alarm `Throttles` rises first. Source: "Lambda quotas".
"""


@dataclass(frozen=True)
class Burn:
    """A burn rate: how many times faster than allowed the error budget of 30 days is used up.

    Both windows, in seconds, must show it: the long one that it matters, and the short one that it
    goes on. Source: "Alerting on SLOs" in Google's Site Reliability Workbook.
    """

    name: str
    rate: float
    long: int
    short: int


BURNS = (Burn("Fast", 14.4, 3600, 300), Burn("Slow", 6.0, 21_600, 1800))


class ServiceAlarms(Construct):
    """Alarms over the metrics of requests and of the stream function."""

    def __init__(
        self,
        scope: Construct,
        construct_id: str,
        *,
        settings: Settings,
        stream: lambda_.IFunction,
        recall: lambda_.IFunction | None = None,
        sockets: Sequence[lambda_.IFunction] = (),
    ) -> None:
        """Create the alarms. Without the setting `metrics`, only those of Lambda's own metrics.

        `recall` is the function that reads kept answers, None where none are kept. `sockets` are
        the function that answers sockets and the one that opens, cancels and closes.
        """
        super().__init__(scope, construct_id)
        self._settings = settings
        self._actions = alarm_topics(settings)
        self._of_lambda(stream)
        if recall is not None:
            self._throttles(
                "RecallThrottles",
                recall,
                "clients that resume, read or cancel answers get 429 from Lambda itself. Raise "
                "recall_concurrency, or look for a client that polls.",
            )
        if sockets:
            self._of_sockets(*sockets)
        if settings.metrics:
            self._of_requests()
            for burn in BURNS:
                self._of_slo(burn)

    def _text(self, text: str) -> str:
        return f"Sluice {self._settings.name}-{self._settings.stage}: {text}"

    def _of_lambda(self, stream: lambda_.IFunction) -> None:
        self._throttles(
            "Throttles",
            stream,
            "clients get 429 from Lambda itself, because the stream function has no concurrency "
            "left. Raise reserved_concurrency, or the account's quota.",
        )
        ceiling = self._settings.reserved_concurrency or DEFAULT_CONCURRENCY
        near = add_alarm(
            Construct(self, "Concurrency"),
            "Resource",
            description=self._text(
                f"over {CONCURRENCY:.0%} of {ceiling} streams run at once. At that number clients "
                "are throttled: raise reserved_concurrency or the account's quota, or limit keys."
            ),
            metric=_of_function(stream, "ConcurrentExecutions", "Maximum"),
            threshold=max(1, int(ceiling * CONCURRENCY)),
            periods=_MINUTES,
            actions=self._actions,
        )
        near.datapoints_to_alarm = _NEEDED

    def _of_sockets(self, answering: lambda_.IFunction, control: lambda_.IFunction) -> None:
        self._throttles(
            "SocketThrottles",
            answering,
            "messages of sockets wait for a function, for up to 60 s. Raise "
            "websocket_concurrency, or limit keys.",
        )
        self._throttles(
            "SocketControlThrottles",
            control,
            "sockets are refused with 429, and cancels wait. Look for a client that opens sockets "
            "again and again.",
        )
        for name, metric_name, text in (
            (
                "SocketErrors",
                "Errors",
                "invocations for messages of sockets crash or time out. The function's log says why.",
            ),
            (
                "SocketDropped",
                "AsyncEventsDropped",
                "messages of sockets are lost: no function was free for 60 s, or one failed.",
            ),
        ):
            failing = add_alarm(
                Construct(self, name),
                "Resource",
                description=self._text(text),
                metric=_of_function(answering, metric_name, "Sum"),
                threshold=1,
                periods=_MINUTES,
                actions=self._actions,
            )
            failing.datapoints_to_alarm = 2

    def _throttles(self, name: str, function: lambda_.IFunction, text: str) -> None:
        throttled = add_alarm(
            Construct(self, name),
            "Resource",
            description=self._text(text),
            metric=_of_function(function, "Throttles", "Sum"),
            threshold=1,
            periods=_MINUTES,
            actions=self._actions,
        )
        throttled.datapoints_to_alarm = 2

    def _of_requests(self) -> None:
        settings = self._settings
        floor = settings.alarm_traffic
        ends = {"c": metric(settings, "Completed"), "f": metric(settings, "Failed")}
        add_math_alarm(
            Construct(self, "Completion"),
            "Resource",
            description=self._text(
                f"less than {settings.completion_alarm:g}% of responses complete. The dashboard's "
                "endings by cause say why; then look at the endpoint's log."
            ),
            expression=f"IF(c + f >= {floor}, 100 * c / (c + f), 100)",
            metrics=ends,
            threshold=settings.completion_alarm,
            periods=_MINUTES,
            needed=_NEEDED,
            below=True,
            actions=self._actions,
        )
        add_math_alarm(
            Construct(self, "FirstToken"),
            "Resource",
            description=self._text(
                f"one in twenty responses waits over {settings.ttft_alarm_seconds:g} s for its "
                "first token. The endpoint's queue is full, prompts are long, or it is starting."
            ),
            expression=f"IF(n >= {floor}, t, 0)",
            metrics={
                "t": metric(settings, TTFT, statistic="p95"),
                "n": metric(settings, TTFT, statistic="SampleCount"),
            },
            threshold=settings.ttft_alarm_seconds,
            periods=_MINUTES,
            needed=_NEEDED,
            actions=self._actions,
        )
        add_math_alarm(
            Construct(self, "EndpointDown"),
            "Resource",
            description=self._text(
                "requests find no endpoint in service, and none completes. `sluice doctor` says "
                "whether it is stopped; then look at the endpoint's log."
            ),
            expression=f"IF(FILL(u, 0) >= {UNAVAILABLE} AND FILL(c, 0) == 0, 1, 0)",
            metrics={"u": metric(settings, "EndedUnavailable"), "c": metric(settings, "Completed")},
            threshold=1,
            periods=_MINUTES,
            needed=_NEEDED,
            actions=self._actions,
        )
        rejected = add_alarm(
            Construct(self, "Rejected5xx"),
            "Resource",
            description=self._text(
                "requests are rejected for faults of the service: DynamoDB does not answer, the "
                "service is stopped, or the function has a defect. Its log says which."
            ),
            metric=metric(settings, "Rejected5xx"),
            threshold=REJECTED_5XX,
            periods=_MINUTES,
            actions=self._actions,
        )
        rejected.datapoints_to_alarm = _NEEDED
        add_alarm(
            Construct(self, "Unsaved"),
            "Resource",
            description=self._text(
                "a settlement could not be written, so usage is missing from the ledger. The log "
                "has it as settlement_unsaved: replay these lines with `sluice usage replay`."
            ),
            metric=metric(settings, "SettlementsUnsaved", seconds=300),
            threshold=1,
            actions=self._actions,
        )
        if settings.hourly_cost_alarm is not None:
            add_alarm(
                Construct(self, "Cost"),
                "Resource",
                description=self._text(
                    f"the tokens of an hour cost over {settings.hourly_cost_alarm:g} USD. `sluice "
                    "usage --by key` says whose; `sluice keys revoke` stops a key."
                ),
                metric=metric(settings, "CostUSD", seconds=3600),
                threshold=settings.hourly_cost_alarm,
                actions=self._actions,
            )

    def _of_slo(self, burn: Burn) -> None:
        settings = self._settings
        allowed = 100 - settings.completion_slo
        windows = Construct(self, f"{burn.name}Burn")
        alarms = [
            add_math_alarm(
                Construct(windows, name),
                "Resource",
                description=self._text(
                    f"{burn.rate:g} times as many responses fail as {settings.completion_slo:g}% "
                    f"allows, over {seconds // 60} minutes. A part of the alarm {burn.name}Burn."
                ),
                expression=f"IF(c + f >= {settings.alarm_traffic}, 100 * f / (c + f), 0)",
                metrics={
                    "c": metric(settings, "Completed", seconds=seconds),
                    "f": metric(settings, "Failed", seconds=seconds),
                },
                threshold=min(100.0, round(burn.rate * allowed, 6)),
                actions=[],
            )
            for name, seconds in (("Long", burn.long), ("Short", burn.short))
        ]
        cloudwatch.CfnCompositeAlarm(
            windows,
            "Resource",
            alarm_description=self._text(
                f"responses fail {burn.rate:g} times as often as the objective of "
                f"{settings.completion_slo:g}% in 30 days allows."
            ),
            alarm_rule=" AND ".join(f'ALARM("{alarm.ref}")' for alarm in alarms),
            alarm_actions=self._actions or None,
        )


def _of_function(function: lambda_.IFunction, name: str, statistic: str) -> cloudwatch.Metric:
    return cloudwatch.Metric(
        namespace="AWS/Lambda",
        metric_name=name,
        dimensions_map={"FunctionName": function.function_name},
        statistic=statistic,
        period=Duration.minutes(1),
    )
