"""The settings of the sweeper, read from the environment at start."""

from collections.abc import Mapping
from dataclasses import dataclass

from lambda_fn import limits
from lambda_fn.settings import variables


@dataclass(frozen=True)
class SweepSettings:
    """The settings of the sweeper."""

    region: str
    usage_table: str
    deployment: str
    dynamodb_url: str
    overdue: float
    stream_table: str | None = None
    """StreamTable, if responses are logged."""
    ceiling: int | None = None
    """Nano-USD that all requests of a month may cost."""
    topic: str | None = None
    """The ARN of the SNS topic that alerts about budgets go to."""
    sns_url: str = ""
    metrics_url: str | None = None
    """CloudWatch's address, if the figures of keys are sent to it."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SweepSettings":
        """Read the variables `SLUICE_*` and those of AWS. Raises SettingsError."""
        return cls(
            region=variables.required(environment, "AWS_REGION"),
            usage_table=variables.required(environment, "SLUICE_USAGE_TABLE"),
            deployment=variables.required(environment, "SLUICE_DEPLOYMENT"),
            dynamodb_url=variables.service_url(environment, "DYNAMODB", "dynamodb"),
            overdue=variables.seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
            stream_table=environment.get("SLUICE_STREAM_TABLE") or None,
            ceiling=variables.nano_usd(environment, "SLUICE_MONTHLY_CEILING"),
            topic=environment.get("SLUICE_ALERT_TOPIC") or None,
            sns_url=variables.service_url(environment, "SNS", "sns"),
            metrics_url=(
                variables.service_url(environment, "CLOUDWATCH", "monitoring")
                if variables.flag(environment, "SLUICE_KEY_METRICS")
                else None
            ),
        )
