"""The stand-in for DynamoDB. It accepts every write at once, or some milliseconds later.

    python -m bench.adapter.table [MILLISECONDS]        prints its port

It stores one account without limits, and that account's requests in flight, because the meter reads
them from the response, and the heads of logged responses. It stores nothing else. Other tests run
the meter over a table that stores everything. It is one thread over epoll, like the endpoint, so
that the benchmark does not measure the table.
"""

import contextlib
import select
import socket
import sys
import time
from collections import deque
from typing import Any

import msgspec

from lambda_fn.aws.attributes import wrap_all
from lambda_fn.metering import accounts
from lambda_fn.stream_log.keys import WATCHED

KEY = "sk-aaaaaaaaaaaa-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
_REPLY = (
    b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n%b"
)
_ACCOUNT = {"S": "ACCOUNT"}
_HEAD = {"S": "HEAD"}
_NOTHING = _REPLY % (2, b"{}")


class _Keys(msgspec.Struct):
    Keys: list[dict[str, dict[str, str]]]


class _Call(msgspec.Struct):
    RequestItems: dict[str, _Keys] = {}
    Item: dict[str, dict[str, Any]] = {}
    KeyConditionExpression: str = ""
    Key: dict[str, dict[str, str]] = {}
    UpdateExpression: str = ""
    ReturnValues: str = ""
    ExpressionAttributeNames: dict[str, str] = {}  # msgspec makes a new dict for each request
    ExpressionAttributeValues: dict[str, dict[str, Any]] = {}


_decode = msgspec.json.Decoder(_Call).decode


def _is_of_a_log(call: _Call) -> bool:
    if call.RequestItems:
        return True
    partition = (call.Item or call.Key).get("pk") or call.ExpressionAttributeValues.get(":pk", {})
    return str(partition.get("S", "")).startswith("R#")


class Heads:
    """The heads of logged responses. Segments are accepted and forgotten."""

    def __init__(self) -> None:
        """Begin without heads."""
        self._heads: dict[str, dict[str, Any]] = {}

    def take(self, call: _Call) -> bytes:
        """Carry out a call. Return the HTTP response."""
        if call.Item:
            if call.Item["sk"] == _HEAD:
                self._heads[call.Item["pk"]["S"]] = call.Item
            return _NOTHING
        if call.RequestItems:
            found = {
                table: [self._watched(key) for key in asked.Keys if key["sk"] == _HEAD]
                for table, asked in call.RequestItems.items()
            }
            return _answer({"Responses": found, "UnprocessedKeys": {}})
        if call.KeyConditionExpression:
            values = call.ExpressionAttributeValues
            is_head = values.get(":prefix") == _HEAD
            head = self._heads.get(values[":pk"]["S"])
            return _answer({"Items": [head] if is_head and head else []})
        head = self._heads.get(call.Key["pk"]["S"], {})
        for placeholder, value in call.ExpressionAttributeValues.items():
            if placeholder.startswith(":new_"):
                head[placeholder.removeprefix(":new_")] = value
        return _answer({"Attributes": head}) if call.ReturnValues == "ALL_NEW" else _NOTHING

    def _watched(self, key: dict[str, dict[str, str]]) -> dict[str, Any]:
        """Return what a producer's environment reads of a head."""
        head = self._heads.get(key["pk"]["S"], {})
        return {**key, **{name: head[name] for name in WATCHED if name in head}}


def _answer(value: Any) -> bytes:
    answer = msgspec.json.encode(value)
    return _REPLY % (len(answer), answer)


class Account:
    """The one account that the table stores."""

    def __init__(self) -> None:
        """Begin with no request in flight."""
        self._heads = Heads()
        self._in_flight: dict[str, dict[str, Any]] = {}
        self._item = wrap_all(accounts.new_account(KEY, name="bench", now=0))
        self._item["in_flight"] = {"M": self._in_flight}

    def take(self, body: bytes) -> bytes:
        """Carry out a call. Return the HTTP response."""
        call = _decode(body)
        if _is_of_a_log(call):
            return self._heads.take(call)
        request = call.ExpressionAttributeNames.get("#request", "")
        if "REMOVE in_flight.#request" in call.UpdateExpression:
            self._in_flight.pop(request, None)
        elif "in_flight.#request = " in call.UpdateExpression:
            self._in_flight[request] = call.ExpressionAttributeValues[":entry"]
        # a read, by which an environment verifies the key
        if not call.UpdateExpression and call.Key.get("sk") == _ACCOUNT:
            return _answer({"Item": self._item})
        return _answer({"Attributes": self._item}) if call.ReturnValues == "ALL_NEW" else _NOTHING


class Connection:
    """One connection. Its requests come one after another."""

    def __init__(self, sock: socket.socket, account: Account) -> None:
        """Begin before the first byte."""
        self._sock = sock
        self._account = account
        self._read = b""

    def take(self) -> bytes | None:
        """Read bytes, and return the answer to a complete request, which may be missing yet.

        None means that the connection has ended.
        """
        try:
            data = self._sock.recv(65536)
        except OSError:
            return None
        if not data:
            return None
        self._read += data
        head, separator, body = self._read.partition(b"\r\n\r\n")
        if separator:
            at = head.lower().index(b"content-length:") + 15
            length = int(head[at:].partition(b"\r\n")[0])
            if len(body) >= length:
                self._read = body[length:]
                return self._account.take(body[:length])
        return b""

    def send(self, answer: bytes) -> None:
        """Send an answer. Whoever has left gets none."""
        with contextlib.suppress(OSError):
            self._sock.sendall(answer)


def serve(listener: socket.socket, delay: float = 0.0) -> None:
    """Serve connections that `listener` accepts until killed. Each answer waits `delay` seconds."""
    account = Account()
    connections: dict[int, tuple[socket.socket, Connection]] = {}
    waiting: deque[tuple[float, Connection, bytes]] = deque()
    epoll = select.epoll()
    epoll.register(listener, select.EPOLLIN)
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        for number, _ in epoll.poll(timeout):
            if number == listener.fileno():
                sock, _ = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connections[sock.fileno()] = (sock, Connection(sock, account))
                epoll.register(sock, select.EPOLLIN)
                continue
            connection = connections[number][1]
            answer = connection.take()
            if answer is None:
                epoll.unregister(number)
                connections.pop(number)[0].close()
            elif answer and delay:
                waiting.append((time.monotonic() + delay, connection, answer))
            elif answer:
                connection.send(answer)
        while waiting and waiting[0][0] <= time.monotonic():
            _, connection, answer = waiting.popleft()
            connection.send(answer)


def main() -> None:
    """Listen on loopback, print the port, and serve until killed."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    serve(listener, float(sys.argv[1]) / 1e3 if len(sys.argv) > 1 else 0.0)


if __name__ == "__main__":
    main()
