"""The function's settings, read from the environment once, when it starts."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from lambda_fn import limits


class SettingsError(Exception):
    """A setting is missing or makes no sense. The message names it, never its value."""


class Model(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One public model: where it runs, and the tokens its prompt and answer may take together.

    `default_max_tokens` is what a request that names no limit may generate, and reserves. Prices are nano-dollars a
    token; 0 is a price, None is none.
    """

    endpoint: str
    context_tokens: Annotated[int, Meta(ge=1)]
    dialect: Literal["sluice", "openai", "lmi", "lmi-inputs", "tgi"] = "sluice"
    """What its server speaks: `lambda_fn.dialects`."""
    component: str | None = None
    """The inference component to invoke, on an endpoint that has some."""
    default_max_tokens: Annotated[int, Meta(ge=1)] = 1024
    prompt_price: Annotated[int, Meta(ge=0)] | None = None
    completion_price: Annotated[int, Meta(ge=0)] | None = None

    @property
    def priced(self) -> bool:
        """Whether budgets of cost count what it generates."""
        return self.prompt_price is not None and self.completion_price is not None


@dataclass(frozen=True)
class Settings:
    """What the function is told by its deployment."""

    region: str
    usage_table: str
    models: Mapping[str, Model]
    origin_secrets: tuple[str, ...]
    """The current and, while the secret is rotated, the previous one. Never empty strings."""
    dynamodb_url: str
    sagemaker_url: str
    overdue: float = limits.OVERDUE
    """After how many seconds a request has lost its function, for sure."""
    heartbeat: float | None = None
    """The longest silence towards a client in seconds, at most 15; None is `limits.HEARTBEAT`."""
    meter_open: bool = False
    """Whether keys that were just seen are served while the meter does not answer."""
    max_whole: int = limits.MAX_WHOLE
    """Bytes of an answer that is not streamed."""
    _fingerprints: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def fingerprint(self, model: str) -> str:
        """Give what names the configuration that a model runs with: it changes when that does."""
        found = self._fingerprints.get(model)
        if found is None:
            told = msgspec.json.encode([model, self.models[model]])
            found = self._fingerprints[model] = f"fp_{hashlib.sha256(told).hexdigest()[:10]}"
        return found

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Read `SLUICE_*` and AWS's own variables.

        Raises:
            SettingsError: one is missing or malformed.

        """
        region = _required(environment, "AWS_REGION")
        try:
            models = msgspec.json.decode(_required(environment, "SLUICE_MODELS"), type=dict[str, Model])
        except msgspec.DecodeError as error:
            raise SettingsError(f"SLUICE_MODELS: {error}") from None
        if not models:
            raise SettingsError("SLUICE_MODELS names no model")
        secrets = (_required(environment, "SLUICE_ORIGIN_SECRET"), environment.get("SLUICE_ORIGIN_SECRET_PREVIOUS", ""))
        return cls(
            region=region,
            usage_table=_required(environment, "SLUICE_USAGE_TABLE"),
            models=models,
            origin_secrets=tuple(secret for secret in secrets if secret),
            dynamodb_url=_endpoint(environment, region, "DYNAMODB", "dynamodb"),
            sagemaker_url=_endpoint(environment, region, "SAGEMAKER_RUNTIME", "runtime.sagemaker"),
            overdue=_seconds(environment, "SLUICE_OVERDUE_SECONDS", limits.OVERDUE),
            heartbeat=_seconds(environment, "SLUICE_HEARTBEAT_SECONDS", limits.HEARTBEAT, most=15),
            meter_open=_flag("SLUICE_METER_OPEN", environment.get("SLUICE_METER_OPEN", "")),
            max_whole=limits.whole(
                _count(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 512) * 2**20,
                _count(environment, "AWS_LAMBDA_MAX_CONCURRENCY", 1),
            ),
        )


@dataclass(frozen=True)
class SweepSettings:
    """What the sweeper is told by its deployment."""

    region: str
    usage_table: str
    deployment: str
    dynamodb_url: str
    overdue: float

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "SweepSettings":
        """Read `SLUICE_*` and AWS's own variables. Raises SettingsError."""
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
    own = environment.get(f"AWS_ENDPOINT_URL_{service}") or environment.get("AWS_ENDPOINT_URL")
    return (own or f"https://{host}.{region}.{domain}").rstrip("/")


def _seconds(environment: Mapping[str, str], name: str, default: float, *, most: int = 86_400) -> float:
    try:
        seconds = float(environment.get(name) or default)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= most:  # not a number is not between them either
        raise SettingsError(f"{name} must be a number of seconds, 1 to {most}")
    return seconds


def _count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and int(text) > 0):
        raise SettingsError(f"{name} must be a whole number from 1")
    return int(text)


def _flag(name: str, text: str) -> bool:
    if text.lower() in {"", "0", "false", "no"}:
        return False
    if text.lower() in {"1", "true", "yes"}:
        return True
    raise SettingsError(f"{name} must be true or false")
