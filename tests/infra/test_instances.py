"""Facts about instance types."""

import pytest

from infra import instances


@pytest.mark.parametrize(
    ("instance_type", "gpu", "gpus", "disks"),
    [
        ("ml.c5.large", False, None, False),
        ("ml.c5d.large", False, None, True),
        ("ml.g6e.12xlarge", True, 4, True),
        ("ml.p6-b200.48xlarge", True, 8, True),
        ("ml.g99.huge", True, None, True),
    ],
)
def test_a_type_has_gpus_and_disks_by_its_family(
    instance_type: str, gpu: bool, gpus: int | None, disks: bool
) -> None:
    """A family that is not listed has GPUs by its name, but their number is unknown."""
    assert instances.has_gpu(instance_type) is gpu
    assert instances.gpus(instance_type) == gpus
    assert instances.has_disks(instance_type) is disks
