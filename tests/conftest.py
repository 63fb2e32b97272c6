"""What all tests share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file in one process, and those over the deployed local cloud, which they share, in one."""
    for item in items:
        together = "e2e" if item.get_closest_marker("e2e") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(together))


@pytest.fixture(scope="session", autouse=True)
def _no_socket_left() -> Iterator[None]:
    """Close what the X-Ray SDK, which moto imports, opens when it is imported and would leave to the interpreter."""
    yield
    if core := sys.modules.get("aws_xray_sdk.core"):
        core.xray_recorder.emitter._socket.close()
