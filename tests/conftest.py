"""Settings and fixtures for all tests."""

import sys
from collections.abc import Iterator

import hypothesis
import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG

# Hypothesis measures wall-clock time for its deadline and health check, and a busy machine
# multiplies it. `make test` tries the same examples in each run, so that it fails for a change and
# not by chance; `make fuzz` searches for new ones.
hypothesis.settings.register_profile(
    "test",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=1_000,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("test")

# httpx waits 5 s by default. On a busy machine the cold start of a function takes longer.
for _part in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _part, 60.0)


SHARED = ("tests/e2e/", "tests/infra/")
"""Folders whose files share a fixture that is slow to make. One process runs all of each."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Divide the tests between the processes of `make test` by file, or by folder for `SHARED`."""
    from xdist.scheduler import LoadScopeScheduling

    def part(nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in SHARED if file.startswith(folder)), file)

    made = LoadScopeScheduling(config, log)
    made._split_scope = part
    return made


@pytest.fixture(scope="session", autouse=True)
def _no_socket_left() -> Iterator[None]:
    """Close the socket that the X-Ray SDK opens when moto imports it, and never closes."""
    yield
    if core := sys.modules.get("aws_xray_sdk.core"):
        core.xray_recorder.emitter._socket.close()
