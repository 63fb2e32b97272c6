"""Settings and fixtures for all tests."""

import gc
import sys
import warnings
from collections.abc import Generator, Iterator

import botocore.loaders
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
for _phase in ("connect", "read", "write", "pool"):
    setattr(DEFAULT_TIMEOUT_CONFIG, _phase, 60.0)


# A test makes many objects and leaves few cycles. With the thresholds of Python, the collector
# takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)


# boto3 reads what a service is like from JSON of up to megabytes, once in each session. Here, all
# sessions have one cache. Nobody changes what is in it.
_FILES: dict[object, object] = {}


class _Loader(botocore.loaders.Loader):  # type: ignore[misc] # botocore is untyped
    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self._cache = _FILES


botocore.loaders.Loader = _Loader


def _without_jsii(unraisable: "sys.UnraisableHookArgs") -> None:
    """Report what cannot be raised, but not that jsii's process was ended by Ctrl-C before jsii."""
    ended = isinstance(unraisable.exc_value, BrokenPipeError)
    if not ended or "_NodeProcess.stop" not in repr(unraisable.object):
        sys.__unraisablehook__(unraisable)


sys.unraisablehook = _without_jsii


def pytest_keyboard_interrupt() -> None:
    """End without a traceback for each temporary folder of a test that Ctrl-C has ended."""
    warnings.simplefilter("ignore", ResourceWarning)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without the garbage collector, which takes half of the time.

    It would look at hundreds of thousands of objects again and again, and all of them stay. Later
    it does not look at them either.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


CLOUDS = (
    "tests/e2e/",
    *(
        f"tests/e2e/test_{name}.py"
        for name in (
            "cancel",
            "chaos",
            "faults",
            "filters",
            "load",
            "permissions",
            "recall",
            "repeats",
            "verify",
        )
    ),
)
"""The tests over a local cloud. The files that are named here have one of their own, so that two
processes of `make test` share them, and take about the same time.
"""
SHARED = (CLOUDS[0], "tests/infra/")
"""Folders whose files share a fixture that is slow to make. One process runs all of each."""


def _part(nodeid: str) -> str:
    """Return the part of `make test` that a test belongs to. One process runs all of a part."""
    file = nodeid.partition("::")[0]
    if file in CLOUDS:
        return "the second cloud"
    return next((folder for folder in SHARED if file.startswith(folder)), file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort the tests so that `make test` begins with the parts that take the longest."""
    if hasattr(config, "workerinput"):
        parts = {_part(item.nodeid): item.nodeid.startswith(SHARED) for item in items}
        first = sorted(parts, key=lambda part: (not parts[part], not part.startswith("the")))
        items.sort(key=lambda item: first.index(_part(item.nodeid)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Divide the tests between the processes of `make test` by their parts, in their order."""
    from xdist.scheduler import LoadScopeScheduling

    config.option.loadscopereorder = False
    made = LoadScopeScheduling(config, log)
    made._split_scope = _part
    return made


@pytest.fixture(scope="session", autouse=True)
def _no_socket_left() -> Iterator[None]:
    """Close the socket that the X-Ray SDK opens when moto imports it, and never closes."""
    yield
    if core := sys.modules.get("aws_xray_sdk.core"):
        core.xray_recorder.emitter._socket.close()
