"""What all tests share."""

import sys
from collections.abc import Iterator

import hypothesis
import pytest

# Hypothesis's deadline and health check measure wall-clock time, which a busy machine multiplies.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")


SHARED = ("tests/e2e/", "tests/infra/")
"""Folders whose files share what takes long to make: one process runs all of each."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Divide the tests between the processes of `make test` by file, and by folder where
    `SHARED`.
    """
    from xdist.scheduler import LoadScopeScheduling

    def part(nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in SHARED if file.startswith(folder)), file)

    made = LoadScopeScheduling(config, log)
    made._split_scope = part
    return made


@pytest.fixture(scope="session", autouse=True)
def _no_socket_left() -> Iterator[None]:
    """Close what the X-Ray SDK, which moto imports, opens when it is imported and would leave to
    the interpreter.
    """
    yield
    if core := sys.modules.get("aws_xray_sdk.core"):
        core.xray_recorder.emitter._socket.close()
