"""Ports that are kept before anything listens on them."""

import os
import socket
import sys

import pytest

from local import listeners


def test_a_held_port_is_nobody_elses() -> None:
    """From `hold` on no other program gets the port. Connections are refused until `listen`."""
    with listeners.hold([0]) as held:
        port = held.getsockname()[1]
        with pytest.raises(OSError, match="in use"), socket.create_server(("127.0.0.1", port)):
            pass
        with listeners.hold([port, 0]) as next_one:
            assert next_one.getsockname()[1] != port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=60)
        listeners.listen(held)
        socket.create_connection(("127.0.0.1", port), timeout=60).close()


def test_the_holder_of_a_port_is_named() -> None:
    """The message has the port and, on Linux, the process that listens on it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        who = f"process {os.getpid()}" if sys.platform == "linux" else "another program"
        with pytest.raises(listeners.PortTaken, match=f"port {port} is in use by {who}"):
            listeners.hold([port])
