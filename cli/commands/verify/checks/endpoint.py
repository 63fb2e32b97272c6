"""Checks of the SageMaker endpoint: weights, image, logs, metrics, scaling and roles."""

import json
import time

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
from cli.commands.verify.target import Target

_METRICS_S = 300.0
_IDLE_S = 4200
_GPU = ("ml.g", "ml.p")


def in_service(target: Target, evidence: str) -> Outcome:
    """Return `proven` if the endpoint is in service, else its state and why it failed."""
    state = target.endpoint["EndpointStatus"]
    if state in {"Creating", "Updating", "SystemUpdating"}:
        return unknown(f"the endpoint is {state}: run this again when it is not")
    wrong = [f"{state}: {target.endpoint.get('FailureReason', 'no reason')}"]
    return decided([] if state == "InService" else wrong, f"InService; {evidence}")


def starting_lines(target: Target, text: str) -> list[str]:
    """Return the lines of the endpoint's log with a text, since the endpoint was made."""
    since = target.endpoint["CreationTime"].timestamp()
    return target.log_lines(target.endpoint_log, text, since)


def weights(target: Target) -> Outcome:
    """The container found its weights below /opt/ml/model."""
    if target.engine != "llama_cpp":
        return absent(f"the engine is {target.engine or 'of another container'}, not llama_cpp")
    source = target.model["PrimaryContainer"].get("ModelDataSource", {}).get("S3DataSource", {})
    lines = starting_lines(target, "with llama_cpp")
    if not lines:
        return refuted(f"no line says `serving … with llama_cpp`; the weights are {source}")
    return proven(f"{source.get('S3DataType')}: {lines[0].strip()}")


def listing(target: Target) -> Outcome:
    """The role may list what it needs, the endpoint serves, and its invocations are counted."""
    role = target.model["ExecutionRoleArn"]
    found = target.client("iam").simulate_principal_policy(
        PolicySourceArn=role, ActionNames=["s3:ListBucket", "cloudwatch:PutMetricData"]
    )["EvaluationResults"]
    seen = {result["EvalActionName"]: result["EvalDecision"] for result in found}
    state = in_service(target, json.dumps(seen))
    if state.verdict != "proven":
        return state
    target.chat(max_tokens=2)
    metrics = target.wait(
        lambda: target.client("cloudwatch").list_metrics(
            Namespace="AWS/SageMaker",
            MetricName="Invocations",
            Dimensions=[{"Name": "EndpointName", "Value": target.outputs["EndpointName"]}],
        )["Metrics"],
        patience=_METRICS_S,
    )
    return state if metrics else refuted(f"no metric of the endpoint; {state.evidence}")


def prefixes(target: Target) -> Outcome:
    """SageMaker read the weights with a grant that names their prefix."""
    source = target.model["PrimaryContainer"].get("ModelDataSource", {}).get("S3DataSource")
    if source is None:
        return absent("the model has no weights in S3")
    return in_service(target, f"weights from {source['S3Uri']} ({source['S3DataType']})")


def grants(target: Target) -> Outcome:
    """SageMaker assumes a role whose trust names the account."""
    role = target.model["ExecutionRoleArn"].rpartition("/")[2]
    trust = target.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    if "aws:SourceAccount" not in json.dumps(trust):
        return refuted(f"the trust of {role} does not name the account")
    return in_service(target, f"the trust of {role} names the account")


def isolated(target: Target) -> Outcome:
    """An endpoint in a VPC, or with a key for its volumes, starts with the narrowed grants."""
    config = target.client("sagemaker").describe_endpoint_config(
        EndpointConfigName=target.endpoint["EndpointConfigName"]
    )
    vpc, key = target.model.get("VpcConfig"), config.get("KmsKeyId")
    if not vpc or not key:
        missing = [name for name, has in (("vpc", vpc), ("kms_key", key)) if not has]
        return absent(f"deployed without {' and '.join(missing)}")
    return in_service(target, f"in {len(vpc['Subnets'])} subnets, volumes with {key}")


def user(target: Target) -> Outcome:
    """SageMaker runs the image with its user, who can read the weights."""
    return in_service(target, f"the image {target.model['PrimaryContainer']['Image']}")


def trials(target: Target) -> Outcome:
    """A grammar is tried in a child process beside the model, and the request is answered."""
    if target.engine != "llama_cpp":
        return absent(f"the engine is {target.engine or 'of another container'}, not llama_cpp")
    schema = {
        "type": "object",
        "properties": {"yes": {"type": "boolean"}},
        "required": ["yes"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
    response = target.chat("Is water wet?", max_tokens=24, response_format=form)
    wrong = [] if response.status == 200 else [f"status {response.status}: {response.body[:200]!r}"]
    return decided(wrong, "a request with `response_format` was answered")


def log_group(target: Target) -> Outcome:
    """The containers write to the group that the stack makes, and to no other."""
    group = target.endpoint_log
    logs = target.client("logs")
    found = target.wait(lambda: logs.describe_log_streams(logGroupName=group)["logStreams"])
    groups = logs.describe_log_groups(logGroupNamePrefix=group)["logGroups"]
    wrong = [] if found else [f"{group} has no log stream"]
    wrong += [f"there is {one['logGroupName']}" for one in groups if one["logGroupName"] != group]
    lines = target.log_lines(group, "serving", 0) if found else []
    if found and not lines:
        wrong.append(f"no line of {group} says that the container serves")
    return decided(wrong, f"{len(found or [])} streams in {group}: {''.join(lines[:1]).strip()}")


def scraped(target: Target) -> Outcome:
    """The container's own metrics can be read by PromQL."""
    target.chat(max_tokens=2)
    try:
        found = target.wait(lambda: target.promql('{__name__=~"gen_ai_.*"}'), patience=_METRICS_S)
    except OSError as error:
        return unknown(f"PromQL cannot be asked: {error}")
    return proven(f"{len(found)} series of gen_ai_*") if found else refuted("no series of gen_ai_*")


def counted(target: Target) -> Outcome:
    """A container of AWS sends running counts: a stream that is left has its prompt's tokens."""
    if target.engine:
        return absent("the container is this project's: deploy with -c container=vllm, sglang, lmi")
    key = target.make_key()
    response = target.chat("Count to a thousand.", stream=True, max_tokens=400, key=key)
    item = target.ledger(response)
    wrong = [] if item["prompt_tokens"] else [f"the ledger has {item['prompt_tokens']}"]
    return decided(wrong, f"the ledger has {item['prompt_tokens']} prompt tokens")


def no_capacity(target: Target) -> Outcome:
    """A component without a copy rejects a request in the words that the function looks for."""
    components = target.physical("AWS::SageMaker::InferenceComponent")
    if not components:
        return absent("the deployment has no inference component: deploy with scale_to_zero")
    sagemaker, name = target.client("sagemaker"), components[0].rpartition("/")[2]
    runtime = {"InferenceComponentName": name, "DesiredRuntimeConfig": {"CopyCount": 0}}
    sagemaker.update_inference_component_runtime_config(**runtime)
    try:
        target.wait(
            lambda: (
                sagemaker.describe_inference_component(InferenceComponentName=name)[
                    "RuntimeConfig"
                ]["CurrentCopyCount"]
                == 0
            ),
            patience=900,
        )
        response = target.chat(max_tokens=2)
    finally:
        runtime["DesiredRuntimeConfig"] = {"CopyCount": 1}
        sagemaker.update_inference_component_runtime_config(**runtime)
    code = (response.json() or {}).get("error", {}).get("code")
    wrong = (
        [f"{response.status} {code}"] if (response.status, code) != (503, "model_starting") else []
    )
    return decided(wrong, "503 model_starting without a copy")


def scaled_in(target: Target) -> Outcome:
    """Without requests the endpoint's instances go to zero."""
    if "ManagedInstanceScaling" not in target.variant:
        return absent("the instances are not managed: deploy with scale_to_zero")
    sagemaker, name = target.client("sagemaker"), target.outputs["EndpointName"]

    def count() -> int:
        found = sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"][0]
        return int(found["CurrentInstanceCount"])

    began = time.monotonic()
    empty = target.wait(lambda: count() == 0, patience=_IDLE_S)
    minutes = (time.monotonic() - began) / 60
    wrong = [] if empty else [f"{count()} instances after {minutes:.0f} minutes without a request"]
    return decided(wrong, f"no instance after {minutes:.0f} minutes without a request")


def canary(target: Target) -> Outcome:
    """A deployment with a canary of one of two instances was accepted."""
    config = target.endpoint.get("LastDeploymentConfig", {}).get("BlueGreenUpdatePolicy")
    if config is None:
        return absent("the endpoint has not been updated with a canary: deploy a change to `prod`")
    policy = config["TrafficRoutingConfiguration"]
    return in_service(target, f"its last update was {policy['Type']} {policy.get('CanarySize')}")


def crash(target: Target) -> Outcome:
    """After a crash of the container its log has faulthandler's lines."""
    lines = starting_lines(target, "Fatal Python error")
    if lines:
        return proven(f"{lines[0].strip()}")
    return absent("no container has crashed since the endpoint was made")


def gpu(target: Target) -> Outcome:
    """VLLM loads and samples on a GPU, and its metrics are there."""
    if target.engine != "vllm" or not target.variant["InstanceType"].startswith(_GPU):
        return absent("deploy with -c engine=vllm -c instance_type=ml.g6.xlarge")
    response = target.chat("Say hello.", max_tokens=16)
    wrong = [] if response.status == 200 else [f"status {response.status}: {response.body[:200]!r}"]
    lines = starting_lines(target, "with vllm")
    wrong += [] if lines else ["no line says `serving … with vllm`"]
    return decided(
        wrong, f"an answer of {len(response.body):,} bytes; {''.join(lines[:1]).strip()}"
    )


def gpu_image(target: Target) -> Outcome:
    """The GPU image's CUDA fits the driver of the endpoint's machine image."""
    if target.engine != "vllm" or not target.variant["InstanceType"].startswith(_GPU):
        return absent("deploy with -c engine=vllm -c instance_type=ml.g6.xlarge")
    return in_service(target, f"{target.variant.get('InferenceAmiVersion', 'the default AMI')}")


CHECKS = (
    Check(
        "weights",
        "`S3DataType: S3Object` without compression puts the GGUF file below `/opt/ml/model`",
        "the container's log says `serving … with llama_cpp`; otherwise use "
        "`weights=s3://bucket/prefix/`",
        Wave.ARRIVAL,
        weights,
    ),
    Check(
        "list-bucket",
        "whether `s3:ListBucket` is needed for that, and the condition on `cloudwatch:namespace`",
        "the endpoint is in service, and its metrics appear",
        Wave.ARRIVAL,
        listing,
        310,
    ),
    Check(
        "weights-prefix",
        "SageMaker lists weights with `s3:prefix`",
        "the endpoint is in service, with a file and with a prefix as `weights`",
        Wave.READ,
        prefixes,
    ),
    Check(
        "source-account",
        "SageMaker and CodeBuild send `aws:SourceAccount` when they assume a role, as their guides "
        "say (Lambda's does not: its trust is plain)",
        "the trust names the account, and the endpoint is in service; `-c image_build=codebuild`",
        Wave.READ,
        grants,
    ),
    Check(
        "vpc-and-key",
        "grants on network interfaces narrowed to subnets and groups suffice; "
        "`kms:GrantIsForAWSResource` holds for endpoint volumes",
        "deploy in a VPC, and with `kms_key`: the endpoint is in service",
        Wave.READ,
        isolated,
    ),
    Check(
        "image-user",
        "SageMaker runs the image as root, with which its guide says containers must run",
        "the endpoint is in service",
        Wave.READ,
        user,
    ),
    Check(
        "grammar-trials",
        "two processes of 40 MB that try grammars fit beside the model, and the container may "
        "write `/tmp`",
        "a request with `response_format` answers",
        Wave.TRAFFIC,
        trials,
    ),
    Check(
        "log-group",
        "the log group that the stack makes is the one that SageMaker writes to, and it needs no "
        "`logs:CreateLogGroup` then",
        "the container's lines are in `/aws/sagemaker/Endpoints/<name>`, and there is no other "
        "group",
        Wave.ARRIVAL,
        log_group,
        120,
        local=True,
    ),
    Check(
        "scraped-metrics",
        "SageMaker scrapes `/metrics` of the container (`detailed_metrics`, set on purpose)",
        "a PromQL query at `monitoring.REGION` finds series of `gen_ai_*`",
        Wave.ARRIVAL,
        scraped,
        310,
    ),
    Check(
        "running-counts",
        "whether vLLM, SGLang and LMI in AWS's containers send running counts "
        "(`continuous_usage_stats`) as their sources say",
        "the ledger of a stream has prompt tokens",
        Wave.TRAFFIC,
        counted,
        30,
        0.05,
    ),
    Check(
        "no-capacity",
        'the "no capacity" message with which an inference component without a copy rejects a '
        "request",
        "with `scale_to_zero`, set no copies: a request is a 503 `model_starting`",
        Wave.DESTRUCTIVE,
        no_capacity,
        1000,
        0.2,
    ),
    Check(
        "scale-in",
        "`MinInstanceCount: 0` with a target that CloudFormation registers after the component",
        "the instance count is 0 some 15 minutes after the last request",
        Wave.DESTRUCTIVE,
        scaled_in,
        _IDLE_S,
        1.0,
    ),
    Check(
        "canary",
        "a canary of one instance is accepted for a fleet of two",
        "a deployment of `prod` that changes `parallel`",
        Wave.READ,
        canary,
    ),
    Check(
        "crash-lines",
        "after a crash the log group has faulthandler's lines",
        "`kill -SEGV` in the container",
        Wave.ARRIVAL,
        crash,
    ),
    Check(
        "vllm-gpu",
        "vLLM with a GPU: loading, sampling, tensor parallelism, LoRA, quantised weights (the suite "
        "has run over vLLM 0.33.0 with a stand-in for its core)",
        "deploy `-c engine=vllm` on `ml.g6.xlarge`: an answer, and the log's line",
        Wave.GPU,
        gpu,
        60,
        0.3,
    ),
    Check(
        "gpu-image",
        "the GPU image builds on `vllm/vllm-openai:v0.33.0`, which could not be pulled, and its "
        "CUDA fits the endpoint's AMI",
        "`docker build --target gpu -f model/Dockerfile .`, and the endpoint is in service",
        Wave.GPU,
        gpu_image,
    ),
)
