"""`sluice doctor`: show the deployed limits of every hop, the tightest of them, conflicts, and the
alarms that ring.

AWS reports what is deployed. The figures of the function and the container are those of this
checkout. The fixed limits of AWS's services are in `infra.limits` and in this file, with their
sources.
"""

import argparse
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from cli.lib import values
from cli.lib.endpoint_state import PARAMETER, parameters_of, stopped
from cli.lib.project import CommandError
from cli.lib.stack import aws_options, undeployed, unreadable
from cli.lib.terminal import columns, console, literal, print_json, sentence
from infra.limits import LIMITS, Limits
from lambda_fn import limits as function

if TYPE_CHECKING:
    from model.settings import Settings

HELP = "Show every hop's limits as deployed, and alarms that ring; fail if limits conflict."
Bound = Literal["first byte", "gap", "duration", "request size", "answer size"]

_ALARM_TYPES = {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"}
_ALARMS_A_CALL = 100
_LAMBDA = "Lambda quotas"
_SAGEMAKER = "SageMaker runtime API reference"
_GATEWAY = "API Gateway quotas of WebSocket APIs"
_SOCKET_CONTROL = "SocketControlFunction"
"""How the logical id of the control function of sockets begins."""


@dataclass(frozen=True)
class Row:
    """One limit of a hop.

    `bounds` names what the limit cuts off. Without bounds, the figure is a time that the hop keeps,
    or its capacity.
    """

    hop: str
    limit: str
    value: float | None
    unit: str
    source: str
    bounds: tuple[Bound, ...] = ()

    @property
    def figure(self) -> str:
        """The value and its unit as text."""
        return "none" if self.value is None else f"{self.value:,.10g} {self.unit}".strip()


@dataclass(frozen=True)
class Alarm:
    """An alarm's state (OK, ALARM or INSUFFICIENT_DATA), what it is about, and why it is so."""

    state: str
    about: str
    reason: str


@dataclass(frozen=True)
class Deployed:
    """One deployment as AWS describes it. Times are seconds."""

    read_timeout: float
    lambda_timeout: float
    memory: int
    concurrency: int | None
    models: dict[str, dict[str, Any]]
    endpoint: str
    instances: int
    startup: int | None
    container: "Settings"
    heartbeat: float
    alarms: Mapping[str, Alarm] = field(default_factory=dict)
    """The alarms of the service stack by their names in it."""
    kept: "Kept | None" = None
    """What answers are kept in; None where persistence is off."""
    sockets: "Sockets | None" = None
    """The functions of sockets; None without sockets."""


@dataclass(frozen=True)
class Kept:
    """The table of kept answers and the function that reads them."""

    table: str
    status: str
    """DynamoDB's status of the table, or MISSING."""
    expires: bool
    """Whether DynamoDB removes what is over its time."""
    concurrency: int | None
    """The recall function's reserved concurrency."""


@dataclass(frozen=True)
class Sockets:
    """The reserved concurrency of the functions of sockets: the one that answers, and the control
    function.
    """

    answering: int | None
    control: int | None


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the table and the tightest limits.

    Raises:
        CommandError: the stacks cannot be read, or their limits contradict each other.

    """
    deployed = read(args.stage, args.stack_name)
    table, wrong = rows(deployed), contradictions(deployed)
    if args.json:
        alarms = {name: asdict(alarm) for name, alarm in deployed.alarms.items()}
        limits = [asdict(row) for row in table]
        print_json({"limits": limits, "contradictions": wrong, "alarms": alarms})
        if wrong:
            raise CommandError("The limits contradict each other.")
        return
    lines = [(row.hop, row.limit, row.figure, ", ".join(row.bounds), row.source) for row in table]
    columns(("hop", "limit", "value", "bounds", "source"), lines, right=("value",))
    console.print()
    for bound, tightest_rows in tightest(table).items():
        names = " and ".join(f"{row.hop}'s {row.limit}" for row in tightest_rows)
        sentence(f"Tightest for {bound}: {tightest_rows[0].figure}, {names}")
    _show_alarms(deployed.alarms)
    if wrong:
        raise CommandError("The limits contradict each other:\n    " + "\n    ".join(wrong))
    console.print("[green]✓[/green] Heartbeats, deadlines and timeouts agree.")


def _show_alarms(alarms: Mapping[str, Alarm]) -> None:
    """Print the alarms that ring, and how many do not."""
    for name, alarm in alarms.items():
        if alarm.state == "ALARM":
            sentence(f"[red]Alarm[/red] {literal(name)}: {literal(alarm.about)}")
            sentence(f"    {literal(alarm.reason)}")
    counts = Counter(alarm.state for alarm in alarms.values())
    if alarms:
        waiting = counts["INSUFFICIENT_DATA"]
        no_data = f", {waiting} without data yet" if waiting else ""
        console.print(f"Alarms: {len(alarms)} in all, {counts['ALARM']} ringing{no_data}.")


def read(stage: str, name: str) -> Deployed:
    """Return what AWS reports about a stage's stack.

    Raises:
        CommandError: the stack does not exist, its endpoint is stopped, or AWS cannot be called.

    """
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    from model.errors import StartError
    from model.settings import Settings

    options = aws_options(stage)
    stack = f"{name}-{stage}-service"
    try:
        cloudformation = boto3.client("cloudformation", **options)
        [described] = cloudformation.describe_stacks(StackName=stack)["Stacks"]
        if parameters_of(described).get(PARAMETER) == "Stopped":
            raise CommandError(stopped(stage, name))
        outputs = {
            output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", [])
        }
        if not {"FunctionName", "EndpointName", "ModelName"} <= outputs.keys():
            raise undeployed(stack, stage)
        # DescribeStackResources has no more than 100.
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=stack)
        resources = [one for page in pages for one in page["StackResourceSummaries"]]
        ids: dict[str, str] = {}
        for resource in resources:
            ids.setdefault(resource["ResourceType"], resource["PhysicalResourceId"])
        distribution = boto3.client("cloudfront", **options).get_distribution_config(
            Id=ids["AWS::CloudFront::Distribution"]
        )["DistributionConfig"]
        lambda_ = boto3.client("lambda", **options)
        configuration = lambda_.get_function_configuration(FunctionName=outputs["FunctionName"])
        concurrency = lambda_.get_function_concurrency(FunctionName=outputs["FunctionName"])
        sagemaker = boto3.client("sagemaker", **options)
        endpoint = sagemaker.describe_endpoint(EndpointName=outputs["EndpointName"])
        config = sagemaker.describe_endpoint_config(
            EndpointConfigName=endpoint["EndpointConfigName"]
        )
        [variant] = config["ProductionVariants"]
        variables = configuration["Environment"]["Variables"]
        models = json.loads(variables["SLUICE_MODELS"])
        name = _model_name(sagemaker, variant, models[outputs["ModelName"]].get("component"))
        model = sagemaker.describe_model(ModelName=name)
        return Deployed(
            read_timeout=min(
                item["CustomOriginConfig"]["OriginReadTimeout"]
                for item in distribution["Origins"]["Items"]
                if "CustomOriginConfig" in item
            ),
            lambda_timeout=configuration["Timeout"],
            memory=configuration["MemorySize"],
            concurrency=concurrency.get("ReservedConcurrentExecutions"),
            models=models,
            endpoint=endpoint["EndpointName"],
            instances=variant.get("InitialInstanceCount", 1),
            startup=variant.get("ContainerStartupHealthCheckTimeoutInSeconds"),
            container=Settings.from_environment(model["PrimaryContainer"].get("Environment", {})),
            heartbeat=float(variables.get("SLUICE_HEARTBEAT_SECONDS", function.HEARTBEAT)),
            alarms=_alarms(boto3.client("cloudwatch", **options), resources),
            kept=_kept(boto3.client("dynamodb", **options), lambda_, variables, outputs),
            sockets=_sockets(lambda_, outputs, resources),
        )
    except (BotoCoreError, ClientError) as error:
        raise unreadable(stack, stage, error) from None
    except (KeyError, ValueError, StartError) as error:
        raise CommandError(f"The stack {stack} cannot be read: {error!r}") from None


def _kept(
    dynamodb: Any, lambda_: Any, variables: Mapping[str, str], outputs: Mapping[str, str]
) -> Kept | None:
    """Return what answers are kept in. `variables` are the stream function's."""
    table, function_name = variables.get("SLUICE_STREAM_TABLE"), outputs.get("RecallFunctionName")
    if table is None or function_name is None:
        return None
    reserved = lambda_.get_function_concurrency(FunctionName=function_name)
    concurrency = reserved.get("ReservedConcurrentExecutions")
    try:
        status = dynamodb.describe_table(TableName=table)["Table"]["TableStatus"]
        expiry = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    except dynamodb.exceptions.ResourceNotFoundException:
        return Kept(table, "MISSING", expires=False, concurrency=concurrency)
    expires = expiry["TimeToLiveStatus"] in ("ENABLED", "ENABLING")
    return Kept(table, status, expires=expires, concurrency=concurrency)


def _sockets(
    lambda_: Any, outputs: Mapping[str, str], resources: Sequence[Mapping[str, Any]]
) -> Sockets | None:
    """Return what the functions of sockets have."""
    if "SocketFunctionName" not in outputs:
        return None
    control = next(
        resource["PhysicalResourceId"]
        for resource in resources
        if resource["ResourceType"] == "AWS::Lambda::Function"
        and resource["LogicalResourceId"].startswith(_SOCKET_CONTROL)
    )

    def reserved(name: str) -> int | None:
        found = lambda_.get_function_concurrency(FunctionName=name)
        count: int | None = found.get("ReservedConcurrentExecutions")
        return count

    return Sockets(reserved(outputs["SocketFunctionName"]), reserved(control))


def _alarms(cloudwatch: Any, resources: Sequence[Mapping[str, Any]]) -> dict[str, Alarm]:
    """Return the alarms of a stack by their logical ids, without CDK's digits."""
    names = {
        # The physical id of an alarm is its name, and that of a composite one its ARN.
        resource["PhysicalResourceId"].rpartition(":")[2]: resource["LogicalResourceId"]
        for resource in resources
        if resource["ResourceType"] in _ALARM_TYPES
    }
    found: dict[str, Alarm] = {}
    every = list(names)
    for start in range(0, len(every), _ALARMS_A_CALL):
        described = cloudwatch.describe_alarms(
            AlarmNames=every[start : start + _ALARMS_A_CALL],
            AlarmTypes=["MetricAlarm", "CompositeAlarm"],
        )
        for alarm in (*described["MetricAlarms"], *described["CompositeAlarms"]):
            name = re.sub("[0-9A-F]{8}$", "", names[alarm["AlarmName"]])
            found[name] = Alarm(
                alarm["StateValue"], alarm.get("AlarmDescription", ""), alarm.get("StateReason", "")
            )
    return dict(sorted(found.items()))


def _model_name(sagemaker: Any, variant: dict[str, Any], component: str | None) -> str:
    """Return the model of a variant, or of the inference component on it."""
    if component is not None:
        variant = sagemaker.describe_inference_component(InferenceComponentName=component)[
            "Specification"
        ]
    return str(variant["ModelName"])


def rows(deployed: Deployed) -> list[Row]:
    """Return every hop's limits, from the client inwards."""
    from model.answers import Timing
    from model.schema import MAX_BODY_BYTES

    source, containers = "lambda_fn/limits.py", "model/"
    timing = Timing()
    both: tuple[Bound, ...] = ("first byte", "gap")
    kept = deployed.kept
    return [
        Row("CloudFront", "origin read timeout", deployed.read_timeout, "s", "deployed", both),
        Row("Lambda", "timeout", deployed.lambda_timeout, "s", "deployed", ("duration",)),
        Row("Lambda", "request payload", 6 * 1024 * 1024, "bytes", _LAMBDA, ("request size",)),
        Row("Lambda", "streamed response", 200 * 1024 * 1024, "bytes", _LAMBDA, ("answer size",)),
        Row("Lambda", "memory", deployed.memory, "MB", "deployed"),
        Row("Lambda", "reserved concurrency", deployed.concurrency, "", "deployed"),
        *(() if kept is None else (
            Row("Lambda", "reserved concurrency of recall", kept.concurrency, "", "deployed"),)),
        *_socket_rows(deployed.sockets),
        Row("function", "first byte at the latest (admission, first record)",
            function.meta_worst() + function.FIRST_EVENT_WAIT, "s", source),
        Row("function", "heartbeat", deployed.heartbeat, "s", "deployed"),
        Row("function", "deadline given to the container", function.STREAM_DEADLINE, "s", source, ("duration",)),
        Row("function", "wait beyond that", function.STREAM_GRACE, "s", source),
        Row("function", "settlement, at worst", function.settle_worst(), "s", source),
        Row("function", "request body", function.MAX_BODY, "bytes", source, ("request size",)),
        Row("SageMaker", "first byte", LIMITS.sagemaker_first_byte, "s", _SAGEMAKER, ("first byte",)),
        Row("SageMaker", "streamed response", LIMITS.sagemaker_response, "s", _SAGEMAKER, ("duration",)),
        Row("SageMaker", "request body", 6_291_456, "bytes", "botocore's model", ("request size",)),
        Row("SageMaker", "instances", deployed.instances, "", "deployed"),
        Row("SageMaker", "start-up health check", deployed.startup, "s", "deployed"),
        Row("container", "answers without a first token after", timing.open_after, "s", containers),
        Row("container", "heartbeat", timing.heartbeat, "s", containers),
        Row("container", "request body", MAX_BODY_BYTES, "bytes", containers, ("request size",)),
        Row("container", "context", deployed.container.context_tokens, "tokens", "deployed"),
        Row("container", "requests at once, and waiting", deployed.container.parallel + deployed.container.queue, "",
            "deployed"),
    ]  # fmt: skip


def _socket_rows(sockets: Sockets | None) -> list[Row]:
    """Return the limits of sockets. They bound no request over HTTP."""
    if sockets is None:
        return []
    from lambda_fn.socket.gateway.store import MAX_SOCKETS, SECONDS

    answering, control = sockets.answering, sockets.control
    return [
        Row("API Gateway", "frame of a socket", 32 * 1024, "bytes", _GATEWAY),
        Row("API Gateway", "message of a socket", 128 * 1024, "bytes", _GATEWAY),
        Row("API Gateway", "socket without a message", 600, "s", _GATEWAY),
        Row("API Gateway", "socket", SECONDS, "s", _GATEWAY),
        Row("Lambda", "reserved concurrency of sockets", answering, "", "deployed"),
        Row("Lambda", "reserved concurrency of their control", control, "", "deployed"),
        Row("function", "age of a socket's message", function.MESSAGE_AGE, "s", "lambda_fn/limits.py"),
        Row("function", "sockets of a key", MAX_SOCKETS, "", "lambda_fn/socket/gateway/store.py"),
    ]  # fmt: skip


def tightest(table: list[Row]) -> dict[Bound, list[Row]]:
    """Return the smallest limit for each bound. Equal limits are all returned."""
    smallest: dict[Bound, list[Row]] = {}
    for row in table:
        for bound in row.bounds:
            current = smallest.setdefault(bound, [row])[0].value or 0
            if (row.value or 0) < current:
                smallest[bound] = [row]
            elif row.value == current and row not in smallest[bound]:
                smallest[bound].append(row)
    return smallest


def contradictions(deployed: Deployed) -> list[str]:
    """Return a sentence for each contradiction between limits.

    It applies the rules of synthesis to the deployed figures, and compares the function's models
    with the container.
    """
    from model.answers import Timing

    timing = Timing()
    wrong = Limits(
        cloudfront_read=deployed.read_timeout,
        lambda_timeout=deployed.lambda_timeout,
        admission=function.meta_worst(),
        settlement=function.settle_worst(),
        first_answer=function.FIRST_EVENT_WAIT,
        heartbeat=deployed.heartbeat,
        stream_deadline=function.STREAM_DEADLINE,
        stream_grace=function.STREAM_GRACE,
        container_answer=timing.open_after,
        container_heartbeat=timing.heartbeat,
        endpoint_silence=function.UPSTREAM_SILENCE,
    ).contradictions()
    for name, model in deployed.models.items():
        if model["endpoint"] != deployed.endpoint:
            wrong.append(
                f"the function sends requests for {name} to the endpoint {model['endpoint']}, "
                f"and the deployed endpoint is {deployed.endpoint}"
            )
        if model["context_tokens"] != deployed.container.context_tokens:
            wrong.append(
                f"the function assumes {model['context_tokens']} tokens of context for {name}, "
                f"and the container has {deployed.container.context_tokens}"
            )
    kept = deployed.kept
    if kept is not None and kept.status not in ("ACTIVE", "UPDATING"):
        wrong.append(f"the table of kept answers, {kept.table}, is {kept.status}")
    elif kept is not None and not kept.expires:
        wrong.append(
            f"DynamoDB removes nothing from the table of kept answers, {kept.table}: its time to "
            "live is off"
        )
    if deployed.sockets is not None:
        for what, count in asdict(deployed.sockets).items():
            if count == 0:
                wrong.append(
                    f"the {what} function of sockets gets no events: its reserved concurrency is 0"
                )
    return wrong
