"""What all tests share."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hypothesis
import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

# A machine that does other things too makes examples slow, and fails no test.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> "LoadScopeScheduling":
    """Divide the tests by file between the processes of `make test`; folders whose files share what is dear, whole."""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return next((folder for folder in ("tests/e2e/", "tests/infra/") if file.startswith(folder)), file)

    return ByFile(config, log)  # type: ignore[arg-type]


@pytest.fixture(scope="session", autouse=True)
def _no_socket_left() -> Iterator[None]:
    """Close what the X-Ray SDK, which moto imports, opens when it is imported and would leave to the interpreter."""
    yield
    if core := sys.modules.get("aws_xray_sdk.core"):
        core.xray_recorder.emitter._socket.close()
