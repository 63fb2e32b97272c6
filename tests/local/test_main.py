"""The local cloud as a process: a port that is in use."""

import socket
from pathlib import Path

import pytest

from local.cloud import LocalCloud, LocalCloudError


def test_taken_port(tmp_path: Path) -> None:
    """The error for a port that is in use is one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(LocalCloudError, match=f"port {port} is in use"):
            LocalCloud.start(tmp_path, port=port)
