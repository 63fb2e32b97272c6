"""The owner of a peer's socket, as Linux reports it."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from local.lambda_ import peers


class Transport:
    """A connection from port 2 to port 1."""

    def get_extra_info(self, name: str) -> Any:
        """Return the address of one end."""
        return ("127.0.0.1", 1 if name == "sockname" else 2)


@pytest.mark.parametrize(
    ("user", "inode", "ours"),
    [(1000, 77, True), (1001, 77, False), (0, 0, False), (1000, 0, False), (0, 77, False)],
)
@pytest.mark.parametrize("root", [False, True])
def test_whose(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, user: int, inode: int, ours: bool, root: bool
) -> None:
    """Linux reports root for a closed socket, which is never this user's, even if it is root."""
    table = tmp_path / "tcp"
    table.write_text(
        "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  "
        "timeout inode\n"
        "   0: 0100007F:0002 0100007F:0001 06 00000000:00000000 03:00000000 00000000 "
        f"{user:5} 0 {inode} 3 00000000\n"
    )
    monkeypatch.setattr(peers, "_TABLE", table)
    monkeypatch.setattr(peers, "_asked", lambda own, peer: None)
    monkeypatch.setattr(os, "getuid", lambda: 0 if root else 1000)
    assert peers.is_same_user(Transport()) == ((user, inode) == (0, 77) if root else ours)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux's own interface")
def test_the_kernel_knows_a_socket_and_that_it_is_closed() -> None:
    """The kernel tells user and inode of one socket, as its table does. A closed one has neither.

    It knows nothing of a socket that is not there.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        here = server.getsockname()
        client = socket.create_connection(here)
        connection, there = server.accept()
        with connection:
            found = peers._asked(there, here)
            assert found == (os.getuid(), os.fstat(client.fileno()).st_ino)
            assert found == peers._listed(there, here)
            client.close()
            assert peers._asked(there, here) in {(0, 0), None}
            assert peers._asked(("127.0.0.1", 1), here) is None
