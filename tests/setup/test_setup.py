"""`make setup` is interrupted everywhere, and the next one mends what was left.

`make test-setup` runs this. The packages come from the caches of pip, uv and npm, which the first
set-up fills; all others are without a network. `unshare` (Linux) mounts the disk that is full and
the one that is read-only. `-v` lists what is interrupted, where and how.
"""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import ROOT, STEPS, TOLD, Checkout, mounted

pytestmark = pytest.mark.setup


@pytest.mark.parametrize(
    ("first", "second"),
    [(signal.SIGINT, signal.SIGKILL), (signal.SIGKILL, signal.SIGINT)],
)
def test_an_interrupted_set_up_is_mended(
    checkout: Checkout, first: signal.Signals, second: signal.Signals
) -> None:
    """Each step is interrupted where it begins, and within it by the next set-up. Each gets past
    what the one before left, and the last one mends all.

    What Python shows of itself at Ctrl-C would hide make's line, which says that it was
    interrupted. If Ctrl-C comes in the moment in which make waits for a child that has just ended,
    GNU Make 4.3 says only that there is no child.
    """
    checkout.remove()
    for step in STEPS:
        checkout.interrupt(step, "at", first)
        said = checkout.interrupt(step, "within", second)
        if second is signal.SIGINT:
            assert "Traceback" not in said, (step, said)
            assert "Interrupt" in said or "wait: No child processes" in said, (step, said)
    checkout.complete()
    checkout.check()


def test_an_interrupted_update_is_mended(checkout: Checkout) -> None:
    """A set-up that brings a complete installation up to date may be interrupted, too."""
    checkout.complete()
    # Two files that are touched one after the other may have the same time.
    later = (checkout.folder / ".venv/.ready").stat().st_mtime_ns + 1_000_000
    os.utime(checkout.folder / "locks/dev.txt", ns=(later, later))
    checkout.interrupt("Python packages", "at", signal.SIGKILL)
    checkout.complete()
    checkout.check()


def test_an_environment_without_pip_is_mended(checkout: Checkout) -> None:
    """What earlier versions left after Ctrl-C has no mark, but no pip either."""
    checkout.remove()
    subprocess.run(
        ["python3", "-m", "venv", "--without-pip", ".venv"], cwd=checkout.folder, check=True
    )
    checkout.complete()
    checkout.check()


@pytest.mark.parametrize("writable", [True, False])
def test_downloads_have_a_place_without_a_home(tmp_path: Path, writable: bool) -> None:
    """Where the home folder cannot be written, uv and npm keep their downloads in `build/`."""
    told = "told: ; @echo $$UV_CACHE_DIR $$npm_config_cache"
    variables = {"UV_CACHE_DIR", "npm_config_cache"}
    environment = {name: text for name, text in os.environ.items() if name not in variables}
    environment["HOME"] = str(tmp_path) if writable else "/dev/null/home"
    printed = subprocess.run(
        ["make", "--silent", "--eval", told, "told"],
        cwd=ROOT,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    folders = [str(ROOT / "build/cache" / name) for name in ("uv", "npm")]
    assert printed.split() == ([] if writable else folders)


def kilobytes(folder: Path) -> int:
    """Return what the files of a folder take on a disk."""
    used = subprocess.run(["du", "-sk", folder], check=True, capture_output=True, text=True).stdout
    return int(used.split()[0])


@pytest.mark.parametrize(
    ("room", "needed", "told"),
    [
        (80, (), "MB are free on the disk of this folder"),
        (4, ("NEEDED=0",), TOLD),  # within the virtual environment
        (80, ("NEEDED=0",), TOLD),  # within the packages
    ],
)
def test_a_full_disk_is_told(
    checkout: Checkout, room: int, needed: tuple[str, ...], told: str
) -> None:
    """Too little space is told before the first step; a disk that gets full, at that step.

    `room` is what the disk has beside the checkout, in MB.
    """
    checkout.remove()
    there = checkout.folder
    size = f"{room * 1024 + kilobytes(there)}k"
    mount = (
        f"cp -a {there} {there}.copy; mount -t tmpfs -o size={size} none {there}; "
        f"cp -a {there}.copy/. {there}; rm -rf {there}.copy"
    )
    status, output = mounted(checkout, mount, *needed)
    assert status != 0
    assert told in output


def test_a_disk_that_was_full_is_mended(checkout: Checkout) -> None:
    """When there is room again, the next set-up ends well. This takes 1.2 GB of memory."""
    checkout.remove()
    there = checkout.folder
    mount = (
        f"cp -a {there} {there}.copy; mount -t tmpfs -o size=100m none {there}; "
        f"cp -a {there}.copy/. {there}; rm -rf {there}.copy; cd {there}; "
        f"! make setup NEEDED=0; mount -o remount,size=2g {there}"
    )
    status, output = mounted(checkout, mount, "NEEDED=0")
    assert status == 0, output
    assert TOLD in output


def test_a_read_only_folder_is_told(checkout: Checkout) -> None:
    """A folder that cannot be written stops the set-up at its first step, with the reason."""
    checkout.remove()
    there = checkout.folder
    mount = f"mount --bind {there} {there}; mount -o remount,bind,ro {there}"
    status, output = mounted(checkout, mount)
    assert status != 0
    assert "Read-only file system" in output
    assert TOLD in output
