"""The local cloud as a whole: from a template to a stream, and its beginning and end as a process."""

import contextlib
import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from local.cloud import LocalCloud, LocalCloudError
from tests.support import function_code
from tests.support.local_cloud import CONTAINER, Client, Stacks

BUCKET = "sluice-test-code"
ASSUME = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "lambda.amazonaws.com"}}],
}


def _permission(action: str, **condition: Any) -> dict[str, Any]:
    properties = {"FunctionName": {"Ref": "Function"}, "Action": action, "Principal": "*", **condition}
    return {"Type": "AWS::Lambda::Permission", "Properties": properties}


def _template(word: str, mark: str = "") -> dict[str, Any]:
    """A function with a URL behind a distribution that sends a secret."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap", "WORD": word, "MARK": mark}
    origin = {
        "Id": "function",
        "DomainName": {"Fn::Select": [2, {"Fn::Split": ["/", {"Fn::GetAtt": ["Url", "FunctionUrl"]}]}]},
        "CustomOriginConfig": {"OriginProtocolPolicy": "https-only", "OriginReadTimeout": 60},
        "OriginCustomHeaders": [
            {"HeaderName": "x-origin-secret", "HeaderValue": {"Fn::Sub": "{{resolve:secretsmanager:${Secret}}}"}}
        ],
    }
    return {
        "Secret": {"Type": "AWS::SecretsManager::Secret", "Properties": {"SecretString": f"secret {word}"}},
        "Role": {"Type": "AWS::IAM::Role", "Properties": {"AssumeRolePolicyDocument": ASSUME}},
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {
                "Code": {"S3Bucket": BUCKET, "S3Key": "code.zip"},
                "Handler": "main.handler",
                "Runtime": "python3.14",
                "Role": {"Fn::GetAtt": ["Role", "Arn"]},
                "Timeout": 60,
                "Environment": {"Variables": variables},
            },
        },
        "Url": {
            "Type": "AWS::Lambda::Url",
            "Properties": {
                "TargetFunctionArn": {"Ref": "Function"},
                "AuthType": "NONE",
                "InvokeMode": "RESPONSE_STREAM",
            },
        },
        "Open": _permission("lambda:InvokeFunctionUrl", FunctionUrlAuthType="NONE"),
        "OpenToo": _permission("lambda:InvokeFunction", InvokedViaFunctionUrl=True),
        "Distribution": {
            "Type": "AWS::CloudFront::Distribution",
            "Properties": {
                "DistributionConfig": {
                    "Enabled": True,
                    "Origins": [origin],
                    "DefaultCacheBehavior": {
                        "TargetOriginId": "function",
                        "ViewerProtocolPolicy": "https-only",
                        "AllowedMethods": ["GET", "HEAD", "OPTIONS", "PUT", "PATCH", "POST", "DELETE"],
                        "OriginRequestPolicyId": "b689b0a8-53d0-40ab-baf2-68738e2966ac",
                    },
                }
            },
        },
    }


def _get(url: str) -> Any:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - loopback
        return json.loads(answer.read())


def test_from_a_template_to_a_stream(cloud: LocalCloud, client: Client, stacks: Stacks, tmp_path: Path) -> None:
    """A deployed distribution streams from its function; a second deployment takes effect; deletion ends it."""
    client("s3").create_bucket(Bucket=BUCKET)
    client("s3").put_object(Bucket=BUCKET, Key="code.zip", Body=function_code.zipped())
    outputs = {"Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]}, "Id": {"Ref": "Distribution"}}
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
    with urllib.request.urlopen(f"http://{domain}/ticks") as answer:
        for number in range(5):
            assert answer.readline() == b"tick %d\n" % number
            mark.write_bytes(bytes(number + 1))  # the next one is written when this one has come
        assert answer.read() == b""

    status = cloud.ask("status")
    assert {"id": stacks.outputs(stack)["Id"], "domain": domain, "url": f"http://{domain}"} in status["distributions"]
    assert any(one["environments"] >= 1 and one["url"] for one in status["functions"])

    stacks.update(stack, _template("second"), outputs)
    assert stacks.outputs(stack)["Domain"] == domain
    assert _get(f"http://{domain}/environment")["variables"]["WORD"] == "second"
    assert _get(f"http://{domain}/event")["headers"]["x-origin-secret"] == "secret second"

    stacks.delete(stack)
    with pytest.raises(urllib.error.URLError):
        _get(f"http://{domain}/event")


def test_a_name_of_one_character(client: Client, stacks: Stacks) -> None:
    """A function may be called by one letter, though no session of a role can be."""
    client("s3").create_bucket(Bucket=f"{BUCKET}-short")
    client("s3").put_object(Bucket=f"{BUCKET}-short", Key="code.zip", Body=function_code.zipped())
    template = _template("short")
    properties = template["Function"]["Properties"]
    properties["FunctionName"], properties["Code"]["S3Bucket"] = "f", f"{BUCKET}-short"
    stack = stacks.create(template, {"Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]}})
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    found = _get(f"http://{stacks.outputs(stack)['Domain']}/environment")["variables"]
    assert found["AWS_LAMBDA_FUNCTION_NAME"] == "f"
    assert found["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    stacks.delete(stack)


def _group(pid: int) -> set[int]:
    """A process and all its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def _gone(pids: set[int]) -> bool:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        alive = [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and not _zombie(pid)]
        if not alive:
            return True
        time.sleep(0.02)
    return False


def _zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(tmp_path: Path, number: signal.Signals) -> None:
    """After SIGTERM, and also after SIGKILL, no process of a local cloud is left."""
    cloud = LocalCloud.start(tmp_path, container=CONTAINER)
    pids = _group(cloud.pid)
    assert len(pids) >= 2
    if number == signal.SIGTERM:
        with pytest.raises(LocalCloudError, match="already running"):
            LocalCloud.start(tmp_path)
        cloud.stop()
        assert LocalCloud.find(tmp_path) is None
        assert not (tmp_path / "cloud.json").exists()
    else:
        os.kill(cloud.pid, number)
        cloud.stop()
    assert _gone(pids)


def test_taken_port(tmp_path: Path) -> None:
    """A port that is in use is a failure of one line that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(LocalCloudError, match=f"port {port} is in use"):
            LocalCloud.start(tmp_path, port=port)
