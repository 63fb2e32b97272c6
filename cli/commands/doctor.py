"""`sluice doctor`: every hop's limits as they are deployed, the tightest of them, and whether they agree.

What is deployed is asked of AWS; the function's and the container's own figures are those of this checkout; the
services' fixed limits stand in `infra.limits` and here, with their source.
"""

import json
from dataclasses import dataclass
from typing import Any, Literal

from cli.commands.endpoint import PARAMETER, stopped
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, undeployed, unreadable
from cli.lib.terminal import columns, console
from infra.limits import LIMITS, Limits
from lambda_fn import limits as function
from model.answers import Timing
from model.errors import StartError
from model.schema import MAX_BODY_BYTES
from model.settings import Settings

Bound = Literal["first byte", "gap", "duration", "request size", "answer size"]

_LAMBDA = "Lambda quotas"
_SAGEMAKER = "SageMaker runtime API reference"


@dataclass(frozen=True)
class Row:
    """One limit. `bounds` says what it cuts; without it the figure is what this hop keeps, or room that it has."""

    hop: str
    what: str
    value: float | None
    unit: str
    source: str
    bounds: tuple[Bound, ...] = ()

    @property
    def figure(self) -> str:
        """Value and unit."""
        return "none" if self.value is None else f"{self.value:,.10g} {self.unit}".strip()


@dataclass(frozen=True)
class Deployed:
    """What AWS says of one deployment."""

    read_timeout: float
    lambda_timeout: float
    memory: int
    concurrency: int | None
    models: dict[str, dict[str, Any]]
    endpoint: str
    instances: int
    startup: int | None
    container: Settings
    heartbeat: float


def read(stage: str, name: str) -> Deployed:
    """Ask the stage's stacks.

    Raises:
        CommandError: they are not there, or cannot be read.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    options = aws_options(stage)
    stack = f"{name}-{stage}-service"
    try:
        cloudformation = boto3.client("cloudformation", **options)
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        parameters = {it["ParameterKey"]: it["ParameterValue"] for it in described.get("Parameters", [])}
        if parameters.get(PARAMETER) == "Stopped":
            raise CommandError(stopped(stage, name))
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])}
        if not {"FunctionName", "EndpointName", "ModelName"} <= outputs.keys():
            raise undeployed(stack, stage)
        resources = cloudformation.describe_stack_resources(StackName=stack)
        ids: dict[str, str] = {}
        for resource in resources["StackResources"]:
            ids.setdefault(resource["ResourceType"], resource["PhysicalResourceId"])
        distribution = boto3.client("cloudfront", **options).get_distribution_config(
            Id=ids["AWS::CloudFront::Distribution"]
        )["DistributionConfig"]
        lambda_ = boto3.client("lambda", **options)
        deployed = lambda_.get_function_configuration(FunctionName=outputs["FunctionName"])
        concurrency = lambda_.get_function_concurrency(FunctionName=outputs["FunctionName"])
        sagemaker = boto3.client("sagemaker", **options)
        endpoint = sagemaker.describe_endpoint(EndpointName=outputs["EndpointName"])
        config = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
        [variant] = config["ProductionVariants"]
        variables = deployed["Environment"]["Variables"]
        models = json.loads(variables["SLUICE_MODELS"])
        name = _model_name(sagemaker, variant, models[outputs["ModelName"]].get("component"))
        model = sagemaker.describe_model(ModelName=name)
        return Deployed(
            read_timeout=min(
                item["CustomOriginConfig"]["OriginReadTimeout"]
                for item in distribution["Origins"]["Items"]
                if "CustomOriginConfig" in item
            ),
            lambda_timeout=deployed["Timeout"],
            memory=deployed["MemorySize"],
            concurrency=concurrency.get("ReservedConcurrentExecutions"),
            models=models,
            endpoint=endpoint["EndpointName"],
            instances=variant.get("InitialInstanceCount", 1),
            startup=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
            container=Settings.from_environment(model["PrimaryContainer"].get("Environment", {})),
            heartbeat=float(variables.get("SLUICE_HEARTBEAT_SECONDS", function.HEARTBEAT)),
        )
    except (BotoCoreError, ClientError) as error:
        raise unreadable(stack, stage, error) from None
    except (KeyError, ValueError, StartError) as error:
        raise CommandError(f"The stack {stack} cannot be read: {error!r}") from None


def _model_name(sagemaker: Any, variant: dict[str, Any], component: str | None) -> str:
    """The model of a variant, or of the inference component on it."""
    if component is not None:
        found = sagemaker.describe_inference_component(InferenceComponentName=component)
        variant = found["Specification"]
    return str(variant["ModelName"])


def rows(found: Deployed) -> list[Row]:
    """Every hop's limits, from the client inwards."""
    mine, theirs = "lambda_fn/limits.py", "model/"
    timing = Timing()
    both: tuple[Bound, ...] = ("first byte", "gap")
    return [
        Row("CloudFront", "origin read timeout", found.read_timeout, "s", "deployed", both),
        Row("Lambda", "timeout", found.lambda_timeout, "s", "deployed", ("duration",)),
        Row("Lambda", "request payload", 6 * 1024 * 1024, "bytes", _LAMBDA, ("request size",)),
        Row("Lambda", "streamed response", 200 * 1024 * 1024, "bytes", _LAMBDA, ("answer size",)),
        Row("Lambda", "memory", found.memory, "MB", "deployed"),
        Row("Lambda", "reserved concurrency", found.concurrency, "", "deployed"),
        Row("function", "first byte at the latest (admission, first record)", _admission() + function.FIRST_EVENT_WAIT,
            "s", mine),
        Row("function", "heartbeat", found.heartbeat, "s", "deployed"),
        Row("function", "deadline given to the container", function.STREAM_DEADLINE, "s", mine, ("duration",)),
        Row("function", "wait beyond that", function.STREAM_GRACE, "s", mine),
        Row("function", "settlement, at worst", _settlement(), "s", mine),
        Row("function", "request body", function.MAX_BODY, "bytes", mine, ("request size",)),
        Row("SageMaker", "first byte", LIMITS.sagemaker_first_byte, "s", _SAGEMAKER, ("first byte",)),
        Row("SageMaker", "streamed response", LIMITS.sagemaker_response, "s", _SAGEMAKER, ("duration",)),
        Row("SageMaker", "request body", 6_291_456, "bytes", "botocore's model", ("request size",)),
        Row("SageMaker", "instances", found.instances, "", "deployed"),
        Row("SageMaker", "start-up health check", found.startup, "s", "deployed"),
        Row("container", "answers without a first token after", timing.open_after, "s", theirs),
        Row("container", "heartbeat", timing.heartbeat, "s", theirs),
        Row("container", "request body", MAX_BODY_BYTES, "bytes", theirs, ("request size",)),
        Row("container", "context", found.container.context_tokens, "tokens", "deployed"),
        Row("container", "requests at once, and waiting", found.container.parallel + found.container.queue, "",
            "deployed"),
    ]  # fmt: skip


def tightest(table: list[Row]) -> dict[Bound, list[Row]]:
    """The limits that cut first; several where they are equal."""
    found: dict[Bound, list[Row]] = {}
    for row in table:
        for bound in row.bounds:
            least = found.setdefault(bound, [row])[0].value or 0
            if (row.value or 0) < least:
                found[bound] = [row]
            elif row.value == least and row not in found[bound]:
                found[bound].append(row)
    return found


def contradictions(found: Deployed) -> list[str]:
    """What cannot all be kept, in words: the rules of synth over the deployed figures, and whether both ends agree."""
    timing = Timing()
    held = Limits(
        cloudfront_read=found.read_timeout,
        lambda_timeout=found.lambda_timeout,
        admission=_admission(),
        settlement=_settlement(),
        first_answer=function.FIRST_EVENT_WAIT,
        heartbeat=found.heartbeat,
        stream_deadline=function.STREAM_DEADLINE,
        stream_grace=function.STREAM_GRACE,
        container_answer=timing.open_after,
        container_heartbeat=timing.heartbeat,
    ).contradictions()
    for name, model in found.models.items():
        if model["endpoint"] != found.endpoint:
            held.append(f"the function's model {name} is at endpoint {model['endpoint']}, deployed is {found.endpoint}")
        if model["context_tokens"] != found.container.context_tokens:
            held.append(
                f"the function gives {name} {model['context_tokens']} tokens of context, "
                f"the container {found.container.context_tokens}"
            )
    return held


def doctor(stage: str, name: str) -> None:
    """Print the table and the tightest limits.

    Raises:
        CommandError: the stacks cannot be read, or their limits contradict each other.

    """
    found = read(stage, name)
    table = rows(found)
    lines = [(row.hop, row.what, row.figure, ", ".join(row.bounds), row.source) for row in table]
    columns(("hop", "limit", "value", "bounds", "source"), lines, right=("value",))
    console.print()
    for bound, least in tightest(table).items():
        names = " and ".join(f"{row.hop}'s {row.what}" for row in least)
        console.print(f"Tightest for {bound}: {least[0].figure}, {names}")
    if wrong := contradictions(found):
        raise CommandError("The limits contradict each other:\n    " + "\n    ".join(wrong))
    console.print("[green]✓[/green] Heartbeats, deadlines and timeouts agree.")


def _admission() -> float:
    # two writes at once
    return function.meta_worst()


def _settlement() -> float:
    # two writes, one after the other
    return function.settle_worst()
