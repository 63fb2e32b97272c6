"""`sluice check` against servers that break its rules."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from cli.commands.check.probes import Finding, Target
from cli.commands.check.report import check, run
from cli.commands.check.wire import Server
from cli.lib.project import CommandError


def chunk(content: str | None = None, **fields: Any) -> bytes:
    """Return a chunk of a careless server: it has no role first and no finish reason."""
    choice = {"index": 0, "delta": {} if content is None else {"content": content}}
    return (
        b"data: "
        + json.dumps({"id": "x", "object": "chunk", "choices": [choice], **fields}).encode()
        + b"\n\n"
    )


class Careless(BaseHTTPRequestHandler):
    """A careless API.

    Its errors have a shape of their own, and it sends a stream only when it is complete.
    """

    answers: ClassVar[list[bytes]] = [
        b"event: message\n",
        *[chunk(f" word{number}") for number in range(9)],
        b"\n",
    ]
    protocol_version = "HTTP/1.0"

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        """List a model."""
        self._send(200, b'{"object": "list", "data": [{"id": "m"}]}')

    def do_POST(self) -> None:
        """Answer any request."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            request = json.loads(body)
        except ValueError:
            self._send(422, b'{"detail": [{"loc": ["body"], "msg": "Input should be valid JSON"}]}')
            return
        if request.get("stream"):
            self._send(200, b"".join(self.answers), "text/plain")
        else:
            self._send(200, b'{"id": "x", "choices": [{"index": 0, "message": {"content": "hi"}}]}')

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (its name in the base class)
        """Print nothing."""


@pytest.fixture
def careless() -> Iterator[str]:
    """Serve the careless API."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Careless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()


def test_every_carelessness_is_named(careless: str) -> None:
    """Every rule that a server breaks is reported, with what was seen."""
    findings = {
        finding.rule: finding
        for finding in run(
            Target(Server(careless, "k"), "m", failing_prompt="x", silent_prompt="x")
        )
    }
    for rule, words in {
        "errors: a wrong key": "status 200",
        "errors: a body that is not JSON": "status 422",
        "whole: types and usage": "created",
        "whole: request id": "no x-request-id",
        "stream: content type": "text/plain",
        "stream: framing": "'event:'",
        "stream: order": "[DONE]",
        "stream: types": "created",
        "stream: usage when requested": "no usage",
        "tools: a required call": "no tool",
        "structure: a JSON schema": "not JSON",
        "failure: an answer that breaks off says so": "clients take it for complete",
    }.items():
        assert findings[rule].verdict == "wrong", findings[rule]
        assert words in findings[rule].seen
    assert findings["models: listed"].verdict == "ok"


def test_exit_status_and_json(careless: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An API that breaks a rule fails the command. The JSON has all findings."""
    with pytest.raises(CommandError, match="rules do not hold"):
        check(careless, key="k", as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert (report["conforms"], report["model"]) == (False, "m")
    assert {Finding(**finding).verdict for finding in report["findings"]} == {
        "ok",
        "wrong",
        "unknown",
    }


def test_no_server() -> None:
    """For an address without a server, the error is one line."""
    with pytest.raises(CommandError, match="refused"):
        check("http://127.0.0.1:9/v1", key="k")
