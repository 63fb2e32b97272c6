"""The managed Python runtime's loop: runs the handler that `_HANDLER` names.

Each invocation has one buffered response. The machine's interpreter runs this file as a script, so
that the handler sees only the standard library, its package, and boto3 with what it needs, as in
AWS's runtime. The folder of boto3 is the script's argument.

Source: "Building a custom runtime" and "Define Lambda function handler in Python" of the Lambda
developer guide.
"""

import importlib
import json
import os
import sys
import time
import traceback
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_API = f"http://{os.environ.get('AWS_LAMBDA_RUNTIME_API', '')}/2018-06-01/runtime"


@dataclass
class Context:
    """The context object of a handler."""

    aws_request_id: str
    invoked_function_arn: str
    deadline_ms: int
    function_name: str = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "")
    function_version: str = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "")
    memory_limit_in_mb: str = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    log_group_name: str = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "")
    log_stream_name: str = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME", "")

    def get_remaining_time_in_millis(self) -> int:
        """Return the milliseconds until the invocation's deadline."""
        return max(0, self.deadline_ms - int(time.time() * 1000))


def _post(path: str, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{_API}/{path}", body, headers)  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as response:  # noqa: S310 - loopback
        response.read()


def _error(error: BaseException) -> bytes:
    lines = traceback.format_exception(error)
    print("[ERROR] " + "".join(lines), flush=True)
    content = {"errorMessage": str(error), "errorType": type(error).__name__, "stackTrace": lines}
    return json.dumps(content).encode()


def _load() -> Callable[[Any, Context], Any]:
    sys.path[0] = os.environ["LAMBDA_TASK_ROOT"]
    sys.path += sys.argv[1:]
    module, _, name = os.environ["_HANDLER"].rpartition(".")
    handler: Callable[[Any, Context], Any] = getattr(
        importlib.import_module(module.replace("/", ".")), name
    )
    return handler


def main() -> None:
    """Serve until the process is killed. End with status 1 if the handler cannot be imported."""
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr] # a pipe, which is the log
    try:
        handler = _load()
    except Exception as error:  # noqa: BLE001 - any error of the package's import
        _post("init/error", _error(error))
        sys.exit(1)
    while True:
        with urllib.request.urlopen(f"{_API}/invocation/next") as response:  # noqa: S310 - loopback
            event, headers = json.loads(response.read()), response.headers
        request_id = headers["Lambda-Runtime-Aws-Request-Id"]
        os.environ["_X_AMZN_TRACE_ID"] = headers["Lambda-Runtime-Trace-Id"]
        arn, deadline = (
            headers["Lambda-Runtime-Invoked-Function-Arn"],
            int(headers["Lambda-Runtime-Deadline-Ms"]),
        )
        try:
            body = json.dumps(handler(event, Context(request_id, arn, deadline))).encode()
        except Exception as error:  # noqa: BLE001 - any error of the handler
            _post(f"invocation/{request_id}/error", _error(error))
            continue
        _post(f"invocation/{request_id}/response", body)


if __name__ == "__main__":
    main()
