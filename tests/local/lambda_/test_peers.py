"""The owner of a peer's socket, as Linux reports it."""

import os
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
    monkeypatch.setattr(os, "getuid", lambda: 0 if root else 1000)
    assert peers.is_same_user(Transport()) == ((user, inode) == (0, 77) if root else ours)
