"""Settings of the endpoint: instances, scaling, network, encryption and updates."""

import re
from dataclasses import dataclass
from typing import Literal

from infra import instances
from infra.settings.fields import SettingsError, setting

_WHEN = r"(cron|at|rate)\([^()]+\)"
MachineImage = Literal[
    "al2-ami-sagemaker-inference-gpu-2",
    "al2-ami-sagemaker-inference-gpu-2-1",
    "al2-ami-sagemaker-inference-gpu-3-1",
    "al2-ami-sagemaker-inference-neuron-2",
    "al2023-ami-sagemaker-inference-gpu-4-1",
]
"""The machine images that the API knows (`InferenceAmiVersion`)."""
_PLAN = re.compile(rf"({_WHEN})\s+(\d{{1,3}})(?:-(\d{{1,3}}))?")


_MAX_SUBNETS, _MAX_GROUPS = 16, 5
"""SageMaker's maxima. An id has at most 32 characters there."""


@dataclass(frozen=True)
class Plan:
    """A scheduled change of the number of instances.

    `when` is `cron(...)`, `at(...)` or `rate(...)`.
    """

    when: str
    minimum: int
    maximum: int


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """The SageMaker endpoint."""

    # The name of an existing endpoint. With it none is created, and the settings below have no
    # effect.
    endpoint_name: str | None = setting(
        default=None, pattern=r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,62})", form="the name of an endpoint"
    )
    instance_type: str = setting(pattern=r"ml\.[a-z0-9-]+\.[a-z0-9]+", form="like ml.c5.large")
    instance_count: int = setting(minimum=1, maximum=100)
    startup_seconds: int = setting(minimum=60, maximum=3600)
    """The time-out of the container's start. The bounds are SageMaker's."""
    download_seconds: int = setting(default=1200, minimum=60, maximum=3600)
    """The time-out of the weights' download. The bounds are SageMaker's."""
    ami_version: MachineImage | None = setting(default=None)
    """None: the image's CUDA version decides."""
    detailed_metrics: bool = setting(default=True)
    """Whether SageMaker collects the metrics of the container, its host and its GPUs.

    A collector runs on each instance, and CloudWatch bills what it collects.
    """
    # Security.
    kms_key: str | None = setting(
        default=None,
        pattern=r"arn:aws[\w-]*:kms:[a-z0-9-]+:\d{12}:key/[\w-]+",
        form="a KMS key's ARN",
    )
    subnets: tuple[str, ...] = setting(
        default=(), pattern=r"subnet-[0-9a-f]{1,25}", form="subnet-1,subnet-2"
    )
    security_groups: tuple[str, ...] = setting(
        default=(), pattern=r"sg-[0-9a-f]{1,29}", form="sg-1,sg-2"
    )
    network_isolation: bool | None = setting(default=None)
    """None: on, unless the container downloads its weights."""
    # Scaling. Without `max_instances` there are always `instance_count` instances.
    max_instances: int | None = setting(default=None, minimum=1, maximum=100)
    requests_per_instance: int | None = setting(default=None, minimum=1, maximum=1000)
    """None: three quarters of `parallel`."""
    scale_in_seconds: int = setting(default=600, minimum=0, maximum=86_400)
    schedule: tuple[str, ...] = setting(
        default=(),
        pattern=_PLAN.pattern,
        form="like cron(0 7 ? * MON-FRI *) 2-8; cron(0 20 ? * * *) 1-2",
    )
    schedule_timezone: str = setting(
        default="UTC", pattern=r"[A-Za-z_]+(/[A-Za-z_+-]+)*", form="like Europe/Berlin"
    )
    scale_to_zero: bool = setting(default=False)
    """Run the model as an inference component, whose copies may go down to zero.

    The first request without a copy fails and starts one, which takes minutes.
    """
    # How many seconds a canary gets requests before the rest of an update follows. If an alarm
    # rises, the update is rolled back.
    canary_seconds: int = setting(default=300, minimum=0, maximum=3600)

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The parsed setting `schedule`."""
        matches = [_PLAN.fullmatch(text) for text in self.schedule]
        return tuple(
            Plan(it[1], int(it[3]), int(it[4] or it[3])) for it in matches if it is not None
        )

    @property
    def scales(self) -> bool:
        """Whether the number of instances can change."""
        return self.max_instances is not None or self.scale_to_zero

    @property
    def peak_instances(self) -> int:
        """The largest number of instances that scaling and its schedule may start."""
        return max(
            self.max_instances or 0, self.instance_count, *(plan.maximum for plan in self.plans)
        )

    def check_endpoint(self) -> None:
        """Raise SettingsError for the first settings that contradict each other."""
        limit = self.max_instances
        rules = [
            (
                limit is not None and limit < self.instance_count,
                f"max_instances={limit}: must not be under instance_count={self.instance_count}",
            ),
            (
                bool(self.schedule) and limit is None,
                "schedule: needs max_instances, which turns scaling on",
            ),
            (
                any(plan.minimum > plan.maximum for plan in self.plans),
                "schedule: the first number must not be over the second",
            ),
            (
                bool(self.subnets) != bool(self.security_groups),
                "subnets and security_groups: set both, or neither",
            ),
            (
                len(self.subnets) > _MAX_SUBNETS or len(self.security_groups) > _MAX_GROUPS,
                (
                    f"subnets and security_groups: SageMaker takes {_MAX_SUBNETS} subnets and "
                    f"{_MAX_GROUPS} security groups at most"
                ),
            ),
            (
                len(self.subnets) == 1 and self.instance_count > 1,
                (
                    f"subnets={self.subnets[0] if self.subnets else ''}: "
                    f"{self.instance_count} instances in one zone "
                    "fail together; set subnets of two zones"
                ),
            ),
            (
                self.kms_key is not None and instances.has_disks(self.instance_type),
                (
                    f"kms_key: SageMaker takes none for {self.instance_type}, which encrypts its "
                    "local disks itself"
                ),
            ),
            (
                self.endpoint_name is not None and self.scales,
                (
                    "endpoint_name: the owner of an existing endpoint scales it; leave out "
                    "max_instances and "
                    "scale_to_zero"
                ),
            ),
        ]
        for contradicts, message in rules:
            if contradicts:
                raise SettingsError(message)
