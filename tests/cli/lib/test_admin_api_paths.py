"""Ids in the paths of the admin API."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.commands import usage
from cli.lib.admin_api import Admin
from cli.main import main


def test_an_id_of_any_characters_is_one_segment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id with an ellipsis and a slash reaches the API quoted, and its refusal is one line."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "That is no request id."}}')

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        api = Admin("local", {}, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(usage, "admin", lambda _: api)
        assert main(["usage", "request", "req_06/eqw2…"]) == 1
        thread.join()
    assert asked == ["/admin/v1/requests/req_06%2Feqw2%E2%80%A6"]
    assert capsys.readouterr().err == "✗ That is no request id.\n"
