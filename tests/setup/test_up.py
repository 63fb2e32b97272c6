"""`make up` is interrupted everywhere, and the next one mends what was left.

It is told if there is no room for a local cloud.
"""

import contextlib
import json
import signal
import socket

import pytest

from tests.support.checkout import UP_STEPS, Checkout, NoSuchStepError, left, mounted

pytestmark = pytest.mark.setup


def test_an_interrupted_up_is_mended(checkout: Checkout) -> None:
    """`make up` is interrupted where each step begins and within it; then it ends well.

    Meanwhile another program takes the port that the API had. After `make down` nothing is left.
    """
    checkout.complete("up")
    checkout.complete("down")
    for step, first, second in (
        *((step, signal.SIGINT, signal.SIGKILL) for step in UP_STEPS),
        (UP_STEPS[2], signal.SIGKILL, signal.SIGINT),
    ):
        try:
            checkout.interrupt(step, "at", first, "up")
        except NoSuchStepError:  # it had been done, and the rest ended well
            checkout.forget()
            checkout.interrupt(step, "at", first, "up")
        with contextlib.suppress(NoSuchStepError):  # likewise
            checkout.interrupt(step, "within", second, "up")
    checkout.complete("down")
    port = json.loads((checkout.folder / ".local/stack.json").read_text())["base_url"]
    with socket.socket() as taken:
        # Connections of the last local cloud wait for their end on the port.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # another program of this machine has it already
            taken.bind(("127.0.0.1", int(port.rpartition(":")[2].removesuffix("/v1"))))
            taken.listen()
        output = checkout.complete("up")
    assert "is taken by " in output
    assert "Ready after" in output
    checkout.complete("down")
    assert left(checkout) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [("-o size=1m", "MB are free on the disk of"), ("-o ro,size=9m", "Read-only file system")],
    ids=["full", "read-only"],
)
def test_a_disk_without_room_for_a_cloud_is_told(
    checkout: Checkout, options: str, told: str
) -> None:
    """Where `.local` is full or read-only, `make up` says so and leaves nothing behind."""
    local = checkout.folder / ".local"
    local.mkdir(exist_ok=True)
    status, output = mounted(checkout, f"mount -t tmpfs {options} none {local}", target="up")
    assert status != 0
    assert told in output
    assert "Traceback" not in output
    checkout.complete("down")
    assert left(checkout) == []
