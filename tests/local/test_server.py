"""The local cloud as a whole: from a template to a stream, and its process."""

import asyncio
import contextlib
import json
import logging
import time
import urllib.error
import urllib.request
from concurrent import futures
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import ClientConnectionResetError, web

from local.cloud import LocalCloud
from local.server import shorten_client_faults
from tests.support import endpoint_templates, function_code, resources
from tests.support.local_cloud import CONTAINER, Client, Stacks

BUCKET = "sluice-test-code"


def _template(word: str, mark: str = "") -> dict[str, Any]:
    """Return a function with a URL behind a distribution that sends a secret."""
    origin = {
        "CustomOriginConfig": {"OriginProtocolPolicy": "https-only", "OriginReadTimeout": 60},
        "OriginCustomHeaders": [
            {
                "HeaderName": "x-origin-secret",
                "HeaderValue": {"Fn::Sub": "{{resolve:secretsmanager:${Secret}}}"},
            }
        ],
    }
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap", "WORD": word, "MARK": mark}
    return {
        "Secret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {"SecretString": f"secret {word}"},
        },
        "Role": resources.ROLE,
        **resources.streaming(
            BUCKET, origin=origin, Timeout=60, Environment={"Variables": variables}
        ),
    }


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:  # noqa: S310 - loopback
        data: bytes = response.read()
        return data


def _containers(cloud: LocalCloud) -> list[Any]:
    [endpoint] = cloud.ask("status")["endpoints"]
    containers: list[Any] = endpoint["containers"]
    return containers


def _get(url: str) -> Any:
    return json.loads(_read(url))


def test_from_a_template_to_a_stream(
    cloud: LocalCloud, client: Client, stacks: Stacks, tmp_path: Path
) -> None:
    """A deployed distribution streams from its function.

    A second deployment takes effect, and deletion ends it.
    """
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key="code.zip", Body=function_code.zipped())
    outputs = {
        "Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]},
        "Id": {"Ref": "Distribution"},
    }
    mark = tmp_path / "mark"
    mark.touch()
    stack = stacks.create(_template("first", str(mark)), outputs)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    domain = stacks.outputs(stack)["Domain"]

    event = _get(f"http://{domain}/event?a=b")
    assert event["headers"]["x-origin-secret"] == "secret first"
    assert event["headers"]["host"].endswith(".lambda-url.us-east-1.on.aws")
    assert event["rawQueryString"] == "a=b"
    first = _get(f"http://{domain}/environment")["variables"]
    assert first["WORD"] == "first"
    assert first["AWS_ENDPOINT_URL"] == cloud.endpoint_url
    assert first["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert cloud.keys.secret_key not in first.values()
    with urllib.request.urlopen(f"http://{domain}/ticks") as response:
        for number in range(5):
            assert response.readline() == b"tick %d\n" % number
            mark.write_bytes(bytes(number + 1))  # the next one is written when this one has arrived
        assert response.read() == b""

    status = cloud.ask("status")
    assert {
        "id": stacks.outputs(stack)["Id"],
        "domain": domain,
        "url": f"http://{domain}",
    } in status["distributions"]
    assert any(one["environments"] >= 1 and one["url"] for one in status["functions"])

    stacks.update(stack, _template("second"), outputs)
    assert stacks.outputs(stack)["Domain"] == domain
    assert _get(f"http://{domain}/environment")["variables"]["WORD"] == "second"
    assert _get(f"http://{domain}/event")["headers"]["x-origin-secret"] == "secret second"

    stacks.delete(stack)
    with pytest.raises(urllib.error.URLError):
        _get(f"http://{domain}/event")


def test_running_invocations_end_before_it_stops(tmp_path: Path) -> None:
    """Containers end first. Meanwhile AWS's services answer, so that functions can settle."""
    mark = tmp_path / "mark"
    running = LocalCloud.start(tmp_path / "cloud", container=CONTAINER)
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        return clients.setdefault(service, boto3.client(service, **running.client_options()))

    with futures.ThreadPoolExecutor() as threads:
        try:
            client("s3").create_bucket(Bucket=BUCKET)
            code = function_code.zipped()
            client("s3").put_object(Bucket=BUCKET, Key="code.zip", Body=code)
            stacks = Stacks(client)
            endpoint = endpoint_templates.template({}, instance_type="ml.c5.large")
            renamed = json.loads(json.dumps(endpoint).replace('"Role"', '"Its"'))
            stack = stacks.create(
                {**renamed, **_template("held", str(mark))},
                {"Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]}},
            )
            assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
            domain = stacks.outputs(stack)["Domain"]
            services = client("sts")
            held = threads.submit(_read, f"http://{domain}/held")
            begun = tmp_path / "mark.begun"
            while not begun.exists():
                time.sleep(0.01)
            assert _containers(running)
            stopping = threads.submit(running.stop)
            while _containers(running):  # they end first
                time.sleep(0.01)
            assert services.get_caller_identity()["Account"]
            assert not held.done()
        finally:
            mark.touch()
            running.stop()
            for opened in clients.values():
                opened.close()
        assert held.result(60) == b"hello"
        stopping.result(60)


def test_a_name_of_one_character(client: Client, stacks: Stacks) -> None:
    """A function may have a name of one letter. The name of a role's session may not."""
    client("s3").create_bucket(Bucket=f"{BUCKET}-short")
    client("s3").put_object(Bucket=f"{BUCKET}-short", Key="code.zip", Body=function_code.zipped())
    template = _template("short")
    properties = template["Function"]["Properties"]
    properties["FunctionName"], properties["Code"]["S3Bucket"] = "f", f"{BUCKET}-short"
    stack = stacks.create(template, {"Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    variables = _get(f"http://{stacks.outputs(stack)['Domain']}/environment")["variables"]
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert variables["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    stacks.delete(stack)


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nrubbish",
        b"GET / HTTP/1.1\r\nHost: x\r\nGone: 1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ],
)
async def test_clients_leave_no_trace(caplog: pytest.LogCaptureFixture, sent: bytes) -> None:
    """Malformed HTTP or a client that left is at most a line, without a traceback."""

    async def handle(request: web.Request) -> web.Response:
        if "Gone" in request.headers:
            raise ClientConnectionResetError("Cannot write to closing transport")
        return web.Response(body=await request.read())

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    logger = logging.getLogger("aiohttp.server")
    logger.addFilter(shorten_client_faults)
    try:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        reader, writer = await asyncio.open_connection(*runner.addresses[0])
        writer.write(sent)
        writer.write_eof()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
    finally:
        await runner.cleanup()
        logger.removeFilter(shorten_client_faults)
    assert [
        record for record in caplog.records if record.exc_info or record.levelno >= logging.ERROR
    ] == []


def test_faults_stay() -> None:
    """An error of our own code keeps its traceback."""
    error = ValueError("ours")
    record = logging.LogRecord(
        "aiohttp.server", logging.ERROR, "", 1, "Error", (), (ValueError, error, None)
    )
    assert shorten_client_faults(record)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
