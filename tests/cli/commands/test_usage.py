"""`sluice usage`. tests/e2e/test_keys_and_usage.py reports real usage."""

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.commands import usage
from cli.lib.admin_api import Admin
from cli.main import main


def test_an_id_of_any_characters_is_one_segment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An id with an ellipsis and a slash reaches the API quoted. The error is one line."""
    requested = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            requested.append(self.path)
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{"error": {"message": "That is no request id."}}')

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        api = Admin("local", {}, f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(usage, "admin", lambda *_: api)
        assert main(["usage", "request", "req_06/eqw2…"]) == 2
        thread.join()
    assert requested == ["/admin/v1/requests/req_06%2Feqw2%E2%80%A6"]
    assert capsys.readouterr().err == "✗ That is no request id.\n"


def test_csv_and_json_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """With both `--csv` and `--json` the command fails."""
    assert main(["usage", "--csv", "--json"]) == 2
    assert "exclude each other" in capsys.readouterr().err


@pytest.mark.parametrize(
    "month", ["9999-12", "0000-00", "0000-05", "2026-13", "2026-00", "٢٠٢٦-11"]
)
def test_an_impossible_month_is_named(month: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error names `--month`, not the days that are made of it."""
    with pytest.raises(SystemExit):
        main(["usage", "--month", month])
    assert f"Argument --month: {month!r} is not a month" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("month", "since", "until"),
    [
        ("2026-11", "2026-11-01", "2026-12-01"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("0001-01", "0001-01-01", "0001-02-01"),
        ("9999-11", "9999-11-01", "9999-12-01"),
    ],
)
def test_a_month_is_its_first_day_and_the_one_after_its_last(
    month: str, since: str, until: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API gets days that it can read."""
    asked = {}

    class Empty:
        def pages(self, path: str, **query: object) -> list[object]:
            asked[path] = query
            return []

    monkeypatch.setattr(usage, "admin", lambda *_: Empty())
    assert main(["usage", "--month", month]) == 0
    assert (asked["/usage"]["since"], asked["/usage"]["until"]) == (since, until)
