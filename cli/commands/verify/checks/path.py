"""Checks of a response's path: runtime, function URL, distribution, connection of the container."""

import json
import threading
import time
from collections.abc import Mapping
from typing import Any

from cli.commands.check.rules import wrong_error, wrong_order
from cli.commands.check.wire import Response, Stream, parse_stream
from cli.commands.verify.registry import (
    Check,
    Outcome,
    Wave,
    absent,
    decided,
    proven,
    refuted,
    unknown,
)
from cli.commands.verify.target import NoResponse, Target

_PAUSE_S = 3.0
_NOTICED_S = 8
"""The function notices a cancel with its next checkpoint, after 5 s at most."""
_HELD = 0.5
"""The part of a pause after which what was sampled before it counts as held back."""


def texts(stream: Stream) -> list[tuple[float, str]]:
    """Return the pieces of text in a stream, each with the time of its arrival."""
    return [
        (when, str(choice["delta"]["content"]))
        for when, data in stream.events
        if data != "[DONE]"
        for choice in json.loads(data).get("choices", [])
        if choice["delta"].get("content")
    ]


def wrapper(target: Target) -> Outcome:
    """The configuration names the wrapper, and the wrapped process answers and logs."""
    found = target.function
    seen = f"{found['Runtime']}, {', '.join(found['Architectures'])}"
    wrong = []
    if not found["Environment"]["Variables"].get("AWS_LAMBDA_EXEC_WRAPPER"):
        wrong.append("the function has no AWS_LAMBDA_EXEC_WRAPPER")
    began = time.time() - 60
    response = target.chat(stream=True, max_tokens=8)
    if response.status != 200:
        return refuted("; ".join([*wrong, f"status {response.status}"]))
    request = response.headers["x-request-id"].removeprefix("req_")
    lines = target.wait(lambda: target.log_lines(target.function_log, request, began))
    if not any('"event":"request"' in line.replace(" ", "") for line in lines):
        wrong.append(f"no line of the event 'request' has {request}")
    return decided(wrong, f"{seen}; the log has the request {request}")


def unbuffered(target: Target) -> Outcome:
    """What is sampled before a pause arrives before the pause ends, and tokens come one by one."""
    script = {"repeat": " w{i}", "count": 8, "rate": 5, "stall_after": 5, "seconds": _PAUSE_S}
    response = target.script(script, stream=True, max_tokens=32)
    pieces = texts(parse_stream(response))
    if response.status != 200 or len(pieces) < 8:
        return refuted(f"status {response.status}, {len(pieces)} of 8 tokens")
    gap = pieces[5][0] - pieces[4][0]
    packets = len({when for when, _ in pieces})
    seen = (
        f"8 tokens in {packets} packets; {gap:.2f} s between those around a pause of {_PAUSE_S} s"
    )
    wrong = []
    if gap < _HELD * _PAUSE_S:
        wrong.append(f"the token before the pause came only with the next one: {seen}")
    if packets < 5:
        wrong.append(f"tokens at 5 a second came together: {seen}")
    return decided(wrong, seen)


def heartbeat_of(target: Target) -> float:
    """Return the deployed function's longest silence in seconds."""
    return float(target.function["Environment"]["Variables"]["SLUICE_HEARTBEAT_SECONDS"])


def heartbeat(target: Target) -> Outcome:
    """A model that is silent for longer than a heartbeat is bridged by chunks without text."""
    silence = 2.5 * heartbeat_of(target)
    response = target.script({"say": ["late"], "first_after": silence}, stream=True, max_tokens=4)
    parsed = parse_stream(response)
    pieces = texts(parsed)
    if response.status != 200 or not pieces:
        return refuted(f"status {response.status}, no text after {silence:.0f} s of silence")
    early = {when for when, _ in parsed.events if when < pieces[0][0]}
    wrong = parsed.faults + wrong_order(parsed)
    if len(early) < 2:  # the role, and a heartbeat after it
        wrong.append(f"{len(early)} chunks came one by one in {silence:.0f} s of silence")
    return decided(wrong, f"{len(early)} chunks in {silence:.0f} s of silence, then the text")


def silent_start(target: Target) -> Outcome:
    """A request whose first token comes after 65 s is answered, and so is the next one."""
    if target.function["Environment"]["Variables"].get("SLUICE_ONE_CONNECTION") != "true":
        return absent("responses have connections of their own: deploy with -c one_connection=true")
    began = time.time()
    first = target.script({"say": ["late"], "first_after": 65}, stream=True, max_tokens=4)
    second = target.chat(stream=True, max_tokens=4)
    wrong = [
        f"{which}: status {response.status}{', cut' if response.cut else ''}"
        for which, response in (("after 65 s", first), ("the next one", second))
        if response.status != 200 or response.cut or b"[DONE]" not in response.body
    ]
    faults = [
        line
        for line in target.log_lines(target.function_log, "fault", began)
        if '"event":"fault"' in line and "ResponseBroken" not in line  # late-failure's own
    ]
    wrong += [f"the log has a fault: {faults[0][:200]}"] if faults else []
    return decided(wrong, "both were answered; the log has no fault")


def late_failure(target: Target) -> Outcome:
    """A whole answer that fails after its first byte does not look whole to a client."""
    response = target.script({"say": ["a", "b"], "first_after": 14, "fail_after": 1}, max_tokens=4)
    if response.status != 200:
        return unknown(f"the failure came before the first byte: status {response.status}")
    if response.cut:
        return proven("the transfer was closed early")
    if response.json() is None:
        return proven("the transfer ended well, but its body is not a JSON value")
    return refuted("the transfer ended well, and the body is a whole JSON value")


def left(target: Target) -> Outcome:
    """A container whose response stream was closed stops sampling."""
    runtime = target.client("sagemaker-runtime")
    names = {"EndpointName": target.outputs["EndpointName"]}
    if components := target.physical("AWS::SageMaker::InferenceComponent"):
        names["InferenceComponentName"] = components[0].rpartition("/")[2]
    script = {"repeat": " w", "count": 1200, "rate": 20}  # a minute
    body = {"messages": [{"role": "user", "content": json.dumps(script)}], "max_tokens": 1300}
    began = time.time()
    stream = runtime.invoke_endpoint_with_response_stream(
        **names, ContentType="application/json", Body=json.dumps(body)
    )["Body"]
    next(iter(stream))
    stream.close()
    time.sleep(60)
    points = target.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="ConcurrentRequestsPerModel",
        Dimensions=[
            {"Name": "EndpointName", "Value": target.outputs["EndpointName"]},
            {"Name": "VariantName", "Value": target.variant["VariantName"]},
        ],
        StartTime=began + 20,
        EndTime=began + 55,
        Period=10,
        Statistics=["Maximum"],
    )["Datapoints"]
    if not points:
        return unknown("CloudWatch has no ConcurrentRequestsPerModel of that minute")
    busiest = max(point["Maximum"] for point in points)
    seen = f"at most {busiest:.0f} requests ran from 20 s after the stream was closed"
    return proven(seen) if busiest < 1 else refuted(f"{seen}; no other traffic may run meanwhile")


class Running:
    """A request that runs in a thread, with a key of its own."""

    def __init__(self, target: Target, script: Mapping[str, Any], **fields: Any) -> None:
        """Send the request, and wait until it is in flight."""
        self._target = target
        self._key = target.make_key()
        self._answer: Response | NoResponse = NoResponse("there was no response")
        self._thread = threading.Thread(target=self._ask, args=(script, fields))
        self._thread.start()
        key = self._key.split("-")[1]
        target.wait(lambda: target.admin("GET", f"/keys/{key}")["in_flight"])

    def _ask(self, script: Mapping[str, Any], fields: dict[str, Any]) -> None:
        try:
            self._answer = self._target.script(script, key=self._key, **fields)
        except NoResponse as error:
            self._answer = error

    def revoke(self) -> Response | NoResponse:
        """Revoke the key, which cancels the request. Return the response."""
        self._target.admin("POST", f"/keys/{self._key.split('-')[1]}/revoke")
        self._thread.join()
        return self._answer


def cancel_routing(target: Target) -> Outcome:
    """Each answer of 20 that are cancelled ends in its container, on whichever instance it is."""
    if target.variant.get("InitialInstanceCount", 1) < 2:
        return absent("the endpoint has one instance: deploy with -c instance_count=2")
    began, tries = time.time(), []
    for _ in range(20):
        response = Running(
            target, {"repeat": " w", "count": 1200, "rate": 20}, stream=True, max_tokens=1300
        ).revoke()
        if isinstance(response, NoResponse):
            return refuted(str(response))
        request = response.headers["x-request-id"].removeprefix("req_")

        def cancels(request: str = request) -> list[dict[str, Any]]:
            lines = target.log_lines(target.function_log, request, began)
            found = [json.loads(line[line.index("{") :]) for line in lines if "{" in line]
            return [line for line in found if line.get("event") == "cancel"]

        lines = target.wait(cancels)
        if not lines or not lines[0]["cancelled"]:
            return refuted(f"no instance confirmed the cancel of {request}: {lines}")
        tries.append(lines[0]["tries"])
    return proven(f"20 of 20 were confirmed; tries: {sorted(tries)}")


def cancelled(target: Target) -> Outcome:
    """A whole answer that is cancelled before its first byte is a 499 with its body."""
    if heartbeat_of(target) < _NOTICED_S:  # then there is a first byte before that
        return absent(f"deploy with -c heartbeat_seconds=12; here it is {heartbeat_of(target):.0f}")
    response = Running(target, {"say": ["x"], "first_after": 30}, max_tokens=4).revoke()
    if isinstance(response, NoResponse):
        return refuted(str(response))
    return decided(wrong_error(response, 499), "499 with OpenAI's error body")


def idle(target: Target) -> Outcome:
    """Requests after pauses of up to 65 s meet no connection that is just being closed."""
    began = time.time()
    pauses = (5, 15, 29, 30, 31, 45, 54, 55, 56, 59, 60, 61, 65)
    failed = []
    for pause in pauses:
        time.sleep(pause)
        response = target.chat(stream=True, max_tokens=2)
        if response.status != 200:
            failed.append(f"after {pause} s: {response.status}")
    lines = target.log_lines(target.function_log, "the connection was closed", began)
    wrong = failed + [f"{len(lines)} lines of closed connections"] * bool(lines)
    return decided(wrong, f"{len(pauses)} requests after pauses of 5 to 65 s were answered")


def body_size(target: Target) -> Outcome:
    """Bodies up to the function's own limit reach it; Lambda's 6 MB are counted after its JSON."""
    url = target.outputs["FunctionUrl"]
    seen = []
    for size in (4_400_000, 4_700_000, 6_000_000):
        for kind in ("application/json", "application/octet-stream"):
            response = target.send(
                "POST",
                "/v1/chat/completions",
                b"\x80" * size if "octet" in kind else b" " * size,
                url=url,
                headers={"content-type": kind},
            )
            ours = (response.json() or {}).get("error", {}).get("code") == "origin_denied"
            seen.append((size, kind, response.status, ours))
    evidence = "; ".join(
        f"{size / 1e6} MB {kind}: {status}{' by the function' if ours else ' by Lambda'}"
        for size, kind, status, ours in seen
    )
    text = [ours for size, kind, _, ours in seen if kind == "application/json" and size < 5e6]
    return proven(evidence) if all(text) else refuted(evidence)


CHECKS = (
    Check(
        "wrapper",
        "the exec wrapper replaces the runtime process on python3.14, arm64",
        'one request; the configuration has the wrapper, the log has its `"event":"request"` line',
        Wave.TRAFFIC,
        wrapper,
        30,
        local=True,
    ),
    Check(
        "unbuffered",
        "Lambda does not buffer when prelude and NULs are two HTTP chunks",
        "tokens at 5 a second through the distribution come one by one, and the last one before a "
        "pause of 3 s comes before the pause ends",
        Wave.SCRIPTED,
        unbuffered,
        15,
        local=True,
    ),
    Check(
        "heartbeat",
        "heartbeats pass the distribution while the model is silent",
        "a first token after two and a half heartbeats: chunks without text come before it",
        Wave.SCRIPTED,
        heartbeat,
        45,
        local=True,
    ),
    Check(
        "silent-start",
        "with `one_connection` only: the connection by which an invocation came may be silent until "
        "the model answers, and accepts the streamed response and the next `/next`",
        "deploy with `-c one_connection=true`: a request whose first token comes after 65 s is "
        "answered, and another after it; the log has no `fault`",
        Wave.SCRIPTED,
        silent_start,
        80,
    ),
    Check(
        "late-failure",
        "whether error trailers after the start cut the client's connection: the one public report "
        "saw it end cleanly, so a whole answer ends as unfinished JSON before them",
        'a whole (`"stream": false`) answer that fails after 14 s: the transfer is closed early, '
        "or ends well; the body is not a JSON value",
        Wave.SCRIPTED,
        late_failure,
        30,
    ),
    Check(
        "left",
        "the end of the response stream reaches the container, as it must when a function is "
        "killed; otherwise `max_tokens` and the deadline bound it",
        "close the stream of an answer of a minute: `ConcurrentRequestsPerModel` falls within 20 s",
        Wave.SCRIPTED,
        left,
        75,
    ),
    Check(
        "cancel-routing",
        "SageMaker routes a cancel by least outstanding requests, as its guide says, and "
        "`InvokeEndpointWithResponseStream` passes the container's whole JSON answer on",
        "on two instances, cancel 20 running answers: the function's `cancel` lines have how many "
        "tries it took",
        Wave.SCRIPTED,
        cancel_routing,
        120,
    ),
    Check(
        "cancelled-status",
        "CloudFront and the function URL pass status 499 with its body",
        "cancel a whole answer before its first byte by revoking its key",
        Wave.SCRIPTED,
        cancelled,
        30,
        local=True,
    ),
    Check(
        "idle-connections",
        "how long AWS's front ends keep an idle connection: a request sent in the moment in which "
        "one is closed is a 502",
        "requests after pauses of 5 to 65 s; the log's `upstream` lines with `the connection was "
        "closed`",
        Wave.TRAFFIC,
        idle,
        700,
    ),
    Check(
        "body-size",
        "whether Lambda's 6 MB counts before or after base64 and JSON escaping",
        "bodies of 4.4, 4.7 and 6 MB, binary and text, to a function URL",
        Wave.TRAFFIC,
        body_size,
        60,
    ),
)
