"""The settings of the control function, read from the environment once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from lambda_fn.control.rights import RIGHTS, Right
from lambda_fn.metering.accounts import MAX_STREAMS
from lambda_fn.settings import SettingsError

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
        missing = [
            name
            for name in ("AWS_REGION", "SLUICE_USAGE_TABLE", "SLUICE_MODEL_NAMES")
            if not environment.get(name)
        ]
        if missing:
            raise SettingsError(f"{missing[0]} is not set")
        right = environment.get("SLUICE_ADMIN_RIGHT") or None
        if right not in {None, *RIGHTS}:
            raise SettingsError(f"SLUICE_ADMIN_RIGHT: must be one of {', '.join(RIGHTS)}")
        days = environment.get("SLUICE_AUDIT_DAYS", "400")
        if not days.isdecimal():
            raise SettingsError("SLUICE_AUDIT_DAYS: must be a whole number")
        origin = ("SLUICE_ORIGIN_SECRET", "SLUICE_ORIGIN_SECRET_PREVIOUS")
        return cls(
            region=environment["AWS_REGION"],
            usage_table=environment["SLUICE_USAGE_TABLE"],
            model_names=_read(environment, "SLUICE_MODEL_NAMES", tuple[str, ...], ""),
            unpriced=_read(environment, "SLUICE_UNPRICED_MODELS", tuple[str, ...], "[]"),
            default_max_streams=_read(
                environment, "SLUICE_DEFAULT_MAX_STREAMS", Streams, str(MAX_STREAMS)
            ),
            admin_secret=environment.get("SLUICE_ADMIN_SECRET") or None,
            origin_secrets=tuple(environment[name] for name in origin if environment.get(name)),
            right=right,
            audit_days=int(days),
            dynamodb_url=service_url(environment, "dynamodb"),
            secretsmanager_url=service_url(environment, "secretsmanager"),
            stream_table=environment.get("SLUICE_STREAM_TABLE") or None,
        )


def _read(environment: Mapping[str, str], name: str, kind: Any, default: str) -> Any:
    try:
        return msgspec.json.decode(environment.get(name) or default, type=kind)
    except msgspec.DecodeError as error:
        raise SettingsError(f"{name}: {error}") from None


def service_url(environment: Mapping[str, str], service: str) -> str:
    """Return the URL of a service in the region, or the one that AWS's own variables set."""
    region = environment["AWS_REGION"]
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    named = environment.get(f"AWS_ENDPOINT_URL_{service.upper()}") or environment.get(
        "AWS_ENDPOINT_URL"
    )
    return (named or f"https://{service}.{region}.{domain}").rstrip("/")
