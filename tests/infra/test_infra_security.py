"""Who may do what, and what stands open."""

import json
from typing import Any

import pytest

ACTIONS_WITHOUT_RESOURCES = {
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


def statements(synthesis: Any, principal: str) -> list[dict[str, Any]]:
    """The policy statements of the only role that `principal` assumes."""
    roles = synthesis.service["Resources"]
    (name,) = [
        key
        for key, it in roles.items()
        if it["Type"] == "AWS::IAM::Role" and f"{principal}.amazonaws.com" in json.dumps(it["Properties"])
    ]
    role = roles[name]["Properties"]
    assert "ManagedPolicyArns" not in role
    assert "Policies" not in role
    policies = [it["Properties"] for it in synthesis.resources("AWS::IAM::Policy")]
    mine = [it["PolicyDocument"]["Statement"] for it in policies if it["Roles"] == [{"Ref": name}]]
    return [statement for document in mine for statement in document]


def actions(statement: dict[str, Any]) -> set[str]:
    """The actions of a statement, which is a text when it is one."""
    given = statement["Action"]
    return {given} if isinstance(given, str) else set(given)


def test_the_function_may_write_usage_invoke_its_endpoint_log_and_trace(synthesis: Any) -> None:
    """The stream function's grants are exactly these, each on exactly its resource."""
    granted = {frozenset(actions(it)): it["Resource"] for it in statements(synthesis, "lambda")}
    resources = synthesis.service["Resources"]
    (endpoint,) = [name for name, it in resources.items() if it["Type"] == "AWS::SageMaker::Endpoint"]
    (log,) = [name for name, it in resources.items() if it["Type"] == "AWS::Logs::LogGroup"]
    table = granted.pop(frozenset({"dynamodb:PutItem", "dynamodb:UpdateItem"}))
    assert "UsageTable" in table["Fn::ImportValue"]
    assert "Arn" in table["Fn::ImportValue"]
    assert granted == {
        frozenset({"sagemaker:InvokeEndpointWithResponseStream"}): {"Ref": endpoint},
        frozenset({"logs:CreateLogStream", "logs:PutLogEvents"}): {"Fn::GetAtt": [log, "Arn"]},
        frozenset({"xray:PutTelemetryRecords", "xray:PutTraceSegments"}): "*",
    }


def test_the_container_may_pull_its_image_read_its_weights_and_log(synthesis: Any) -> None:
    """The execution role's grants are exactly these."""
    granted = {action for it in statements(synthesis, "sagemaker") for action in actions(it)}
    assert granted == {
        "cloudwatch:PutMetricData",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "logs:CreateLogGroup",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
        "s3:GetObject",
        "s3:ListBucket",
    }
    (read,) = [it["Resource"] for it in statements(synthesis, "sagemaker") if actions(it) == {"s3:GetObject"}]
    assert read["Fn::Join"][1][-1].endswith(".gguf")


@pytest.mark.parametrize("principal", ["lambda", "sagemaker"])
def test_only_actions_that_know_no_resource_are_granted_on_all(synthesis: Any, principal: str) -> None:
    """No action holds a wildcard, and the resource `*` stands only where IAM offers no other."""
    for statement in statements(synthesis, principal):
        assert statement["Effect"] == "Allow"
        assert not [action for action in actions(statement) if "*" in action]
        if statement["Resource"] == "*":
            assert actions(statement) <= ACTIONS_WITHOUT_RESOURCES


def test_the_origin_secret_is_never_in_a_template(synthesis: Any) -> None:
    """Function and distribution get the secret by reference; CloudFormation generates it."""
    variables = synthesis.the("AWS::Lambda::Function")["Environment"]["Variables"]
    (origin,) = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]["Origins"]
    (header,) = origin["OriginCustomHeaders"]
    assert header["HeaderName"] == "x-sluice-origin-secret"
    assert header["HeaderValue"] == variables["SLUICE_ORIGIN_SECRET"]
    assert header["HeaderValue"] != variables["SLUICE_ORIGIN_SECRET_PREVIOUS"]
    for name in ("SLUICE_ORIGIN_SECRET", "SLUICE_ORIGIN_SECRET_PREVIOUS"):
        start, reference, end = variables[name]["Fn::Join"][1]
        assert (start, end) == ("{{resolve:secretsmanager:", ":SecretString:::}}")
        secret = synthesis.service["Resources"][reference["Ref"]]["Properties"]
        assert secret["GenerateSecretString"] == {"ExcludePunctuation": True, "PasswordLength": 48}
        assert "SecretString" not in secret


def test_the_distribution_passes_streams_on_untouched(synthesis: Any) -> None:
    """Nothing is cached, compressed, redirected or filtered by method; a silent minute ends a connection."""
    config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    behaviour = config["DefaultCacheBehavior"]
    assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # AWS's CachingDisabled
    assert behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"  # AllViewerExceptHostHeader
    assert behaviour["Compress"] is False
    assert behaviour["ViewerProtocolPolicy"] == "https-only"
    assert len(behaviour["AllowedMethods"]) == 7
    assert config["HttpVersion"] == "http2and3"
    (origin,) = config["Origins"]
    assert origin["CustomOriginConfig"]["OriginReadTimeout"] == 60
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_the_function_url_streams_to_any_caller(synthesis: Any) -> None:
    """The URL needs no signature, and both permissions that it takes are there."""
    url = synthesis.the("AWS::Lambda::Url")
    assert (url["AuthType"], url["InvokeMode"]) == ("NONE", "RESPONSE_STREAM")
    granted = {it["Properties"]["Action"] for it in synthesis.resources("AWS::Lambda::Permission")}
    assert granted == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}


def test_the_function_runs_under_our_runtime_with_bounds(synthesis: Any) -> None:
    """Exec wrapper, timeout, tracing, JSON logs and a log group that does not grow for ever."""
    function = synthesis.the("AWS::Lambda::Function")
    assert function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/bootstrap"
    assert function["Handler"] == "lambda_fn.main.handler"
    assert function["Timeout"] == 540
    assert function["TracingConfig"] == {"Mode": "Active"}
    assert function["LoggingConfig"]["LogFormat"] == "JSON"
    assert synthesis.the("AWS::Logs::LogGroup")["RetentionInDays"] > 0


@pytest.mark.parametrize(("stage", "reserved"), [("local", 256), ("dev", None), ("prod", 200)])
def test_reserved_concurrency_bounds_the_cost(syntheses: dict[str, Any], stage: str, reserved: int | None) -> None:
    """Production has a ceiling; dev leaves it out, because a new account may reserve none."""
    assert syntheses[stage].the("AWS::Lambda::Function").get("ReservedConcurrentExecutions") == reserved


def test_the_table_can_be_restored_to_any_second(synthesis: Any) -> None:
    """Point-in-time recovery is on in every stage, and capacity is paid by request."""
    table = synthesis.the("AWS::DynamoDB::GlobalTable")
    (replica,) = table["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]


@pytest.mark.parametrize(("stage", "kept"), [("local", False), ("dev", False), ("prod", True)])
def test_production_data_survives_its_stack(syntheses: dict[str, Any], stage: str, kept: bool) -> None:
    """What production's meter wrote is neither deleted with the stack nor by hand."""
    (table,) = syntheses[stage].resources("AWS::DynamoDB::GlobalTable")
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == ("Retain" if kept else "Delete")
    assert table["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is kept


def test_the_container_calls_nobody(synthesis: Any) -> None:
    """The container runs without a network of its own."""
    assert synthesis.the("AWS::SageMaker::Model")["EnableNetworkIsolation"] is True
