"""Settings of the endpoint: machines, scaling, network, encryption, how it is changed."""

import re
from dataclasses import dataclass

from infra import instances
from infra.settings.fields import SettingsError, setting

_WHEN = r"(cron|at|rate)\([^()]+\)"
_PLAN = re.compile(rf"({_WHEN})\s+(\d{{1,3}})(?:-(\d{{1,3}}))?")


@dataclass(frozen=True)
class Plan:
    """From a moment on, so many instances."""

    when: str
    least: int
    most: int


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """The SageMaker endpoint."""

    # An endpoint that exists already: no other is made, and every setting below is its owner's.
    endpoint_name: str | None = setting(
        default=None, pattern=r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})", form="the name of an endpoint"
    )
    instance_type: str = setting(pattern=r"ml\.[a-z0-9-]+\.[a-z0-9]+", form="like ml.c5.large")
    instance_count: int = setting(least=1, most=100)
    startup_seconds: int = setting(least=60, most=3600)  # SageMaker's own bounds
    download_seconds: int = setting(default=1200, least=60, most=3600)  # likewise, for the weights
    ami_version: str | None = setting(  # None: matched to the image's CUDA
        default=None, pattern=r"[a-z0-9-]+", form="like al2023-ami-sagemaker-inference-gpu-4-1"
    )
    # Security.
    kms_key: str | None = setting(
        default=None, pattern=r"arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+", form="a KMS key's ARN"
    )
    subnets: tuple[str, ...] = setting(default=(), pattern=r"subnet-[0-9a-f]+", form="subnet-1,subnet-2")
    security_groups: tuple[str, ...] = setting(default=(), pattern=r"sg-[0-9a-f]+", form="sg-1,sg-2")
    network_isolation: bool | None = setting(default=None)  # None: on, unless the container downloads its weights
    # Scaling. `max_instances` none: `instance_count`, always.
    max_instances: int | None = setting(default=None, least=1, most=100)
    requests_per_instance: int | None = setting(default=None, least=1, most=1000)  # None: three quarters of `parallel`
    scale_in_seconds: int = setting(default=600, least=0, most=86_400)
    schedule: tuple[str, ...] = setting(
        default=(), pattern=_PLAN.pattern, form="like cron(0 7 ? * MON-FRI *) 2-8; cron(0 20 ? * * *) 1-2"
    )
    schedule_timezone: str = setting(default="UTC", pattern=r"[A-Za-z_]+(/[A-Za-z_+-]+)*", form="like Europe/Berlin")
    scale_to_zero: bool = setting(default=False)  # by an inference component; the first request then waits minutes
    # An update goes to a part of the new instances for so long, and back if an alarm rings.
    canary_seconds: int = setting(default=300, least=0, most=3600)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The schedule."""
        found = [_PLAN.fullmatch(text) for text in self.schedule]
        return tuple(Plan(it[1], int(it[3]), int(it[4] or it[3])) for it in found if it is not None)

    @property
    def scales(self) -> bool:
        """Whether anything scales."""
        return self.max_instances is not None or self.scale_to_zero

    @property
    def most_instances(self) -> int:
        """How many there may be at a time."""
        return max(self.max_instances or 0, self.instance_count, *(plan.most for plan in self.plans))

    def check_endpoint(self) -> None:
        """Raise SettingsError for the first pair of settings that contradict each other."""
        most = self.max_instances
        rules = [
            (
                most is not None and most < self.instance_count,
                f"max_instances={most}: must not be under instance_count={self.instance_count}",
            ),
            (
                bool(self.schedule) and most is None,
                "schedule: needs max_instances, which turns scaling on",
            ),
            (
                any(plan.least > plan.most for plan in self.plans),
                "schedule: the first number must not be over the second",
            ),
            (
                bool(self.subnets) != bool(self.security_groups),
                "subnets and security_groups: give both, or neither",
            ),
            (
                len(self.subnets) == 1 and self.instance_count > 1,
                (
                    f"subnets={self.subnets[0] if self.subnets else ''}: {self.instance_count} instances in one zone "
                    "fail together; give subnets of two zones"
                ),
            ),
            (
                self.kms_key is not None and instances.has_disks(self.instance_type),
                f"kms_key: SageMaker takes none for {self.instance_type}, whose own disks are encrypted by the machine",
            ),
            (
                self.endpoint_name is not None and self.scales,
                (
                    "endpoint_name: an endpoint that is not ours is scaled by its owner; leave out max_instances and "
                    "scale_to_zero"
                ),
            ),
        ]
        for contradicts, message in rules:
            if contradicts:
                raise SettingsError(message)
