"""vLLM's own server as the container behind the deployed local cloud.

The model is the demo model in Hugging Face's layout.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import httpx
import openai
import pytest

from cli.lib import cdk
from local.cloud import LocalCloud
from tests.e2e.test_streaming import settled, text
from tests.support.deployments import Deployment, deployed, options, quiet
from tests.support.gates import allow_gpus

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.vllm

FOLDER = Path(os.environ.get("SLUICE_VLLM", ".venv-vllm")).absolute()
PYTHON = FOLDER / "env" / "bin" / "python"
BUCKET = "real-models"
SETTINGS = {
    "container": "vllm",
    "image_uri": "example.org/vllm:0.32.0",  # not AWS's, which would be a stand-in
    "instance_type": "ml.g6.xlarge",
    "weights": f"s3://{BUCKET}/plain/",
    "model_name": "demo",
    "context_tokens": "2048",
    "parallel": "8",
    "startup_seconds": "3000",
}
TOOLS = {"SM_VLLM_ENABLE_AUTO_TOOL_CHOICE": "", "SM_VLLM_TOOL_CALL_PARSER": "hermes"}
THINKING = {"SM_VLLM_REASONING_PARSER": "deepseek_r1"}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 12}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


NO_END = {"0": -100, "1": -100, "2": -100}
"""A bias against the tokens that end an answer."""


def said(content: str) -> list[Any]:
    """Return a conversation of one message."""
    return [{"role": "user", "content": content}]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a local cloud whose containers are vLLM, with the models in its S3."""
    folder = tmp_path_factory.mktemp("cloud")
    serve = Path(__file__).with_name("serve.py")
    found = LocalCloud.start(folder, container=[str(PYTHON), str(serve), "serve"])
    try:
        aws = found.aws_environment()
        target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
        cdk.cdk(
            ["bootstrap", target, "--app", ""], aws=aws, log=folder / "bootstrap.log", detail=quiet
        )
        allow_gpus(found)
        s3 = boto3.client("s3", **options(found))
        s3.create_bucket(Bucket=BUCKET)
        for kind in ("plain", "thinking"):
            for path in (FOLDER / kind).iterdir():
                s3.upload_file(str(path), BUCKET, f"{kind}/{path.name}")
        yield found
    finally:
        found.stop()


def containers(cloud: LocalCloud) -> str:
    """Return the output of the containers."""
    logs = (cloud.directory / "logs").glob("endpoint-*.log")
    return "\n".join(it.read_text(errors="replace") for it in logs)


@pytest.fixture(scope="module")
def real(cloud: LocalCloud) -> Iterator[Deployment]:
    """Deploy a stack in front of vLLM."""
    found = deployed(cloud, "real", {**SETTINGS, "environment": json.dumps(TOOLS)})
    # The first request of a kind compiles.
    found.client = found.client.with_options(timeout=300)
    yield found
    found.client.close()


def asked(real: Deployment, content: str = "What is streaming?", **more: Any) -> Any:
    """Return the answer of the stock client."""
    return real.client.chat.completions.create(model="demo", messages=said(content), **more)


def test_a_stream(real: Deployment) -> None:
    """The stock client reads the model's words, and the ledger has vLLM's own counts."""
    chunks = list(asked(real, temperature=0, stream=True, stream_options={"include_usage": True}))
    assert text(chunks).startswith("Streaming means sending an answer in small pieces")
    usage = chunks[-1].usage
    assert usage.completion_tokens > 20
    item = settled(real, chunks[0].id)
    assert (item["prompt_tokens"], item["completion_tokens"]) == (
        usage.prompt_tokens,
        usage.completion_tokens,
    )


def test_choices_at_temperature_zero(real: Deployment) -> None:
    """Several greedy choices, which vLLM refuses, are the same answer several times."""
    found = asked(real, "What is 17 + 5?", n=3, temperature=0)
    assert [it.message.content for it in found.choices] == ["17 + 5 = 22."] * 3
    assert len({it.message.content for it in asked(real, n=4, temperature=1, seed=1).choices}) > 1


def test_log_probabilities(real: Deployment) -> None:
    """Each token has its probability and those of the others."""
    found = asked(real, "What is 17 + 5?", logprobs=True, top_logprobs=2, temperature=0)
    entries = found.choices[0].logprobs.content
    assert "".join(it.token for it in entries).startswith("17 + 5 = 22.")
    assert all(len(it.top_logprobs) == 2 for it in entries)


def test_structured_output(real: Deployment) -> None:
    """An answer is held to its schema. One that vLLM cannot hold is the caller's error."""
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 0, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    found = asked(real, "Give me a JSON object", response_format=form, temperature=0)
    assert set(json.loads(found.choices[0].message.content)) == {"name", "age"}


@pytest.mark.parametrize("choice", ["auto", "required", "named"])
def test_tools(real: Deployment, choice: str) -> None:
    """A call streams with its name first, then its arguments, and ends with its own reason."""
    named = {"type": "function", "function": {"name": "get_weather"}}
    stream = asked(
        real,
        "What is the weather in Rome?",
        tools=[WEATHER],
        tool_choice=named if choice == "named" else choice,
        temperature=0,
        max_tokens=80,
        stream=True,
    )
    pieces: list[Any] = []
    reason, words = None, ""
    for chunk in stream:
        for each in chunk.choices:
            pieces += each.delta.tool_calls or []
            words += each.delta.content or ""
            reason = each.finish_reason or reason
    assert reason == "tool_calls"
    assert pieces[0].id
    assert pieces[0].function.arguments is not None
    if choice != "auto":
        assert pieces[0].function.name == "get_weather"
    arguments = "".join(it.function.arguments for it in pieces)
    assert isinstance(json.loads(arguments), dict)
    assert not words


def test_errors_of_the_caller(real: Deployment) -> None:
    """A prompt over the context is told as such, with its own code."""
    with pytest.raises(openai.BadRequestError) as caught:
        asked(real, "word " * 3000)
    assert caught.value.code == "context_length_exceeded"


def test_a_cancel_frees_the_sequence(cloud: LocalCloud, real: Deployment) -> None:
    """When the caller of the endpoint leaves, as the function does at a deadline, vLLM stops.

    A client that leaves ends nothing: the function is not told, on AWS neither.
    """
    body = {"messages": said("Tell me a story"), "logit_bias": NO_END, "max_tokens": 1900}
    runtime = boto3.client("sagemaker-runtime", **options(cloud))
    response = runtime.invoke_endpoint_with_response_stream(
        EndpointName="real-local",
        Body=json.dumps({**body, "stream": True}).encode(),
        ContentType="application/json",
    )
    with contextlib.closing(response["Body"]) as events:
        next(iter(events))
        assert running(cloud) == 1
    ends = time.monotonic() + 120
    while running(cloud):
        assert time.monotonic() < ends, "vLLM still samples"
        time.sleep(0.2)


def running(cloud: LocalCloud) -> float:
    """Return the number of requests that vLLM samples, by its own gauge."""
    ports = re.findall(r"endpoint .*: container on port (\d+)", log(cloud))
    metrics = httpx.get(f"http://127.0.0.1:{ports[-1]}/metrics").text
    gauges = re.findall(
        r"^vllm:num_requests_(?:running|waiting)\{.*\} (\S+)$", metrics, re.MULTILINE
    )
    assert gauges
    return sum(map(float, gauges))


def log(cloud: LocalCloud) -> str:
    """Return the local cloud's own log."""
    return (cloud.directory / "logs" / "cloud.log").read_text(errors="replace")


def test_many_at_once(real: Deployment) -> None:
    """More requests than vLLM runs at once are all answered."""
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda _: asked(real, "What is 17 + 5?", temperature=0), range(12)))
    assert {it.choices[0].message.content for it in found} == {"17 + 5 = 22."}


def test_the_engine_dies(cloud: LocalCloud, real: Deployment) -> None:
    """A failure of the server is the model's, in OpenAI's shape, and the next request works."""
    stream = asked(real, "Tell me a story", stream=True, max_tokens=1900, logit_bias=NO_END)
    with contextlib.closing(stream.response):
        chunks = iter(stream)
        next(chunks)
        kill_engine(cloud)
        with pytest.raises(openai.APIError) as caught:
            list(chunks)
    assert caught.value.type == "server_error"
    ends = time.monotonic() + 1800
    while True:
        try:
            found = asked(real, "What is 17 + 5?", temperature=0)
        except openai.APIStatusError as error:
            if error.status_code not in (429, 502, 503) or time.monotonic() > ends:
                raise AssertionError(containers(cloud)[-2000:]) from error
            time.sleep(1)
        else:
            assert found.choices[0].message.content == "17 + 5 = 22."
            return


def kill_engine(cloud: LocalCloud) -> None:
    """Kill the process of vLLM that samples: the child of the server that this cloud started."""
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            name, _, rest = (process / "stat").read_text().rpartition(")")
            if "VLLM::EngineCor" in name:
                parent = Path("/proc", rest.split()[1])
                if str(cloud.directory).encode() in (parent / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)
                    return
    raise AssertionError("there is no such process")


def test_reasoning(cloud: LocalCloud) -> None:
    """Reasoning comes under its own name, streamed and whole, before the answer.

    The stack is updated to the model that thinks.
    """
    context = {"weights": f"s3://{BUCKET}/thinking/", "environment": json.dumps(THINKING)}
    thinking = deployed(cloud, "real", {**SETTINGS, **context})
    thinking.client = thinking.client.with_options(timeout=300)
    whole = asked(thinking, temperature=0).choices[0].message
    reasoning, words = "", ""
    for chunk in asked(thinking, temperature=0, stream=True):
        for each in chunk.choices:
            more = each.delta.model_extra or {}
            reasoning += more.get("reasoning_content") or more.get("reasoning") or ""
            words += each.delta.content or ""
    assert reasoning.startswith("Streaming means sending an answer in small pieces")
    assert words.strip().startswith("The reader sees the first words at once")
    extra = whole.model_extra or {}
    assert (extra.get("reasoning_content") or extra.get("reasoning")) == reasoning
    assert whole.content == words
