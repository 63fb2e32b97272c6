"""The model's image, run by docker or podman as SageMaker runs it, with the stacks around it."""

import asyncio
import json
import re
import time
from pathlib import Path
from typing import Any

import boto3
import httpx
import openai
import pytest

from local.cloud import LocalCloud
from local.sagemaker.container import ContainerRunner
from local.sagemaker.engine import sweep
from local.sagemaker.runner import Container, Running
from tests.support.image import Deployed, Engine

pytestmark = pytest.mark.container

ROOT = Path(__file__).parents[2]
STARTUP_S = 60
WRONG_PORT = {"SLUICE_ENGINE": "scripted", "SAGEMAKER_BIND_TO_PORT": "9090"}


@pytest.fixture(scope="session")
def doomed(aws: dict[str, str], image: str) -> str:
    """Create a stack whose container never answers /ping. Return its name.

    Its start-up timeout is a minute, during which other tests run.
    """
    variant = {
        "VariantName": "v",
        "ModelName": {"Fn::GetAtt": ["Model", "ModelName"]},
        "InitialInstanceCount": 1,
        "InitialVariantWeight": 1,
        "InstanceType": "ml.c5.large",
        "ContainerStartupHealthCheckTimeoutInSeconds": STARTUP_S,
    }
    model = {
        "ExecutionRoleArn": {"Fn::GetAtt": ["Role", "Arn"]},
        "PrimaryContainer": {"Image": image, "Environment": WRONG_PORT},
    }
    config = {"EndpointConfigName": {"Fn::GetAtt": ["Config", "EndpointConfigName"]}}
    pull = [
        "ecr:GetAuthorizationToken",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetDownloadUrlForLayer",
    ]
    resources = {
        "Role": {
            "Type": "AWS::IAM::Role",
            "Properties": {
                "AssumeRolePolicyDocument": _policy(
                    "sts:AssumeRole", Principal={"Service": "sagemaker.amazonaws.com"}
                ),
                "Policies": [
                    {"PolicyName": "pull", "PolicyDocument": _policy(*pull, "logs:*", Resource="*")}
                ],
            },
        },
        "Model": {"Type": "AWS::SageMaker::Model", "Properties": model},
        "Config": {
            "Type": "AWS::SageMaker::EndpointConfig",
            "Properties": {"ProductionVariants": [variant]},
        },
        "Endpoint": {"Type": "AWS::SageMaker::Endpoint", "Properties": config},
    }
    boto3.client("cloudformation", **aws).create_stack(
        StackName="doomed",
        TemplateBody=json.dumps({"Resources": resources}),
        Capabilities=["CAPABILITY_IAM"],
    )
    return "doomed"


def _policy(*actions: str, **more: Any) -> dict[str, Any]:
    """Return a policy that allows these actions."""
    return {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": list(actions), **more}],
    }


@pytest.fixture
def running(engine: Engine, deployed: Deployed, doomed: str) -> dict[str, Any]:
    """Return the engine's description of the deployed endpoint's container."""
    name = f"{deployed.outputs['EndpointName']}-primary-0"
    found = engine.containers(deployed.cloud.directory)
    [container] = [
        one for one in found if one["Config"]["Labels"]["sluice.local.container"] == name
    ]
    return dict(container)


def test_stock_client_streams_from_the_container(deployed: Deployed, doomed: str) -> None:
    """The stock client streams an answer from the container, through all of the stacks."""
    url = f"http://{deployed.outputs['DistributionDomain']}/v1"
    with openai.OpenAI(base_url=url, api_key=deployed.key, max_retries=0, timeout=60) as client:
        chunks = list(
            client.chat.completions.create(
                model=deployed.outputs["ModelName"],
                messages=[{"role": "user", "content": "Why stream tokens?"}],
                stream=True,
            )
        )
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 5
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_container_gets_what_sagemaker_gives(
    engine: Engine, running: dict[str, Any], deployed: Deployed
) -> None:
    """The container gets the argument `serve`, port 8080 on loopback, and its environment.

    The environment is that of the model and the image.
    """
    assert running["Args"][-1] == "serve"
    assert running["Config"]["Cmd"] == ["serve"]
    assert [
        (port, at[0]["HostIp"]) for port, at in running["NetworkSettings"]["Ports"].items()
    ] == [("8080/tcp", "127.0.0.1")]
    image = json.loads(engine.ask("image", "inspect", running["Image"]))[0]["Config"]["Env"]
    own = {line.partition("=")[0] for line in image} | {
        "HOME",
        "HOSTNAME",
        "TERM",
        "container",
    }  # set by the engines
    found = dict(
        line.split("=", 1) for line in engine.ask("exec", running["Id"], "env").splitlines()
    )
    assert {name for name in found if name not in own} == {
        "SLUICE_ENGINE", "SLUICE_MODEL_NAME", "SLUICE_CONTEXT_TOKENS", "SLUICE_PARALLEL", "SLUICE_TOKENS_PER_SECOND",
        "SLUICE_CALLER_TOKEN",
    }  # fmt: skip
    assert found["SLUICE_MODEL_NAME"] == deployed.outputs["ModelName"]


def test_weights_are_mounted_read_only(engine: Engine, running: dict[str, Any]) -> None:
    """The weights are below /opt/ml/model, read-only, and the image's own user can read them."""
    assert engine.ask("exec", running["Id"], "id", "-u").strip() == "0"
    assert ".gguf" in engine.ask("exec", running["Id"], "ls", "/opt/ml/model")
    write = "open('/opt/ml/model/x', 'w')"
    refused = engine.ask(
        "exec", "--user", "0", running["Id"], "sh", "-c", f'python -c "{write}" 2>&1 || true'
    )
    assert "Read-only file system" in refused


def test_output_is_in_the_endpoints_log(deployed: Deployed, doomed: str) -> None:
    """What the container prints is in the endpoint's log file, a moment later."""
    log = (
        deployed.cloud.directory
        / "logs"
        / f"endpoint-{deployed.outputs['EndpointName']}-primary-0.log"
    )
    line = f"model: serving {deployed.outputs['ModelName']} with llama_cpp on port 8080"
    ends = time.monotonic() + 60
    while line not in log.read_text():
        assert time.monotonic() < ends, log.read_text()
        time.sleep(0.05)


async def _start(
    engine: Engine, image: str, folder: Path, name: str | None = "scripted", ping: int = 200
) -> tuple[Running, httpx.Response]:
    """Start the image with an engine (None: its own). Wait until /ping has this answer."""
    weights = folder / "weights"
    weights.mkdir()
    runner = ContainerRunner(engine.name, folder)
    environment = {"SLUICE_ENGINE": name} if name else {}
    running = await runner.start(
        Container("test", image, environment, weights, folder / "container.log")
    )
    async with asyncio.timeout(120), httpx.AsyncClient() as client:
        while True:
            try:
                answer = await client.get(
                    f"http://127.0.0.1:{running.port}/ping", headers=running.headers
                )
                if answer.status_code == ping:
                    return running, answer
            except httpx.TransportError:
                await asyncio.sleep(0.05)


async def test_says_why_it_cannot_start(
    engine: Engine, image: str, tmp_path: Path, doomed: str
) -> None:
    """A container that cannot start reports why, at /ping and in one line of its log.

    It ends on SIGTERM.
    """
    running, ping = await _start(engine, image, tmp_path, "vllm", 503)
    reason = "cannot start: the engine vllm cannot be imported: No module named 'vllm'"
    assert ping.json()["error"]["message"] == reason
    await running.stop()
    assert await running.ended() == 1
    assert f"model: {reason}" in (tmp_path / "container.log").read_text().splitlines()


def test_image_holds_what_it_needs(engine: Engine, image: str) -> None:
    """The image runs as root, as SageMaker's guide asks, and has no compiler.

    It has every package of the lock. Its only weights are the demo model's, with which grammars are
    tried. Its user `model` can run it and write none of it.
    """

    def inside(command: str, user: str = "root") -> str:
        program = ["--user", user, "--entrypoint", "sh", image, "-c", command]
        return engine.ask("run", "--rm", "--network", "none", *program)

    assert inside("id -u").strip() == "0"
    assert inside("id -u", "model").strip() == "1000"
    assert inside("command -v gcc cc g++ clang tcc make rustc || echo none").strip() == "none"
    weights = inside(
        "find / -xdev -name '*.gguf' -o -xdev -name '*.safetensors' 2>/dev/null || true"
    )
    assert weights.split() == ["/app/demo_model/weights/sluice-demo.gguf"]
    written = inside("find /app -writable -print 2>/dev/null | head -1", "model")
    assert written.strip() == ""
    lock = re.findall(
        r"^([a-z0-9-]+)==(\S+)(?: ;.*)?", (ROOT / "locks" / "model.txt").read_text(), re.MULTILINE
    )
    found = set(inside("ls -d /app/packages/*.dist-info").split())
    there = {
        (name.rpartition("/")[2].removesuffix(".dist-info")).lower().replace("_", "-")
        for name in found
    }
    assert len(there) >= 10
    assert there <= {f"{name}-{version}" for name, version in lock}


# A stand-in for vLLM's image: it has root, Python, and the packages that it shares with ours, but
# no vLLM.
GPU_BASE = """
FROM {image}
USER root
RUN python3 -c "import site; open(site.getsitepackages()[0] + '/ours.pth', 'w').write('/app/packages')"
"""


async def test_gpu_target(engine: Engine, image: str, tmp_path: Path, doomed: str) -> None:
    """The target for GPUs builds on an image like vLLM's, and runs as the named user.

    It reports that vLLM is missing.
    """
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "Dockerfile").write_text(GPU_BASE.format(image=image))
    engine.ask("build", "--tag", "localhost/sluice-gpu-base", str(tmp_path / "base"))
    base = [
        "--build-arg",
        "GPU_BASE_IMAGE=localhost/sluice-gpu-base",
        "--build-arg",
        f"BASE_IMAGE={image}",
    ]
    gpu = "localhost/sluice-model-gpu"
    engine.ask(
        "build",
        "--file",
        str(ROOT / "model/Dockerfile"),
        "--target",
        "gpu",
        "--tag",
        gpu,
        *base,
        "--build-arg",
        "RUN_AS=model",
        str(ROOT),
    )
    inside = engine.ask("run", "--rm", "--network", "none", "--entrypoint", "id", gpu, "-u")
    assert inside.strip() == "1000"
    running, ping = await _start(engine, gpu, tmp_path, None, 503)
    reason = "cannot start: the engine vllm cannot be imported: No module named 'vllm'"
    assert ping.json()["error"]["message"] == reason
    await running.stop()
    assert await running.ended() == 1


async def test_stop_lets_answers_end(
    engine: Engine, image: str, tmp_path: Path, doomed: str
) -> None:
    """After SIGTERM the container ends as soon as the running answers are complete.

    SIGKILL would come 30 s later.
    """
    running, _ = await _start(engine, image, tmp_path)
    [container] = engine.containers(tmp_path)
    assert container["Config"]["StopTimeout"] == 30
    script = {"repeat": " word", "count": 20, "rate": 10}
    body = {"messages": [{"role": "user", "content": json.dumps(script)}]}
    async with (
        httpx.AsyncClient(headers=running.headers) as client,
        client.stream("POST", f"http://127.0.0.1:{running.port}/invocations", json=body) as answer,
    ):
        lines = answer.aiter_lines()
        records = [await anext(lines)]
        stopping = asyncio.create_task(running.stop())
        records += [line async for line in lines if line]
    await stopping
    assert json.loads(records[-1]) == {"type": "end"}
    assert await running.ended() == 0  # SIGKILL would make it 137
    assert engine.containers(tmp_path) == []


async def test_killed_cloud_is_swept(
    engine: Engine, image: str, tmp_path: Path, doomed: str
) -> None:
    """If a local cloud was killed, the next start or stop in its folder removes its container."""
    running, _ = await _start(engine, image, tmp_path)
    # The kernel kills the engine's client with the local cloud. The container is not its child.
    running._client.kill()  # type: ignore[attr-defined]
    await running.ended()
    assert len(engine.containers(tmp_path)) == 1
    assert await asyncio.to_thread(sweep, tmp_path) == 1
    assert engine.containers(tmp_path) == []


def test_failing_health_check_fails_the_stack(
    engine: Engine, cloud: LocalCloud, deployed: Deployed, aws: dict[str, str], doomed: str
) -> None:
    """If a container does not answer /ping in time, its stack fails.

    The reason has the last line of the container's log.
    """
    client = boto3.client("cloudformation", **aws)
    while client.describe_stacks(StackName=doomed)["Stacks"][0]["StackStatus"].endswith(
        "_IN_PROGRESS"
    ):
        pass  # each call waits up to 5 s for the end of an operation
    assert (
        client.describe_stacks(StackName=doomed)["Stacks"][0]["StackStatus"] == "ROLLBACK_COMPLETE"
    )
    events = client.describe_stack_events(StackName=doomed)["StackEvents"]
    reasons = "\n".join(event.get("ResourceStatusReason", "") for event in events)
    assert f"did not pass the ping health check within {STARTUP_S} s" in reasons
    assert "model: serving sluice-demo with scripted on port 9090" in reasons
    labels = [
        one["Config"]["Labels"]["sluice.local.container"]
        for one in engine.containers(cloud.directory)
    ]
    assert labels == [f"{deployed.outputs['EndpointName']}-primary-0"]
