"""Calls of the admin API by `lambda:InvokeFunction`."""

import socket
import threading

import pytest

from cli.lib import admin_api
from cli.lib.admin_api import Admin
from cli.lib.project import CommandError


def test_a_call_that_is_not_answered_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    """The function is invoked once: a repeat could make a second key whose secret is lost."""
    calls = 0
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            nonlocal calls
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    if connection.recv(65_536):
                        calls += 1  # and close the connection

        options = {
            "endpoint_url": f"http://127.0.0.1:{server.getsockname()[1]}",
            "region_name": "eu-central-1",
            "aws_access_key_id": "a",
            "aws_secret_access_key": "b",
        }
        monkeypatch.setattr(admin_api, "aws_options", lambda _: options)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(CommandError, match="cannot be invoked"):
            Admin("dev", {"AdminFunctionName": "f"}, None)("POST", "/keys", {"name": "n"})
        server.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert calls == 1
