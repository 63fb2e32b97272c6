"""The settings of the stream function and of the sweeper, read from the environment at start."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lambda_fn import limits


class SettingsError(Exception):
    """A setting is missing or invalid.

    The message names the setting, and never contains its value.
    """


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public model: its endpoint, its context size and its prices.

    A prompt and its completion may have `context_tokens` together. A request without a limit may
    generate `default_max_tokens`, and reserves as many. Prices are in nano-USD per token. A price
    of 0 is valid; None means that the model has no price.
    """

    endpoint: str
    context_tokens: Annotated[int, Meta(ge=1)]
    dialect: Literal["sluice", "openai", "lmi", "lmi-inputs", "tgi"] = "sluice"
    """The dialect that its server speaks; see `lambda_fn.dialects`."""
    component: str | None = None
    """The inference component to invoke, on an endpoint that has components."""
    default_max_tokens: Annotated[int, Meta(ge=1)] = 1024
    prompt_price: Annotated[int, Meta(ge=0)] | None = None
    completion_price: Annotated[int, Meta(ge=0)] | None = None

    @property
    def priced(self) -> bool:
        """Whether the model has prices, so that cost budgets can count its tokens."""
        return self.prompt_price is not None and self.completion_price is not None


@dataclass(frozen=True)
class Settings:
    """The settings of the stream function."""

    region: str
    usage_table: str
    models: Mapping[str, Model]
    origin_secrets: tuple[str, ...]
    """The current secret and, while it is rotated, the previous one. No empty strings."""
    dynamodb_url: str
    sagemaker_url: str
    overdue: float = limits.OVERDUE
    """Seconds after which a request's function has certainly ended."""
    heartbeat: float | None = None
    """The longest silence towards a client in seconds, at most 15. None means `limits.HEARTBEAT`.
    """
    meter_open: bool = False
    """Whether recently admitted keys are served while the meter is unavailable."""
    one_connection: bool = False
    """Whether a response is sent on the connection by which its invocation came."""
    max_whole: int = limits.MAX_WHOLE
    """The maximum size of a response that is not streamed, in bytes."""
    _fingerprints: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def fingerprint(self, model: str) -> str:
        """Return a name for the configuration that a model runs with.

        It changes when the configuration does.
        """
        fingerprint = self._fingerprints.get(model)
        if fingerprint is None:
            configuration = msgspec.json.encode([model, self.models[model]])
            fingerprint = f"fp_{hashlib.sha256(configuration).hexdigest()[:10]}"
            self._fingerprints[model] = fingerprint
        return fingerprint

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the variables `SLUICE_*` and those of AWS.

        Raises:
            SettingsError: a setting is missing or invalid.

        """
        region = _required(environment, "AWS_REGION")
        try:
            models = msgspec.json.decode(
                _required(environment, "SLUICE_MODELS"), type=dict[str, Model]
            )
        except msgspec.DecodeError as error:
            raise SettingsError(f"SLUICE_MODELS: {error}") from None
        if not models:
            raise SettingsError("SLUICE_MODELS names no model")
        secrets = (
            _required(environment, "SLUICE_ORIGIN_SECRET"),
            environment.get("SLUICE_ORIGIN_SECRET_PREVIOUS", ""),
        )
        return cls(
            region=region,
            usage_table=_required(environment, "SLUICE_USAGE_TABLE"),
            models=models,
            origin_secrets=tuple(secret for secret in secrets if secret),
            dynamodb_url=_endpoint(environment, region, "DYNAMODB", "dynamodb"),
            sagemaker_url=_endpoint(environment, region, "SAGEMAKER_RUNTIME", "runtime.sagemaker"),
            overdue=_seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
            heartbeat=_seconds(
                environment, "SLUICE_HEARTBEAT_SECONDS", limits.HEARTBEAT, maximum=15
            ),
            meter_open=_flag(environment, "SLUICE_METER_OPEN"),
            one_connection=_flag(environment, "SLUICE_ONE_CONNECTION"),
            max_whole=limits.whole(
                _count(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 512) * 2**20,
                _count(environment, "AWS_LAMBDA_MAX_CONCURRENCY", 1),
            ),
        )


@dataclass(frozen=True)
class SweepSettings:
    """The settings of the sweeper."""

    region: str
    usage_table: str
    deployment: str
    dynamodb_url: str
    overdue: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SweepSettings":
        """Read the variables `SLUICE_*` and those of AWS. Raises SettingsError."""
        region = _required(environment, "AWS_REGION")
        return cls(
            region=region,
            usage_table=_required(environment, "SLUICE_USAGE_TABLE"),
            deployment=_required(environment, "SLUICE_DEPLOYMENT"),
            dynamodb_url=_endpoint(environment, region, "DYNAMODB", "dynamodb"),
            overdue=_seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise SettingsError(f"{name} is not set")
    return value


def _endpoint(environment: Mapping[str, str], region: str, service: str, host: str) -> str:
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    override = environment.get(f"AWS_ENDPOINT_URL_{service}") or environment.get("AWS_ENDPOINT_URL")
    return (override or f"https://{host}.{region}.{domain}").rstrip("/")


def _seconds(
    environment: Mapping[str, str], name: str, default: float, *, maximum: int = 86_400
) -> float:
    try:
        seconds = float(environment.get(name) or default)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= maximum:  # NaN fails as well
        raise SettingsError(f"{name} must be a number of seconds, 1 to {maximum}")
    return seconds


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number from 1")
    return int(text)


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "")
    if text.lower() in {"", "0", "false", "no"}:
        return False
    if text.lower() in {"1", "true", "yes"}:
        return True
    raise SettingsError(f"{name} must be true or false")
