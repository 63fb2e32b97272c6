"""Facts about instance types: their GPUs, and whether they have local disks.

Sources: the SageMaker pricing page's table of GPU instances; "Instance store volumes" of the EC2
    guide for the disks.
"""

import re

_ONE = dict.fromkeys(("xlarge", "2xlarge", "4xlarge", "8xlarge", "16xlarge"), 1)
_G = {**_ONE, "12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
# The number of GPUs by size, for each family with GPUs that SageMaker hosts endpoints on.
_GPUS: dict[str, dict[str, int]] = {
    "g4dn": {**_ONE, "12xlarge": 4},
    "g5": _G,
    "g6": _G,
    "g6e": _G,
    "g7e": {"2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "12xlarge": 2, "24xlarge": 4, "48xlarge": 8},
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
    "p6-b200": {"48xlarge": 8},
}


def family(instance_type: str) -> str:
    """Return the family of a type: `g6e` of `ml.g6e.12xlarge`."""
    return instance_type.split(".")[1]


def has_gpu(instance_type: str) -> bool:
    """Return whether the type has NVIDIA GPUs.

    Its family's name tells, so new families need not be listed.
    """
    return re.fullmatch(r"[gp]\d\w*(-\w+)?", family(instance_type)) is not None


def gpus(instance_type: str) -> int | None:
    """Return the number of GPUs, or None if the type is not listed here."""
    return _GPUS.get(family(instance_type), {}).get(instance_type.split(".")[2])


def has_disks(instance_type: str) -> bool:
    """Return whether the type has local NVMe disks.

    The machine encrypts them itself, and SageMaker takes no key for them.
    """
    name = family(instance_type)
    return (
        name.startswith(("g", "p4", "p5", "p6", "trn"))
        or re.fullmatch(r"[cmr]\w*d\w*", name) is not None
    )
