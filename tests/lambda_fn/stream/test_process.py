"""The process of a function of the public API: its event loop."""

import asyncio
import subprocess
import sys

import pytest

from lambda_fn.stream.process import run_in_loop
from tests.support.loops import LOOPS


async def _running() -> type[asyncio.AbstractEventLoop]:
    return type(asyncio.get_running_loop())


@pytest.mark.parametrize("name", LOOPS)
def test_the_event_loop_is_that_of_the_setting(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process runs in the event loop that its deployment has chosen."""
    monkeypatch.setenv("SLUICE_EVENT_LOOP", name)
    expected = LOOPS[name]()
    expected.close()
    assert run_in_loop(_running()) is type(expected)


def test_uvloop_is_not_imported_without_the_setting() -> None:
    """A cold start does not pay for what its deployment has not chosen, and needs no uvloop."""
    code = (
        "import sys; sys.modules['uvloop'] = None; "
        "from lambda_fn.stream.process import run_in_loop; "
        "exec('async def main(): return 7'); print(run_in_loop(main()))"
    )
    completed = subprocess.run(
        [sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True
    )
    assert completed.stdout == "7\n"
