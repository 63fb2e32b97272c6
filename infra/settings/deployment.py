"""Settings of a deployment: the values of three stages, checked when they are created.

The stages `local`, `dev` and `prod` differ only here. The command line changes a setting through
the CDK context (`cdk deploy -c stage=dev -c parallel=8`), which infra.settings.context reads. The
settings of one subject are a mixin in its file: container, edge, endpoint, filters, function, kept,
monitoring and prices. Here are those of no subject, and what several subjects decide together.
"""

import dataclasses
import hashlib
import platform
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from infra.limits import LIMITS
from infra.settings import effects, fields, other_models
from infra.settings.container import ContainerSettings
from infra.settings.edge import EdgeSettings
from infra.settings.endpoint import EndpointSettings
from infra.settings.fields import SettingsError, setting
from infra.settings.filters import FilterSettings
from infra.settings.function import Architecture, FunctionSettings
from infra.settings.kept import KeptSettings
from infra.settings.monitoring import MonitoringSettings
from infra.settings.prices import PriceSettings

__all__ = ["DEV", "PROD", "Settings", "SettingsError", "local", "of_stage"]

Stage = Literal["local", "dev", "prod"]
_NEW_ACCOUNT = 10
"""The concurrency of a new account."""
_READERS = 50
"""The most running answers that a key follows, if no setting says how many."""
_MAX_TAGS = 40
"""AWS's maximum is 50 for a resource; some are CloudFormation's own."""
_CLOCK_SKEW = 60
"""Seconds by which the clocks of two functions may differ."""


@dataclass(frozen=True, kw_only=True)
class Settings(
    MonitoringSettings,
    EdgeSettings,
    KeptSettings,
    FilterSettings,
    PriceSettings,
    FunctionSettings,
    ContainerSettings,
    EndpointSettings,
):
    """The settings that can differ between two deployments.

    The bounds are AWS's where there are any (function memory of 128 to 10240 MB, ARN-safe names).
    Elsewhere, a value outside the bounds can only be a mistake.

    Raises:
        SettingsError: a value is outside its bounds.

    """

    stage: Stage
    tags: Mapping[str, str] = setting(
        default={},
        pattern=r"[\w .:/=+@-]{0,256}",
        form='a JSON object of texts, 256 characters each: {"cost-center": "42"}',
    )
    """More tags of every resource, beside `sluice:deployment`."""
    name: str = setting(
        pattern=r"[a-z][a-z0-9-]{0,23}",
        form="a lower-case letter, then lower-case letters, digits and hyphens, 24 characters at most",
    )
    # Retention.
    usage_table: str | None = setting(
        default=None, pattern=r"[a-zA-Z0-9_.-]{3,255}", form="the name of a table"
    )
    """The table to use instead of the stack's own: one that `sluice restore` made."""
    retain: bool
    """Tables outlive their stack. Stack and tables are protected from deletion."""
    audit_days: int = setting(default=400, minimum=1, maximum=3650)
    """How many days the entries of the audit trail are kept."""

    def __post_init__(self) -> None:
        """Check each field against its choices, bounds and pattern, then against other fields."""
        for field in dataclasses.fields(self):
            fields.check(field, TYPES[field.name], getattr(self, field.name))
        local = self.stage == "local"
        self.check_container(
            instance_type=self.instance_type, network_isolation=self.network_isolation
        )
        self.check_endpoint()
        self.check_edge(local=local)
        self._check_models()
        self._check_images()
        self.check_filters()
        self._check_tags()
        self.check_kept(local=local)
        self.check_prices()
        self.check_traces(local=local)
        effects.check(self)
        minimum = LIMITS.lambda_timeout + _CLOCK_SKEW
        if not local and self.overdue_seconds < minimum:
            raise SettingsError(
                f"overdue_seconds={self.overdue_seconds}: must be {minimum:g} or more in "
                f"stage {self.stage}: "
                "before that a function may still be at work on the request"
            )

    @property
    def keeper_name(self) -> str:
        """The name of the keeper of background answers, which others invoke by it."""
        return f"{self.name}-{self.stage}-background"

    @property
    def socket_name(self) -> str:
        """The name of the function that answers on sockets, which its control function invokes."""
        return f"{self.name}-{self.stage}-socket"

    @property
    def background_runs(self) -> int:
        """The number of background answers that may run at once: at most half of the concurrency.

        Where none is reserved, it is half of what a new account has.
        """
        if self.background_at_once is not None:
            return self.background_at_once
        return max(1, (self.reserved_concurrency or _NEW_ACCOUNT) // 2)

    @property
    def readers_per_key(self) -> int:
        """The number of running answers that a key may follow at once, also by repeats.

        At most half of the recall function's concurrency, unless the setting says another number.
        """
        if self.recall_per_key is not None:
            return self.recall_per_key
        return min(_READERS, max(1, self.recall_concurrency // 2))

    @property
    def unpriced_models(self) -> list[str]:
        """The public names of models that lack a price. Cost budgets do not limit them."""
        own = {"prompt_price": self.prompt_price, "completion_price": self.completion_price}
        models = {self.model_name: own, **self.others}
        return [
            name
            for name, it in models.items()
            if None in (it.get("prompt_price"), it.get("completion_price"))
        ]

    @property
    def certificate_stack(self) -> str | None:
        """The name of the stack that makes the domain's certificate, or None.

        A new domain gets a new stack, so its certificate exists before the service stops using the
        old one. The old stack can be deleted then.
        """
        if self.domain is None or self.certificate_arn is not None:
            return None
        return f"{self.name}-{self.stage}-certificate-{hashlib.sha256(self.domain.encode()).hexdigest()[:8]}"

    @property
    def web_acl_stack(self) -> str | None:
        """The name of the stack that makes the web ACL, or None."""
        return f"{self.name}-{self.stage}-web-acl" if self.web_acl == "rate" else None

    @property
    def edge_stacks(self) -> tuple[str, ...]:
        """The names of the stacks that must be in us-east-1."""
        return tuple(
            name for name in (self.certificate_stack, self.web_acl_stack) if name is not None
        )

    def _check_tags(self) -> None:
        for key in self.tags:
            if not re.fullmatch(r"[\w .:/=+@-]{1,128}", key) or key.lower().startswith("aws:"):
                raise SettingsError(
                    f"tags: {key[:140]!r} is not a name of a tag: it has 1 to 128 letters, digits, "
                    "blanks and . : / = + @ - _, and does not begin with aws:"
                )
        if "sluice:deployment" in self.tags or len(self.tags) > _MAX_TAGS:
            raise SettingsError(
                f"tags: at most {_MAX_TAGS}, and not sluice:deployment, which every resource has"
            )

    def _check_models(self) -> None:
        endpoint = self.endpoint_name or f"{self.name}-{self.stage}"
        other_models.check_beside(
            self.other_models,
            own=self.model_name,
            endpoint=endpoint,
            component=f"{endpoint}-model" if self.scale_to_zero else None,
            dialect=self.model_dialect,
        )

    def _check_images(self) -> None:
        """Refuse images where no model could read them."""
        if not self.max_images:
            return
        if self.model_dialect == "lmi-inputs":
            raise SettingsError(
                f"max_images={self.max_images}: the dialect lmi-inputs has only text"
            )
        if self.container == "sluice" and self.endpoint_name is None and self.engine != "vllm":
            raise SettingsError(
                f"max_images={self.max_images}: engine={self.engine} reads no images; engine=vllm "
                "does, with a model that can"
            )

    def replace(self, **changes: object) -> "Settings":
        """Return a copy of the settings with `changes`, checked."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]  # __post_init__ checks them


FIELDS = {field.name: field for field in dataclasses.fields(Settings)}
TYPES: dict[str, Any] = get_type_hints(Settings)


def accepted(name: str) -> str:
    """Return a description of the values that a setting accepts."""
    return fields.accepted(FIELDS[name], TYPES[name])


DEV = Settings(
    stage="dev",
    name="sluice",
    image_uri=None,
    weights="demo_model/weights/sluice-demo.gguf",
    engine="llama_cpp",
    model_name="sluice-demo",
    context_tokens=4096,
    parallel=16,
    tokens_per_second=0.0,
    instance_type="ml.c5.large",  # the cheapest with AVX-512: about 0.10 USD an hour
    instance_count=1,
    startup_seconds=300,
    python_version="3.14",
    architecture="arm64",
    wheels="lambda",
    memory_mb=512,
    overdue_seconds=600,
    reserved_concurrency=None,  # a new account has 10 and may reserve none of them
    admin_url=True,
    playground=True,
    recovered_alarm=1,
    alarm_topic=None,
    retain=False,
    log_retention_days=7,
    price_class="100",
)

PROD = DEV.replace(
    stage="prod",
    instance_count=2,  # SageMaker places them in two zones
    canary_minutes=5,
    playground=False,  # an API needs no page
    reserved_concurrency=200,  # limits what a flood of requests can cost
    retain=True,
    log_retention_days=90,
    price_class="all",
)


def host_python_version() -> str:
    """Return the minor version of the running interpreter, like `3.13`."""
    return f"3.{sys.version_info.minor}"


def host_architecture() -> Architecture:
    """Return this machine's architecture, by Lambda's name for it."""
    return "arm64" if platform.machine().lower() in {"arm64", "aarch64"} else "x86_64"


def local() -> Settings:
    """Return the settings of the stage `local`.

    No image is built, and functions run on this machine's Python. Answers have a pace of 40
    tokens/s, so that a person can watch the demo model stream.
    """
    return DEV.replace(
        stage="local",
        image_uri="123456789012.dkr.ecr.us-east-1.amazonaws.com/sluice-model:local",
        tokens_per_second=40.0,
        python_version=host_python_version(),
        architecture=host_architecture(),
        wheels="host",
        reserved_concurrency=256,
        recall_concurrency=32,
        websocket_concurrency=64,
        default_max_streams=200,
    )


def of_stage(stage: str) -> Settings:
    """Return the settings of a stage by its name.

    Raises:
        SettingsError: there is no such stage.

    """
    if stage == "local":
        return local()
    for settings in (DEV, PROD):
        if settings.stage == stage:
            return settings
    raise SettingsError(f"stage={stage}: must be {accepted('stage')}")
