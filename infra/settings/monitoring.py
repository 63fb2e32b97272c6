"""Settings of logs, metrics, alarms and traces."""

from dataclasses import dataclass
from typing import Literal

from infra.settings.fields import SettingsError, setting

LogRetention = Literal[1, 7, 14, 30, 90, 365]


@dataclass(frozen=True, kw_only=True)
class MonitoringSettings:
    """What is recorded about requests, and who is told."""

    log_retention_days: LogRetention
    metrics: bool = True
    """Write the metrics of each request, from which most alarms and the dashboard are made."""
    dashboard: bool = True
    """Make a dashboard of CloudWatch."""
    key_figures: Literal["off", "insights", "otlp"] = setting(default="off")
    """How CloudWatch gets the figures of each key: by rules of Contributor Insights over the log,
    or as OTLP metrics that the sweeper sends.
    """
    alarm_topic: str | None = setting(
        pattern=r"arn:aws[\w-]*:sns:[a-z0-9-]+:\d{12}:[\w-]+", form="an SNS topic's ARN"
    )
    recovered_alarm: int = setting(minimum=1, maximum=1_000_000)
    """The number of requests that raises an alarm if one sweep settles them."""
    alarm_traffic: int = setting(default=20, minimum=1, maximum=1_000_000)
    """The number of requests in a period below which no rate raises an alarm."""
    completion_alarm: float = setting(default=95.0, minimum=0, maximum=100)
    """The percentage of completed responses in a minute, below which an alarm rises."""
    completion_slo: float = setting(default=99.0, minimum=0, maximum=99.999)
    """The percentage of responses that are to complete in 30 days; alarms watch how fast the rest
    is used up.
    """
    ttft_alarm_seconds: float = setting(default=5.0, minimum=0.01, maximum=60)
    """The time to first token whose 95th percentile in a minute raises an alarm."""
    hourly_cost_alarm: float | None = setting(default=None, minimum=0.01, maximum=1_000_000)
    """USD that the tokens of an hour may cost before an alarm rises. None: no alarm."""
    # Spans of requests.
    traces: str | None = setting(
        default=None,
        pattern=r"cloudwatch|https?://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?(/[A-Za-z0-9._~/-]{0,200})?",
        form="cloudwatch, or the address of a collector: https://otel.example.org/v1/traces",
    )
    """Where spans of requests go, as OTLP over HTTP. None: nothing is traced."""
    trace_ratio: float = setting(default=1.0, minimum=0, maximum=1)
    """The share of sampled requests."""
    trace_callers: bool = setting(default=False)
    """Whether the flag of a caller's `traceparent` decides, and not the share."""
    trace_secret: str | None = setting(
        default=None,
        pattern=r"[A-Za-z0-9/_+=.@-]{1,512}",
        form="the name of a secret in Secrets Manager",
    )
    """The secret whose text is the header `authorization` for the collector."""

    def check_traces(self, *, local: bool) -> None:
        """Raise SettingsError for the first settings that contradict each other."""
        if self.traces is not None and self.traces.startswith("http:") and not local:
            raise SettingsError(
                f"traces={self.traces}: spans go over https; http is for the stage local"
            )
