"""Asks the listener that llama.cpp opens beside its binding, on a socket in a private folder."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

from model.errors import EngineError

_SECONDS = 30.0


class _Connection(http.client.HTTPConnection):
    """A connection to a socket of the file system."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(_SECONDS)
        self.sock.connect(self._path)


def ask_listener(path: str, secret: str, target: str, asked: Any = None) -> dict[str, Any]:
    """Return the JSON object with which llama.cpp answers; `asked` is the body of a POST.

    Raises EngineError.
    """
    connection = _Connection(path)
    headers = {"authorization": f"Bearer {secret}", "content-type": "application/json"}
    body = None if asked is None else json.dumps(asked)
    try:
        connection.request("GET" if body is None else "POST", target, body, headers)
        response = connection.getresponse()
        data = response.read()
        if response.status != 200:
            raise EngineError(f"llama.cpp refused {target} with {response.status}")
        found: dict[str, Any] = json.loads(data)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise EngineError(f"llama.cpp did not answer {target} ({type(error).__name__})") from None
    finally:
        connection.close()
    return found
