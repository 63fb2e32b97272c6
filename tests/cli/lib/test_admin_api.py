"""Calls of the admin API."""

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from cli.lib import admin_api
from cli.lib.admin_api import Admin, KeyNotFoundError
from cli.lib.project import CommandError, UsageError
from tests.support.answers_once import answering


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


@pytest.mark.parametrize("throttled", [1, 4])
def test_a_call_that_lambda_throttles_is_repeated(
    throttled: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lambda's own 429 is no answer of the admin API: the function did not run."""
    monkeypatch.setattr(admin_api, "_PAUSES_S", (0.0, 0.0))
    left = throttled

    class Busy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal left
            status, body = (429, b'{"Message":"Rate Exceeded."}') if left else (200, b'{"data":[]}')
            left = max(left - 1, 0)
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Busy) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        api = Admin("dev", {}, f"http://127.0.0.1:{server.server_port}", "secret")
        try:
            if throttled == 1:
                assert api("GET", "/keys") == {"data": []}
            else:
                with pytest.raises(CommandError, match="busy"):
                    api("GET", "/keys")
                assert left == 1
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "does not answer"),
        (b"no HTTP\r\n\r\n", "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", "does not answer"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n{", "does not answer"),
        (b"HTTP/1.1 502 No\r\n\r\n<html>\xe9</html>", "answered 502"),
        (b"HTTP/1.1 502 No\r\n\r\n{", "answered 502"),
        (b'HTTP/1.1 403 No\r\n\r\n{"error": "no"}', "answered 403"),
        (b"HTTP/1.1 200 OK\r\n\r\n<html>\xe9</html>", "without JSON"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [', "without JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b'{"a":' * 100_000, "without JSON"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "without JSON"),
    ],
    ids=range(11),
)
def test_what_another_server_answers(answer: bytes, said: str) -> None:
    """A proxy or a cut connection is told in one line."""
    with answering(answer) as url, pytest.raises(CommandError, match=said):
        Admin("dev", {}, url, "secret")("GET", "/keys")


@pytest.mark.parametrize(
    ("status", "query", "kind", "said"),
    [
        (400, {"by": "taste"}, UsageError, "--by must be some of day, key."),
        (400, {}, UsageError, "'by' must be some of day, key."),
        (404, {"by": "taste"}, CommandError, "'by' must be some of day, key."),
    ],
)
def test_a_wrong_argument_is_named_as_an_option(
    status: int,
    query: dict[str, str],
    kind: type[CommandError],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A 400 is the command line's fault; where its field came from an option, that is named."""
    answer = {"error": {"message": "'by' must be some of day, key.", "param": "by"}}
    monkeypatch.setattr(Admin, "_send", lambda *_: (status, json.dumps(answer)))
    with pytest.raises(CommandError) as refused:
        Admin("local", {}, "http://localhost:1")("GET", "/usage", **query)
    assert (type(refused.value), str(refused.value)) == (kind, said)


@pytest.mark.parametrize(
    ("api_says", "said"),
    [
        ("'limits.tokens_per_day': must be 1.", "--tokens-per-day: must be 1."),
        ("'models.0': must be a name.", "--model: must be a name."),
        ("'since' must be before 'until'.", "--since must be before --until."),
        ("'taste': there is no such field.", "'taste': there is no such field."),
    ],
)
def test_fields_have_the_names_that_the_command_line_gives_them(
    api_says: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So have the items of lists, and each field of a sentence."""
    answer = {"error": {"message": api_says}}
    monkeypatch.setattr(Admin, "_send", lambda *_: (400, json.dumps(answer)))
    fields = {"limits.tokens_per_day": "--tokens-per-day", "models": "--model"}
    with pytest.raises(UsageError) as refused:
        Admin("local", {}, "http://localhost:1", fields=fields)("GET", "/usage", since=1, until=2)
    assert str(refused.value) == said


def test_an_unknown_key_names_the_command_that_lists_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API's own sentence comes first."""
    answer = {"error": {"message": "There is no such key.", "code": "key_not_found"}}
    monkeypatch.setattr(Admin, "_send", lambda *_: (404, json.dumps(answer)))
    with pytest.raises(KeyNotFoundError, match=r"^There is no such key\. `sluice keys list` shows"):
        Admin("local", {}, "http://localhost:1")("GET", "/keys/abcdefghijkl")
