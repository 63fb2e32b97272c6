"""The settings of the keeper of background responses, read from the environment at start."""

from collections.abc import Mapping
from dataclasses import dataclass

from lambda_fn.settings import variables


@dataclass(frozen=True)
class KeeperSettings:
    """The settings of the function that keeps background responses going."""

    region: str
    stream_table: str
    dynamodb_url: str
    lambda_url: str
    stream_function: str
    """The stream function's name, a colon, and its alias."""
    deployment: str
    webhook: str | None = None
    """The URL that is told how responses end."""
    webhook_secret: str | None = None
    """The ARN of the secret that signs what it is told."""
    secrets_url: str = ""
    private_webhook: bool = False
    """Whether the URL may be one of this machine, as in the local cloud."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "KeeperSettings":
        """Read the variables `SLUICE_*` and those of AWS. Raises SettingsError."""
        return cls(
            region=variables.required(environment, "AWS_REGION"),
            stream_table=variables.required(environment, "SLUICE_STREAM_TABLE"),
            dynamodb_url=variables.service_url(environment, "DYNAMODB", "dynamodb"),
            lambda_url=variables.service_url(environment, "LAMBDA", "lambda"),
            stream_function=variables.required(environment, "SLUICE_STREAM_FUNCTION"),
            deployment=variables.required(environment, "SLUICE_DEPLOYMENT"),
            webhook=environment.get("SLUICE_WEBHOOK") or None,
            webhook_secret=environment.get("SLUICE_WEBHOOK_SECRET") or None,
            secrets_url=variables.service_url(environment, "SECRETS_MANAGER", "secretsmanager"),
            private_webhook=variables.flag(environment, "SLUICE_PRIVATE_WEBHOOK"),
        )
