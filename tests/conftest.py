"""What all tests share."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

# Hypothesis's deadline measures wall-clock time, which a busy machine multiplies.
settings.register_profile("sluice", deadline=None)
settings.load_profile("sluice")


@pytest.fixture(scope="session", autouse=True)
def _no_socket_left() -> Iterator[None]:
    """Close what the X-Ray SDK, which moto imports, opens when it is imported and would leave to the interpreter."""
    yield
    if core := sys.modules.get("aws_xray_sdk.core"):
        core.xray_recorder.emitter._socket.close()
