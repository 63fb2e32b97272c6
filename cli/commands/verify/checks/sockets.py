"""Checks of sockets: the WebSocket API of API Gateway, and the functions behind it."""

import json
import time

from cli.commands.verify.registry import Check, Outcome, Wave, absent, proven, refuted
from cli.commands.verify.target import Target
from cli.commands.verify.web_socket import WebSocket

_STRANGE = 'no JSON: " \\ \\u0041 {} $context.connectionId ü \u2028 \U0001f600'
"""A message that a template could escape, replace or break."""
_LONGER_THAN_A_FRAME = 33_000


def _opened(target: Target) -> WebSocket | None:
    base = target.outputs.get("WebSocketBaseUrl")
    if base is None:
        return None
    return WebSocket(f"{base}/responses", target.key, authority=target.authority)


def _absent() -> Outcome:
    return absent("there are no sockets: deploy with -c websocket=true")


def message(target: Target) -> Outcome:
    """A message that is no JSON reaches the function as it was sent, and its answer comes back."""
    opened = _opened(target)
    if opened is None:
        return _absent()
    with opened as socket:
        began = time.monotonic()
        socket.send(_STRANGE)
        found = socket.receive()
    if isinstance(found, int):
        return refuted(f"the socket was closed with {found}")
    event = json.loads(found)
    if event.get("type") != "error":
        return refuted(f"the answer is no error event: {found[:200]}")
    return proven(f"an error event after {time.monotonic() - began:.2f} s")


def request(target: Target) -> Outcome:
    """A request is answered with events, and the cancel of another lane ends that one only."""
    opened = _opened(target)
    if opened is None:
        return _absent()
    text = 'ü " \\ \U0001f600'
    with opened as socket:
        for lane in ("a", "b"):
            body = {"model": target.outputs["ModelName"], "input": text, "max_output_tokens": 16}
            socket.send(json.dumps({"type": "response.create", "stream_id": lane, **body}))
        ends: dict[str, str] = {}
        while len(ends) < 2:
            found = socket.receive()
            if isinstance(found, int):
                return refuted(f"the socket was closed with {found}")
            event = json.loads(found)
            if event["type"] in ("response.completed", "response.incomplete"):
                ends[event["stream_id"]] = event["type"]
            elif event["type"] in ("response.failed", "error") or "message" in event:
                return refuted(found[:200])
    return proven("two lanes were answered to their ends")


def close_codes(target: Target) -> Outcome:
    """A frame over 32 kB closes the socket with 1009."""
    opened = _opened(target)
    if opened is None:
        return _absent()
    with opened as socket:
        socket.send(json.dumps({"type": "response.create", "input": "x" * _LONGER_THAN_A_FRAME}))
        found = socket.receive()
    if found == 1009:
        return proven("closed with 1009")
    return refuted(f"closed with {found}" if isinstance(found, int) else f"answered: {found[:200]}")


CHECKS = (
    Check(
        "socket-message",
        "`$util.base64Encode($input.body)` is a message of a WebSocket as it was sent, and an `AWS` "
        "integration with the header `X-Amz-Invocation-Type: 'Event'` does not wait",
        "a message that is no JSON, with quotes, backslashes and characters beyond the BMP, is "
        "answered by the function's own error event",
        Wave.TRAFFIC,
        message,
    ),
    Check(
        "socket-request",
        "the function posts to `@connections` of its API, with a path that is signed in the form "
        "that SigV4 wants, and two lanes stream beside each other",
        "two requests of 16 tokens in two lanes come to their ends",
        Wave.TRAFFIC,
        request,
        30,
    ),
    Check(
        "socket-close",
        "API Gateway closes a WebSocket with 1009 for a frame over 32 kB",
        "a frame of 33 kB; the close code",
        Wave.TRAFFIC,
        close_codes,
    ),
)
