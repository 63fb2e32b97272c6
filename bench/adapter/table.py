"""The stand-in DynamoDB: takes every write, at once. `python -m bench.adapter.table` prints its port.

Of accounts it keeps one, without limits, and what is in flight on it, because the meter reads that from the answer; of
all else nothing. The tests hold the meter against a table that keeps everything.
"""

import asyncio
import sys
from typing import Any

import msgspec

from lambda_fn import accounts
from lambda_fn.aws.attributes import wrap_all

KEY = "sk-aaaaaaaaaaaa-AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
_REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-amz-json-1.0\r\ncontent-length: %d\r\n\r\n%b"
_NOTHING = _REPLY % (2, b"{}")


class _Call(msgspec.Struct):
    UpdateExpression: str = ""
    ReturnValues: str = ""
    ExpressionAttributeNames: dict[str, str] = {}  # msgspec makes a new dict for each
    ExpressionAttributeValues: dict[str, dict[str, Any]] = {}


_decode = msgspec.json.Decoder(_Call).decode


class Account:
    """The one account."""

    def __init__(self) -> None:
        """Begin with nothing in flight."""
        self._in_flight: dict[str, dict[str, Any]] = {}
        self._item = wrap_all(accounts.new_account(KEY, name="bench", now=0))
        self._item["in_flight"] = {"M": self._in_flight}

    def take(self, body: bytes) -> bytes:
        """Carry out a call; give the answer."""
        call = _decode(body)
        request = call.ExpressionAttributeNames.get("#request", "")
        if "REMOVE in_flight.#request" in call.UpdateExpression:
            self._in_flight.pop(request, None)
        elif "in_flight.#request = " in call.UpdateExpression:
            self._in_flight[request] = call.ExpressionAttributeValues[":entry"]
        if call.ReturnValues != "ALL_NEW":
            return _NOTHING
        answer = msgspec.json.encode({"Attributes": self._item})
        return _REPLY % (len(answer), answer)


class Connection(asyncio.Protocol):
    """One connection; requests come one after another."""

    def __init__(self, account: Account) -> None:
        """Begin with nothing read."""
        self._account = account
        self._transport: asyncio.Transport | None = None
        self._read = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer a request that is whole."""
        self._read += data
        head, found, body = self._read.partition(b"\r\n\r\n")
        if not found or self._transport is None:
            return
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if len(body) >= length:
            self._read = body[length:]
            self._transport.write(self._account.take(body[:length]))


async def serve() -> None:
    """Listen on loopback, say where, serve until killed."""
    account = Account()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(account), "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    sys.exit(asyncio.run(serve()))
