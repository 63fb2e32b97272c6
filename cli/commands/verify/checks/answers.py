"""Checks of answers that do not end with one HTTP request: sockets, background, conversations."""

import json
import ssl
import time
from typing import Any

from cli.commands.verify.registry import Check, Outcome, Wave, absent, decided, refuted, unknown
from cli.commands.verify.target import Target

_PATH = "/v1/responses"
_ENDS = ("response.completed", "response.incomplete", "response.failed", "error")
_SOCKET_S = 60.0
_NO_SOCKETS = "the deployment has no sockets: deploy with -c websocket=true"
_STRANGE = 'no JSON: " \\ \\u0041 {} $context.connectionId ü \u2028 \U0001f600'
"""A message that a template could escape, replace or break."""
_OVER_A_FRAME = 33_000
_CLOCKS_DIFFER = 5.0
"""Seconds by which this clock and that of the logs may differ."""
LONG_INPUT = "Count from one to one thousand in words."
_LONG = 512
"""Tokens of an answer that is cancelled: more than it has before the cancel comes."""


def sockets(target: Target) -> Outcome:
    """Check that two lanes of one socket are answered, and a wrong key opens none."""
    base = target.outputs.get("WebSocketBaseUrl")
    if base is None:
        return absent(_NO_SOCKETS)
    from websockets.exceptions import InvalidStatus, WebSocketException

    ends: dict[str, str] = {}
    try:
        with _opened(target, base, target.key) as socket:
            for lane in ("a", "b"):
                create = {"type": "response.create", "stream_id": lane, **_asked(target)}
                socket.send(json.dumps(create))
            until = time.monotonic() + _SOCKET_S
            while len(ends) < 2:
                event = json.loads(socket.recv(timeout=max(until - time.monotonic(), 0)))
                if event["type"] in _ENDS:
                    ends[event.get("stream_id", "")] = event["type"]
    except (OSError, WebSocketException) as error:
        return refuted(f"{ends} had ended when the socket broke: {error or type(error).__name__}")
    wrong = [f"lane {lane}: {end}" for lane, end in ends.items() if end not in _ENDS[:2]]
    try:
        _opened(target, base, f"sk-{'a' * 12}-{'b' * 43}").close()
        wrong.append("a wrong key has opened a socket")
    except InvalidStatus as error:
        if error.response.status_code != 401:
            wrong.append(f"a wrong key: {error.response.status_code}")
    return decided(wrong, "two lanes were answered on one socket; a wrong key got a 401")


def socket_message(target: Target) -> Outcome:
    """Check that a message which is no JSON reaches the function and is answered by it."""
    base = target.outputs.get("WebSocketBaseUrl")
    if base is None:
        return absent(_NO_SOCKETS)
    from websockets.exceptions import WebSocketException

    try:
        with _opened(target, base, target.key) as socket:
            socket.send(_STRANGE)
            event = json.loads(socket.recv(timeout=_SOCKET_S))
    except (OSError, WebSocketException, ValueError) as error:
        return refuted(f"no answer: {error or type(error).__name__}")
    wrong = [] if event.get("type") == "error" else [f"the answer is {event}"]
    return decided(wrong, f"an error event: {event.get('error', {}).get('message')}")


def socket_close(target: Target) -> Outcome:
    """Check that a frame over 32 kB closes the socket with 1009."""
    base = target.outputs.get("WebSocketBaseUrl")
    if base is None:
        return absent(_NO_SOCKETS)
    from websockets.exceptions import ConnectionClosed, WebSocketException

    try:
        with _opened(target, base, target.key) as socket:
            socket.send(json.dumps({"type": "response.create", "input": "x" * _OVER_A_FRAME}))
            return refuted(f"answered: {socket.recv(timeout=_SOCKET_S)[:200]!r}")
    except ConnectionClosed as closed:
        code = None if closed.rcvd is None else closed.rcvd.code
        return decided([] if code == 1009 else [f"closed with {code}"], "closed with 1009")
    except (OSError, WebSocketException) as error:
        return refuted(f"no close: {error or type(error).__name__}")


def socket_cancel(target: Target) -> Outcome:
    """Check that a cancel on a socket ends the answer of its lane, by the control function."""
    base = target.outputs.get("WebSocketBaseUrl")
    if base is None:
        return absent(_NO_SOCKETS)
    from websockets.exceptions import WebSocketException

    end: dict[str, Any] = {}
    try:
        with _opened(target, base, target.key) as socket:
            long = {"input": LONG_INPUT, "max_output_tokens": _LONG, "store": False}
            create = {"type": "response.create", "stream_id": "a", **_asked(target), **long}
            socket.send(json.dumps(create))
            until, is_sent = time.monotonic() + _SOCKET_S, False
            while end.get("type") not in _ENDS:
                end = json.loads(socket.recv(timeout=max(until - time.monotonic(), 0)))
                if not is_sent and end["type"].endswith(".created"):
                    socket.send(json.dumps({"type": "response.cancel", "stream_id": "a"}))
                    is_sent = True
    except (OSError, WebSocketException) as error:
        return refuted(f"no end: {error or type(error).__name__}")
    status = end.get("response", {}).get("status", end["type"])
    if status in ("completed", "incomplete"):
        return unknown(f"the answer was {status} before it could be cancelled")
    return decided([] if status == "cancelled" else [f"the answer is {status}"], "cancelled")


def socket_failure(target: Target) -> Outcome:
    """Check that the control function is told of an invocation of the answering one that failed."""
    name = target.outputs.get("SocketFunctionName")
    if name is None:
        return absent(_NO_SOCKETS)
    [control] = target.physical("AWS::Lambda::Function", "SocketControl")
    functions = target.client("lambda")
    configuration = functions.get_function_configuration(FunctionName=control)
    log_group, since = configuration["LoggingConfig"]["LogGroup"], time.time() - _CLOCKS_DIFFER
    asked = functions.invoke(
        FunctionName=f"{name}:live", InvocationType="Event", Payload=b'{"requestContext": {}}'
    )
    invocation = asked["ResponseMetadata"]["RequestId"]
    told = target.wait(lambda: target.log_lines(log_group, invocation, since))
    said = f"the control function was told of invocation {invocation}, which failed"
    return decided([] if told else [f"no line of {log_group} has {invocation}"], said)


def _opened(target: Target, base: str, key: str) -> Any:
    from websockets.sync.client import connect

    trust = ssl.create_default_context(cafile=target.authority) if base[:4] == "wss:" else None
    headers = {"authorization": f"Bearer {key}"}
    return connect(f"{base}/responses", additional_headers=headers, ssl=trust)


def background(target: Target) -> Outcome:
    """Check that a background answer is completed by an invocation that Lambda makes later."""
    variables = target.function["Environment"]["Variables"]
    if not json.loads(variables.get("SLUICE_BACKGROUND", "{}")).get("invoke"):
        return absent("answers have no invocation of their own: deploy with -c background=invoke")
    asked = target.send("POST", _PATH, {**_asked(target), "background": True})
    made = _body(asked)
    if (asked.status, made.get("status")) != (200, "queued"):
        return refuted(f"the request: {asked.status} {made.get('status')}")
    path = f"{_PATH}/{made['id']}"
    status = ""
    until = time.monotonic() + 2 * target.patience
    while status in ("", "queued", "in_progress") and time.monotonic() < until:
        status = str(_body(target.send("GET", f"{path}?wait=20")).get("status"))
    target.send("DELETE", path)
    wrong = [] if status in ("completed", "incomplete") else [f"the answer is {status}"]
    return decided(wrong, f"the answer was queued, and then {status}")


def webhook(target: Target) -> Outcome:
    """Check that the webhook is told of a background answer's end, and takes it."""
    if "WebhookSecretArn" not in target.outputs:
        return absent("no webhook is set: deploy with -c webhook_url=https://…")
    made = _body(target.send("POST", _PATH, {**_asked(target), "background": True}))
    if made.get("status") != "queued":
        return refuted(f"a background answer was not queued: {made.get('status')}")
    key = {"pk": {"S": "W#"}, "sk": {"S": str(made["id"]).removeprefix("resp_")}}
    table, dynamodb = target.outputs["StreamTableName"], target.client("dynamodb")
    notice: dict[str, Any] = {}

    def told() -> bool:
        nonlocal notice
        found = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True)
        notice = found.get("Item", {})
        return "told" in notice

    was_told = target.wait(told, patience=2 * target.patience)
    target.send("DELETE", f"{_PATH}/{made['id']}")
    if not notice:
        return refuted("the keeper has not noted the end of a background answer")
    attempts = notice["attempts"]["N"]
    wrong = [] if was_told else [f"the webhook has not taken the end after {attempts} calls"]
    return decided(wrong, f"{notice['status']['S']} was told, and answered with 2xx")


def conversations(target: Target) -> Outcome:
    """Check that a response appends its items to a conversation, which is read and deleted."""
    if "RecallFunctionName" not in target.outputs:
        return absent("persistence=off: there are no conversations")
    made = target.send("POST", "/v1/conversations", {})
    if made.status != 200:
        return refuted(f"a conversation could not be made: {made.status}")
    name = str(_body(made)["id"])
    path = f"/v1/conversations/{name}"
    answered = target.send("POST", _PATH, {**_asked(target), "conversation": name})
    items = _body(target.send("GET", f"{path}/items")).get("data", [])
    deleted = target.send("DELETE", path)
    gone = target.send("GET", path)
    target.send("DELETE", f"{_PATH}/{_body(answered).get('id')}")
    wrong = [] if answered.status == 200 else [f"the response: {answered.status}"]
    if len(items) != 2:
        wrong.append(f"the conversation has {len(items)} items, and not 2")
    if (deleted.status, gone.status) != (200, 404):
        wrong.append(f"deleted: {deleted.status}, and read after that: {gone.status}")
    return decided(wrong, "a response appended 2 items; then the conversation was deleted")


def _asked(target: Target) -> dict[str, Any]:
    return {"model": target.outputs["ModelName"], "input": "Say hello.", "max_output_tokens": 16}


def _body(response: Any) -> dict[str, Any]:
    """Return a body that is a JSON object; an empty one for any other."""
    try:
        found = json.loads(response.body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


CHECKS = (
    Check(
        "sockets",
        "API Gateway passes the status of `$connect` on to the client, invokes the socket function "
        "asynchronously by the header of the integration's template, and takes its posts to "
        "`@connections`",
        "`-c websocket=true`: two lanes of one socket are answered; a wrong key gets a 401",
        Wave.TRAFFIC,
        sockets,
        30,
    ),
    Check(
        "socket-message",
        "`$util.base64Encode($input.body)` is a message of a WebSocket as it was sent",
        "`-c websocket=true`: a message that is no JSON, with quotes, backslashes and characters "
        "beyond the BMP, is answered by the function's own error event",
        Wave.TRAFFIC,
        socket_message,
    ),
    Check(
        "socket-close",
        "API Gateway closes a WebSocket with 1009 for a frame over 32 kB",
        "`-c websocket=true`: a frame of 33 kB; the close code",
        Wave.TRAFFIC,
        socket_close,
    ),
    Check(
        "socket-cancel",
        "API Gateway chooses the route of a message by its `type`, so that a cancel reaches the "
        "control function, which may end what another function answers",
        "`-c websocket=true`: an answer is cancelled in mid-stream by its lane",
        Wave.TRAFFIC,
        socket_cancel,
    ),
    Check(
        "socket-failure",
        "Lambda tells the control function of each invocation for a message that failed, with the "
        "request id of that invocation, and may invoke it",
        "`-c websocket=true`: the answering function is invoked with an event of no socket; the "
        "control function logs the id of that invocation, which counts as one error",
        Wave.TRAFFIC,
        socket_failure,
        60,
    ),
    Check(
        "background-invoke",
        "the stream function may invoke its own alias asynchronously, and the event runs the "
        "queued answer",
        "`-c background=invoke`: a background answer is queued, and then completed",
        Wave.TRAFFIC,
        background,
        60,
    ),
    Check(
        "webhook",
        "the functions that end background answers may invoke the keeper by its name, and the "
        "keeper may read the webhook's secret and reaches the webhook",
        "`-c webhook_url=…`: a background answer ends, and the webhook takes the call",
        Wave.TRAFFIC,
        webhook,
        120,
        local=True,
    ),
    Check(
        "conversations",
        "the grants by partition and attribute in the stream table suffice for conversations, of "
        "the stream function and of the recall function",
        "a response in a conversation; the conversation has two items, and is deleted",
        Wave.TRAFFIC,
        conversations,
        20,
    ),
)
