"""Calls of DynamoDB to a WSGI application, and moto as it is: `python -m tests.support.moto_calls`.

The program reads calls as lines of JSON, a list of an operation and a body, and prints the answer
to each, as `answered` returns it. Nothing of moto is patched in it.
"""

import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

Answer = list[Any]
"""Status, content type, error type and body of a response. The body is JSON, if it can be."""
Call = Callable[[str, bytes], Answer]

KIND = "application/x-amz-json-1.0"
SIGNED = (
    "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20261129/eu-west-1/dynamodb/aws4_request, "
    "SignedHeaders=host;x-amz-date, Signature=0"
)


def called(
    app: Callable[..., Iterable[bytes]], operation: str, body: bytes, **more: str
) -> tuple[int, dict[str, str], bytes]:
    """Call an application as a server would. Return status, headers and body of its response.

    The names of the headers are in lower case.
    """
    begun: list[Any] = []

    def start(status: str, headers: list[tuple[str, str]], _: object = None) -> None:
        begun[:] = [int(status.split()[0]), {name.lower(): value for name, value in headers}]

    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "HTTP_AUTHORIZATION": SIGNED,
        "HTTP_X_AMZ_TARGET": f"DynamoDB_20120810.{operation}",
        "CONTENT_TYPE": KIND,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        **more,
    }
    content = b"".join(app(environ, start))
    status, headers = begun
    return status, headers, content


def answered(
    app: Callable[..., Iterable[bytes]], operation: str, body: bytes, **more: str
) -> Answer:
    """Call an application as a server would; return its answer, a 500 if it raises."""
    try:
        status, headers, content = called(app, operation, body, **more)
    except Exception:  # noqa: BLE001 - the local cloud answers so
        return [500, None, None, ""]
    if "x-amzn-requestid" not in headers or "x-amz-crc32" not in headers:
        return [status, None, None, "without an id or checksum"]
    try:
        decoded = json.loads(content)
    except ValueError:
        decoded = content.decode(errors="replace")
    return [status, headers.get("content-type"), headers.get("x-amzn-errortype"), decoded]


@contextmanager
def moto_as_it_is() -> Iterator[Call]:
    """Run the program, and yield a function that calls it."""
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "tests.support.moto_calls"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines, answers = process.stdin, process.stdout

        def call(operation: str, body: bytes) -> Answer:
            lines.write(json.dumps([operation, body.hex()]) + "\n")
            lines.flush()
            answer: Answer = json.loads(answers.readline())
            return answer

        yield call
        lines.close()


def main() -> None:
    """Answer calls until standard input ends."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

    app = DomainDispatcherApplication(create_backend_app)
    for line in sys.stdin:
        operation, body = json.loads(line)
        print(json.dumps(answered(app, operation, bytes.fromhex(body))), flush=True)


if __name__ == "__main__":
    main()
