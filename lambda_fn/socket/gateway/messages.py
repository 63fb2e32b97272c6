"""What API Gateway invokes the function with. Pure.

`$connect` is a proxy integration with the whole event. `$default` and `$disconnect` are invoked
asynchronously, with what the request template of `infra.constructs.websocket_api` makes.

Lambda tells of an asynchronous invocation that failed, with its event. The control function then
invokes the one that answers, by `begin_event`.
"""

import base64
import binascii
import contextlib
import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from lambda_fn.ids import new_request_id

TICKET_PARAMETER = "ticket"
TICKET_PROTOCOL = "ticket."
"""The prefix of the subprotocol that has a ticket."""
_MAX_PROTOCOLS = 20


_TOO_OLD = "EventAgeExceeded"
_BEGIN = "BEGIN"


class InvalidEvent(Exception):
    """The event is none of a WebSocket API."""


class _Identity(msgspec.Struct):
    sourceIp: str = ""  # noqa: N815 (AWS's name)


class _Context(msgspec.Struct):
    connectionId: str = ""  # noqa: N815 (AWS's name)
    eventType: str = ""  # noqa: N815 (AWS's name)
    messageId: str = ""  # noqa: N815 (AWS's name)
    requestTimeEpoch: int = 0  # noqa: N815 (AWS's name)
    identity: _Identity = msgspec.field(default_factory=_Identity)
    requestId: str = ""  # noqa: N815 (AWS's name)
    condition: str = ""


class _Event(msgspec.Struct):
    requestContext: _Context  # noqa: N815 (AWS's name)
    headers: dict[str, str] = {}  # msgspec makes a new dict for each
    queryStringParameters: dict[str, str] | None = None  # noqa: N815 (AWS's name)
    body: str = ""
    names: list[str] = []
    requestPayload: msgspec.Raw = msgspec.Raw()  # noqa: N815 (AWS's name)


class Opening(msgspec.Struct, frozen=True):
    """A client opens a socket. Names of headers are in lower case."""

    connection_id: str
    headers: dict[str, str]
    address: str
    ticket: str | None
    protocols: tuple[str, ...]

    @property
    def protocol(self) -> str | None:
        """The subprotocol to choose: the first one that has no ticket, or else that one.

        A browser closes a socket whose server chooses none of those that it offers.
        """
        others = [name for name in self.protocols if not name.startswith(TICKET_PROTOCOL)]
        return next(iter(others or self.protocols), None)


class Message(msgspec.Struct, frozen=True):
    """A client sent a message. `sent` is when API Gateway took it, in Unix seconds.

    `name` is the same for the same message: the id of the response that it may make.
    """

    connection_id: str
    name: str
    sent: float
    body: bytes


class Closing(msgspec.Struct, frozen=True):
    """A socket was closed or lost."""

    connection_id: str


class Begin(msgspec.Struct, frozen=True):
    """Requests of a socket whose turn has come."""

    connection_id: str
    names: tuple[str, ...]


class Failure(msgspec.Struct, frozen=True):
    """An asynchronous invocation failed, or no function was free for its event in time.

    `invocation` is its request id, and `event` its event, None if that is no event of a socket.
    """

    invocation: str
    is_too_old: bool
    event: Message | Closing | Begin | None


_decoder = msgspec.json.Decoder(_Event)


def begin_event(connection_id: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the event that is read as `Begin`."""
    context = {"connectionId": connection_id, "eventType": _BEGIN}
    return {"requestContext": context, "names": names}


def read(event: bytes) -> Opening | Message | Closing | Begin | Failure:
    """Return what an event means.

    Raises:
        InvalidEvent: it has another form.

    """
    try:
        found = _decoder.decode(event)
        context = found.requestContext
        if found.requestPayload:
            return _failure(context, bytes(found.requestPayload))
        if context.eventType == "CONNECT":
            return _opening(found)
        if context.eventType == "DISCONNECT":
            return Closing(context.connectionId)
        if context.eventType == "MESSAGE":
            return _message(found)
        if context.eventType == _BEGIN:
            return Begin(context.connectionId, tuple(found.names))
    except (msgspec.DecodeError, UnicodeError, binascii.Error, ValueError, RecursionError) as error:
        raise InvalidEvent(f"not an event of a WebSocket API: {type(error).__name__}") from None
    raise InvalidEvent("an event of an unknown type")


def _failure(context: _Context, payload: bytes) -> Failure:
    event = None
    with contextlib.suppress(InvalidEvent):
        found = read(payload)
        event = None if isinstance(found, Opening | Failure) else found
    return Failure(context.requestId, context.condition == _TOO_OLD, event)


def _opening(event: _Event) -> Opening:
    headers = {name.lower(): value for name, value in event.headers.items()}
    offered = headers.get("sec-websocket-protocol", "").split(",", _MAX_PROTOCOLS)
    protocols = tuple(name for part in offered if (name := part.strip()))
    query = event.queryStringParameters or {}
    in_protocols = [
        name.removeprefix(TICKET_PROTOCOL) for name in protocols if name.startswith(TICKET_PROTOCOL)
    ]
    ticket = next(iter(in_protocols), None) or query.get(TICKET_PARAMETER)
    context = event.requestContext
    return Opening(context.connectionId, headers, context.identity.sourceIp, ticket, protocols)


def _message(event: _Event) -> Message:
    context = event.requestContext
    sent = context.requestTimeEpoch / 1000
    unique = hashlib.sha256(f"{context.connectionId} {context.messageId}".encode()).digest()
    return Message(
        context.connectionId,
        new_request_id(sent, unique),
        sent,
        base64.b64decode(event.body, validate=True),
    )
