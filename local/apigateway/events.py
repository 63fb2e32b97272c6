"""The events of routes, with which integrations are invoked. Pure.

Source: the API Gateway developer guide, "Understand integration types for WebSocket APIs" and
"WebSocket API mapping template reference"; the members of a disconnect are unconfirmed.
"""

import secrets
import string
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from urllib.parse import parse_qsl

_LETTERS = string.ascii_letters + string.digits
Kind = Literal["CONNECT", "MESSAGE", "DISCONNECT"]


@dataclass(frozen=True)
class Peer:
    """A connection as events name it. `connected` is Unix time in seconds."""

    connection_id: str
    api_id: str
    stage: str
    domain: str
    source_ip: str
    user_agent: str
    connected: float


def new_id() -> str:
    """Return the id of a connection, in AWS's form."""
    return "".join(secrets.choice(_LETTERS) for _ in range(15)) + "="


def context(peer: Peer, route: str, kind: Kind, now: float) -> dict[str, Any]:
    """Return the `requestContext` of an event, which mapping templates know as `$context`."""
    moment = datetime.fromtimestamp(now, UTC)
    identity = {"sourceIp": peer.source_ip}
    if peer.user_agent:
        identity["userAgent"] = peer.user_agent
    values: dict[str, Any] = {
        "routeKey": route,
        "eventType": kind,
        "extendedRequestId": new_id(),
        "requestTime": moment.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "messageDirection": "IN",
        "stage": peer.stage,
        "connectedAt": int(peer.connected * 1000),
        "requestTimeEpoch": int(now * 1000),
        "identity": identity,
        "requestId": new_id(),
        "domainName": peer.domain,
        "connectionId": peer.connection_id,
        "apiId": peer.api_id,
    }
    if kind == "MESSAGE":
        values["messageId"] = str(uuid.uuid4())
    return values


def connect(
    values: dict[str, Any], headers: Iterable[tuple[str, str]], query: str
) -> dict[str, Any]:
    """Return the event of `$connect`. Of a repeated header or parameter, the last one counts."""
    many: dict[str, list[str]] = {}
    for name, text in headers:
        many.setdefault(name, []).append(text)
    event = {
        "headers": {name: texts[-1] for name, texts in many.items()},
        "multiValueHeaders": many,
        "requestContext": values,
        "isBase64Encoded": False,
    }
    if query:
        parameters: dict[str, list[str]] = {}
        for name, text in parse_qsl(query, keep_blank_values=True):
            parameters.setdefault(name, []).append(text)
        event["queryStringParameters"] = {name: texts[-1] for name, texts in parameters.items()}
        event["multiValueQueryStringParameters"] = parameters
    return event


def text(values: dict[str, Any], body: str) -> dict[str, Any]:
    """Return the event of a message."""
    return {"requestContext": values, "body": body, "isBase64Encoded": False}


def disconnect(values: dict[str, Any], domain: str, code: int, reason: str) -> dict[str, Any]:
    """Return the event of `$disconnect`."""
    headers = {"Host": domain, "x-api-key": "", "x-restapi": ""}
    return {
        "headers": headers,
        "multiValueHeaders": {name: [value] for name, value in headers.items()},
        "requestContext": {
            **values,
            "disconnectStatusCode": code,
            "disconnectReason": reason,
        },
        "isBase64Encoded": False,
    }
