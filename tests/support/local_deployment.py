"""A deployment with every kind of listener that a local cloud has.

These are the function, the distribution, the endpoint, the WebSocket API and the control plane.
"""

import contextlib
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

from local.cloud import LocalCloud
from tests.support import function_code, resources
from tests.support.local_cloud import CONTAINER, Stacks

BUCKET = "sluice-listeners"
STAGE = "prod"
"""The stage of the WebSocket API, which takes every handshake: it has no routes."""
SECRET = "the secret of the admin"


def _role(service: str) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Action": "sts:AssumeRole",
        "Principal": {"Service": f"{service}.amazonaws.com"},
    }
    writes = {"Effect": "Allow", "Action": "logs:*", "Resource": "*"}
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {"Statement": [statement]},
            "Policies": [{"PolicyName": "logs", "PolicyDocument": {"Statement": [writes]}}],
        },
    }


def template() -> dict[str, Any]:
    """Return the resources of the template."""
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap"}
    container = {"Image": "image:tag", "Environment": {}}
    variant = {
        "VariantName": "v",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1,
        "InstanceType": "ml.m5.large",
    }
    return {
        "Secret": {
            "Type": "AWS::SecretsManager::Secret",
            "Properties": {"Name": "admin", "SecretString": SECRET},
        },
        "Role": _role("lambda"),
        **resources.streaming(
            BUCKET,
            origin={"CustomOriginConfig": {"OriginProtocolPolicy": "https-only"}},
            FunctionName="listens",
            Timeout=30,
            Environment={"Variables": variables},
        ),
        "Api": {
            "Type": "AWS::ApiGatewayV2::Api",
            "Properties": {
                "Name": "sockets",
                "ProtocolType": "WEBSOCKET",
                "RouteSelectionExpression": "$request.body.type",
            },
        },
        "Stage": {
            "Type": "AWS::ApiGatewayV2::Stage",
            "Properties": {"ApiId": {"Ref": "Api"}, "StageName": STAGE, "AutoDeploy": True},
        },
        "ModelRole": _role("sagemaker"),
        "Model": {
            "Type": "AWS::SageMaker::Model",
            "Properties": {
                "ExecutionRoleArn": {"Fn::GetAtt": ["ModelRole", "Arn"]},
                "PrimaryContainer": container,
            },
        },
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {"ProductionVariants": [variant]},
        },
        "Endpoint": {
            "Type": "AWS::SageMaker::Endpoint",
            "Properties": {
                "EndpointName": "e",
                "EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]},
            },
        },
    }


@dataclass(frozen=True)
class Deployed:
    """A local cloud with this deployment, and its ports by the kind of listener.

    `host` is the host name of the function's URL.
    """

    cloud: LocalCloud
    ports: dict[str, int]
    host: str

    def client(self, service: str) -> Any:
        """Return a stock client with the cloud's own keys."""
        return boto3.client(service, **self.cloud.client_options())

    def runtime_apis(self) -> list[int]:
        """Call the function, which then has an environment. Return its environments' ports.

        Environments come with calls and go when they are idle, so `ports` may have an old one.
        """
        with urllib.request.urlopen(f"http://localhost:{self.ports['edge']}/event") as answer:
            assert answer.status == 200
        fixed = {port for name, port in self.ports.items() if name != "runtime API"}
        return sorted(listening(self.cloud.pid).keys() - fixed)


NAMED = "host.docker.internal"
"""A host name of its distributions, beside those of loopback."""


@contextlib.contextmanager
def deployed(directory: Path) -> Iterator[Deployed]:
    """Yield a new local cloud in which one environment of the function is idle."""
    cloud = LocalCloud.start(
        directory, container=CONTAINER, options=["--host", NAMED, "--host=[fd00::1]"]
    )
    made: list[Any] = []

    def client(service: str) -> Any:
        made.append(Deployed(cloud, {}, "").client(service))
        return made[-1]

    try:
        client("s3").create_bucket(Bucket=BUCKET)
        client("s3").put_object(Bucket=BUCKET, Key="code.zip", Body=function_code.zipped())
        stacks = Stacks(client)
        stack = stacks.create(
            template(), {"Domain": {"Fn::GetAtt": ["Distribution", "DomainName"]}}
        )
        assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
        edge = stacks.outputs(stack)["Domain"].rpartition(":")[2]
        with urllib.request.urlopen(f"http://localhost:{edge}/event") as answer:
            assert answer.status == 200
        status = cloud.ask("status")
        [function] = status["functions"]
        ports = {
            "gateway": int(cloud.endpoint_url.rpartition(":")[2]),
            "edge": int(edge),
            "function URLs": int(status["function_urls"].rpartition(":")[2]),
            "sockets": int(status["gateways"][0]["url"].rpartition(":")[2]),
            "container": status["endpoints"][0]["containers"][0]["port"],
        }
        owners = listening(cloud.pid)
        known = set(ports.values())
        [ports["control plane"]] = [
            port for port, command in owners.items() if "local.control_plane" in command
        ]
        [ports["runtime API"]] = [
            port
            for port, command in owners.items()
            if "-m local --dir" in command and port not in known
        ]
        yield Deployed(cloud, ports, function["url"].removeprefix("https://").rstrip("/"))
    finally:
        for one in made:
            one.close()
        cloud.stop()


def listening(pid: int) -> dict[int, str]:
    """Return the ports on which a process and its descendants listen (Linux).

    The values are the command lines of the listening processes.
    """
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
    tree = {pid}
    while more := {child for child, parent in parents.items() if parent in tree} - tree:
        tree |= more
    ports: dict[str, int] = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A":
                ports[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    found: dict[int, str] = {}
    for one in sorted(tree):
        command = Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        for entry in Path(f"/proc/{one}/fd").iterdir():
            with contextlib.suppress(OSError):
                if (port := ports.get(str(entry.readlink()))) is not None:
                    found.setdefault(port, command)
    return found
