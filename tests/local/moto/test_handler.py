"""Connections to the control plane: they stay open, whatever the application does with a body."""

import http.client
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from werkzeug.serving import make_server

from local.moto.handler import Handler


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer with the body, or as the path says."""
    path = environ["PATH_INFO"]
    if path == "/fails":
        raise ValueError
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    read = b"" if path == "/unread" else environ["wsgi.input"].read()
    if path == "/written":
        start_response("200 OK", [])(b"written ")
    else:
        start_response("200 OK", [("X-Method", environ["REQUEST_METHOD"])])
    return [b"got ", read]


@pytest.fixture
def connection() -> Iterator[http.client.HTTPConnection]:
    """Yield a connection to a server. It fails where it would have to be opened again."""
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    client.connect()
    client.auto_open = 0
    yield client
    client.close()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("path", "status", "content"),
    [
        ("/", 200, b"got body"),
        ("/unread", 200, b"got "),
        ("/written", 200, b"written got body"),
        ("/fails", 500, b""),
        ("/empty", 204, b""),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_connection_stays_open(
    connection: http.client.HTTPConnection, path: str, status: int, content: bytes, chunked: bool
) -> None:
    """After each answer the next request goes over the same connection."""
    body: Any = iter([b"bo", b"dy"]) if chunked else b"body"
    connection.request("POST", path, body, encode_chunked=chunked)
    response = connection.getresponse()
    assert (response.status, response.read()) == (status, content)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"got "


def test_a_head_has_no_body(connection: http.client.HTTPConnection) -> None:
    """HEAD gets the headers, with the length of what GET would get."""
    connection.request("HEAD", "/")
    response = connection.getresponse()
    assert (response.getheader("X-Method"), response.getheader("Content-Length")) == ("HEAD", "4")
    assert response.read() == b""
    connection.request("GET", "/")
    assert connection.getresponse().status == 200


def test_a_long_body_that_nobody_reads(connection: http.client.HTTPConnection) -> None:
    """It is thrown away piece by piece, and the client gets its answer."""
    connection.request("POST", "/unread", b"x" * 5_000_000)
    assert connection.getresponse().read() == b"got "
    connection.request("GET", "/")
    assert connection.getresponse().status == 200


def test_a_client_that_says_so_is_let_go(connection: http.client.HTTPConnection) -> None:
    """A connection is closed for a client that wants it closed."""
    connection.request("GET", "/", headers={"Connection": "close"})
    assert connection.getresponse().read() == b"got "
    assert connection.sock.recv(1) == b""
