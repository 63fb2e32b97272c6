"""Deployments into the local cloud, one at a time.

tests/local/test_cloud.py waits until a local cloud ends.
"""

from pathlib import Path

import pytest

from cli.lib.local_cloud import alone
from cli.lib.project import CommandError


def test_a_second_up_is_refused(tmp_path: Path) -> None:
    """While one `sluice up` deploys, another one fails. Afterwards it does not."""
    with (
        alone(tmp_path),
        pytest.raises(CommandError, match="Another `sluice up` is at work"),
        alone(tmp_path),
    ):
        pass
    with alone(tmp_path):
        pass
