"""Other servers behind the deployed stack: vLLM scaled to zero, and SGLang, LMI and TGI.

The last three are endpoints that exist already. The servers are the local cloud's stand-ins. Each
speaks its server's dialect and rejects what that server rejects.
"""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import openai
import pytest

from cli.commands.destroy import destroy
from cli.commands.doctor import read
from cli.commands.endpoint import change
from cli.commands.preflight import findings
from cli.lib.project import CommandError
from cli.lib.settings import settings_of
from infra.images import containers
from local.cloud import REGION, LocalCloud
from tests.e2e.test_streaming import settled, text
from tests.support.deployments import Deployment, deployed, options
from tests.support.gates import allow_gpus

pytestmark = pytest.mark.e2e

SAID = ["Grüße", " an 🚰", "\n\n", "data: [DONE]", ' "quoted" \\ ']
MODELS = ["vllm", "sglang", "lmi", "lmi-inputs", "tgi"]
TRUST = {
    "Effect": "Allow",
    "Action": "sts:AssumeRole",
    "Principal": {"Service": "sagemaker.amazonaws.com"},
}
_ACTIONS = "BatchCheckLayerAvailability BatchGetImage GetAuthorizationToken GetDownloadUrlForLayer"
PULL = {"Effect": "Allow", "Action": [f"ecr:{name}" for name in _ACTIONS.split()], "Resource": "*"}


def script(**told: Any) -> list[Any]:
    """Return messages that tell a stand-in what to say."""
    return [{"role": "user", "content": json.dumps({"say": SAID, "prompt_tokens": 7, **told})}]


def role(iam: Any) -> str:
    """Create a role that may pull images. Return its ARN."""

    def policy(statement: object) -> str:
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    made = iam.create_role(RoleName="theirs", AssumeRolePolicyDocument=policy(TRUST))
    iam.put_role_policy(RoleName="theirs", PolicyName="pull", PolicyDocument=policy(PULL))
    return str(made["Role"]["Arn"])


def existing(sagemaker: Any, name: str, role_arn: str) -> str:
    """Create an endpoint as another owner would."""
    image = containers()[name].uris[REGION]
    sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=role_arn, PrimaryContainer={"Image": image}
    )
    variant = {
        "VariantName": "v",
        "ModelName": name,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.g5.xlarge",
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=f"Their-{name}", EndpointConfigName=name)
    return f"Their-{name}"


@pytest.fixture(scope="module")
def foreign(cloud: LocalCloud) -> Iterator[Deployment]:
    """Deploy a stack with a vLLM container, and the other servers' models beside it."""
    sagemaker = boto3.client("sagemaker", **options(cloud))
    allow_gpus(cloud)
    arn = role(boto3.client("iam", **options(cloud)))
    others = {
        "sglang": {"endpoint": existing(sagemaker, "sglang", arn), "dialect": "openai"},
        "lmi": {"endpoint": existing(sagemaker, "lmi", arn), "dialect": "lmi"},
        "lmi-inputs": {"endpoint": "Their-lmi", "dialect": "lmi-inputs"},
        "tgi": {"endpoint": existing(sagemaker, "tgi", arn), "dialect": "tgi"},
    }
    settings = {
        "container": "vllm",
        "instance_type": "ml.g6.xlarge",
        "weights": "hf:org/model",
        "model_name": "vllm",
        "scale_to_zero": "true",
        "reserved_concurrency": "32",
        "recall_concurrency": "8",
        "other_models": json.dumps(
            {name: {**model, "context_tokens": 4096} for name, model in others.items()}
        ),
    }
    found = deployed(cloud, "foreign", settings)
    served = sagemaker.get_waiter("endpoint_in_service")
    for name in {str(model["endpoint"]) for model in others.values()}:
        served.wait(EndpointName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 120})
    yield found
    found.client.close()


@pytest.mark.parametrize("model", MODELS)
def test_each_server_streams(foreign: Deployment, model: str) -> None:
    """The stock client reads the same answer from each server.

    The ledger has the counts of the server itself.
    """
    stream = foreign.client.chat.completions.create(
        model=model,
        messages=script(),
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=50,
        stop=["END"],
    )
    chunks = list(stream)
    assert text(chunks) == "".join(SAID)
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (7, len(SAID))
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert {chunk.model for chunk in chunks} == {model}
    item = settled(foreign, chunks[0].id)
    assert (item["outcome"], item["prompt_tokens"], item["completion_tokens"]) == (
        "complete",
        7,
        len(SAID),
    )


@pytest.mark.parametrize("model", MODELS)
def test_each_server_answers_in_one_body(foreign: Deployment, model: str) -> None:
    """A caller who wants one body gets it, although the server only streams to us."""
    answer = foreign.client.chat.completions.create(model=model, messages=script(), max_tokens=2)
    assert answer.choices[0].message.content == "Grüße an 🚰"
    assert answer.choices[0].finish_reason == "length"


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("fault", ["die_after", "fail_after"])
def test_a_server_that_breaks_off_is_an_error(foreign: Deployment, model: str, fault: str) -> None:
    """If a server dies or fails within its answer, clients raise an error."""
    # The previous test's server may still be restarting.
    patient = foreign.client.with_options(max_retries=20)
    stream = patient.chat.completions.create(
        model=model, messages=script(**{fault: 3}), stream=True
    )
    chunks: list[Any] = []
    with pytest.raises(openai.APIError) as failure:
        chunks.extend(iter(stream))
    assert "".join(SAID).startswith(text(chunks))
    assert failure.value.code in {"upstream_cut", "upstream_error"}
    patient.chat.completions.create(model=model, messages=script())


def test_what_a_server_cannot_do_is_refused(foreign: Deployment) -> None:
    """A parameter that the server would ignore is a 400 that names it.

    The server's own rejection is a 400 too.
    """
    with pytest.raises(openai.BadRequestError) as refused:
        foreign.client.chat.completions.create(model="tgi", messages=script(), n=2)
    assert (refused.value.param, refused.value.code) == ("n", "unsupported_parameter")
    with pytest.raises(openai.BadRequestError) as refused:
        foreign.client.chat.completions.create(
            model="vllm", messages=script(refuse="maximum context length is 8 tokens")
        )
    assert refused.value.code == "context_length_exceeded"
    assert "maximum context length is 8 tokens" in refused.value.message


def test_samplers_reach_the_servers_that_have_them(foreign: Deployment) -> None:
    """A parameter of vLLM or SGLang reaches each server that takes it, and is refused by others."""
    both = {"top_k": 5, "min_p": 0.1, "guided_choice": ["a", "b"], "stop": ["END"] * 5}
    takers: tuple[tuple[str, dict[str, Any]], ...] = (
        ("vllm", {**both, "bad_words": ["x"], "ignore_eos": False}),
        ("sglang", {**both, "include_stop_str_in_output": True}),
        ("lmi", both),
    )
    for model, extra in takers:
        answer = foreign.client.chat.completions.create(
            model=model, messages=script(), extra_body=extra
        )
        assert answer.choices[0].message.content == "".join(SAID)
    others: tuple[tuple[str, dict[str, Any]], ...] = (
        ("sglang", {"bad_words": ["x"]}),
        ("tgi", {"top_k": 5}),
        ("vllm", {"chat_template": "{{ x }}"}),
    )
    for model, extra in others:
        with pytest.raises(openai.BadRequestError) as refused:
            foreign.client.chat.completions.create(model=model, messages=script(), extra_body=extra)
        assert refused.value.param == next(iter(extra))


def test_scaled_to_zero_says_when_to_come_again(foreign: Deployment, cloud: LocalCloud) -> None:
    """Without a copy of the model the API answers 503 and says that the model is starting.

    With a copy it serves again.
    """
    sagemaker = boto3.client("sagemaker", **options(cloud))
    name = f"{foreign.outputs['EndpointName']}-model"

    def scale(copies: int) -> None:
        sagemaker.update_inference_component_runtime_config(
            InferenceComponentName=name, DesiredRuntimeConfig={"CopyCount": copies}
        )
        waiting = ("Creating", "Updating")
        while (
            sagemaker.describe_inference_component(InferenceComponentName=name)[
                "InferenceComponentStatus"
            ]
            in waiting
        ):
            time.sleep(0.1)

    scale(0)
    with pytest.raises(openai.InternalServerError) as failure:
        foreign.client.chat.completions.create(model="vllm", messages=script())
    assert (failure.value.status_code, failure.value.code) == (503, "model_starting")
    assert failure.value.response.headers["retry-after"] == "60"
    scale(1)
    patient = foreign.client.with_options(max_retries=20)
    assert patient.chat.completions.create(model="vllm", messages=script()).choices[
        0
    ].message.content == "".join(SAID)


def test_a_stopped_endpoint_stays_stopped_through_a_deployment(
    foreign: Deployment, cloud: LocalCloud
) -> None:
    """A stopped endpoint stays stopped through CDK's next deployment. `start` creates it again."""
    sagemaker = boto3.client("sagemaker", **options(cloud))

    def names() -> set[str]:
        return {it["EndpointName"] for it in sagemaker.list_endpoints()["Endpoints"]}

    cloudformation = boto3.client("cloudformation", **options(cloud))
    assert foreign.outputs["EndpointName"] in names()
    change(cloudformation, f"{foreign.name}-local-service", "Stopped")
    assert foreign.outputs["EndpointName"] not in names()
    deployed(cloud, foreign.name, {**foreign.settings, "requests_per_instance": "3"})
    assert foreign.outputs["EndpointName"] not in names()
    with pytest.raises(openai.InternalServerError) as failure:
        foreign.client.chat.completions.create(model="vllm", messages=script())
    assert failure.value.status_code == 503
    assert change(cloudformation, f"{foreign.name}-local-service", "Running")
    assert not change(cloudformation, f"{foreign.name}-local-service", "Running")
    assert foreign.outputs["EndpointName"] in names()
    answer = foreign.client.chat.completions.create(model="vllm", messages=script())
    assert answer.choices[0].message.content == "".join(SAID)


def test_destroy_leaves_nothing_and_says_so(
    foreign: Deployment,
    cloud: LocalCloud,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The doctor reads the stack, and the preflight its quotas.

    `destroy` removes everything and lists what is left.
    """
    monkeypatch.setattr("cli.lib.stack.LOCAL", cloud.directory)
    assert (
        read("local", foreign.name).models["vllm"]["component"]
        == f"{foreign.outputs['EndpointName']}-model"
    )
    larger = {"name": foreign.name, "instance_type": "ml.g6.2xlarge"}
    found = findings(
        settings_of("local", {**foreign.settings, **larger}),
        lambda service, **extra: boto3.client(service, **{**options(cloud), **extra}),
    )
    [missing] = [it.message for it in found if not it.good and not it.warning]
    assert "0 ml.g6.2xlarge for endpoint usage; 1 are needed" in missing
    with pytest.raises(
        CommandError, match=r"foreign-local in account \d+, [a-z0-9-]+: confirm it with --yes"
    ):
        destroy("local", {**foreign.settings, "name": foreign.name})  # without a prompt
    destroy("local", {**foreign.settings, "name": foreign.name}, ask=False)
    assert "Left in the account:" in capsys.readouterr().out
    stacks = boto3.client("cloudformation", **options(cloud)).describe_stacks()["Stacks"]
    assert not [stack for stack in stacks if stack["StackName"].startswith(foreign.name)]
    capsys.readouterr()
    destroy("local", {**foreign.settings, "name": foreign.name})
    assert "there are no stacks of foreign-local" in capsys.readouterr().out
    endpoints = boto3.client("sagemaker", **options(cloud)).list_endpoints()["Endpoints"]
    assert foreign.outputs["EndpointName"] not in {it["EndpointName"] for it in endpoints}
