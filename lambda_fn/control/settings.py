"""The settings of the control function, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec

from lambda_fn.control.rights import RIGHTS, Right
from lambda_fn.metering.accounts import MAX_STREAMS
from lambda_fn.settings import SettingsError, variables

Streams = Annotated[int, msgspec.Meta(ge=1, le=MAX_STREAMS)]


@dataclass(frozen=True)
class ControlSettings:
    """The settings. Without `admin_secret`, only callers through IAM are accepted."""

    region: str
    usage_table: str
    model_names: tuple[str, ...]
    """The public names of the models that are deployed."""
    unpriced: tuple[str, ...]
    """The models without a price."""
    default_max_streams: int
    """The concurrent streams of a new key that names no limit."""
    admin_secret: str | None
    """The ARN of the secret. Its value is read when needed, and never kept in the environment."""
    origin_secrets: tuple[str, ...]
    right: Right | None
    """The right of callers through IAM. None for the function behind the URL: it accepts none."""
    audit_days: int
    """Days for which the audit trail is kept."""
    dynamodb_url: str
    secretsmanager_url: str
    stream_table: str | None = None
    """StreamTable, for the rights that see what is kept."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "ControlSettings":
        """Read `SLUICE_*` and AWS's own variables.

        Raises:
            SettingsError: one is missing or malformed.

        """
        right = environment.get("SLUICE_ADMIN_RIGHT") or None
        if right not in {None, *RIGHTS}:
            raise SettingsError(f"SLUICE_ADMIN_RIGHT: must be one of {', '.join(RIGHTS)}")
        origin = ("SLUICE_ORIGIN_SECRET", "SLUICE_ORIGIN_SECRET_PREVIOUS")
        return cls(
            region=variables.required(environment, "AWS_REGION"),
            usage_table=variables.required(environment, "SLUICE_USAGE_TABLE"),
            model_names=variables.json_value(
                environment, "SLUICE_MODEL_NAMES", tuple[str, ...], default=None
            ),
            unpriced=variables.json_value(
                environment, "SLUICE_UNPRICED_MODELS", tuple[str, ...], default="[]"
            ),
            default_max_streams=variables.json_value(
                environment, "SLUICE_DEFAULT_MAX_STREAMS", Streams, default=str(MAX_STREAMS)
            ),
            admin_secret=environment.get("SLUICE_ADMIN_SECRET") or None,
            origin_secrets=tuple(environment[name] for name in origin if environment.get(name)),
            right=right,
            audit_days=variables.count(environment, "SLUICE_AUDIT_DAYS", 400),
            dynamodb_url=variables.service_url(environment, "DYNAMODB", "dynamodb"),
            secretsmanager_url=variables.service_url(
                environment, "SECRETS_MANAGER", "secretsmanager"
            ),
            stream_table=environment.get("SLUICE_STREAM_TABLE") or None,
        )
