"""Who may do what, and what stands open."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthesis import synthesise

ACTIONS_WITHOUT_RESOURCES = {
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


FUNCTIONS = {
    "Stream": "lambda_fn.stream.main.handler",
    "Sweeper": "lambda_fn.sweep.handler.handler",
    "Control": "lambda_fn.control.handler.handler",
    "ControlSecretRotation": "lambda_fn.control.rotate.handler",
}
ADMINS = ["AdminAll", "AdminKeys", "AdminBudgets", "AdminUsage", "AdminAudit"]
"""From the control function's package, for whom IAM lets invoke them."""
OWNERS = [*FUNCTIONS, *ADMINS]
ROLES = [*OWNERS, "ModelExecution"]


def statements(synthesis: Any, owner: str) -> list[dict[str, Any]]:
    """The policy statements of the role that a construct of the service stack made."""
    roles = {key: it for key, it in synthesis.service["Resources"].items() if it["Type"] == "AWS::IAM::Role"}
    (name,) = [key for key in roles if re.fullmatch(f"{owner}Role[0-9A-F]{{8}}", key)]
    role = roles[name]["Properties"]
    assert "ManagedPolicyArns" not in role
    assert "Policies" not in role
    policies = [it["Properties"] for it in synthesis.resources("AWS::IAM::Policy")]
    mine = [it["PolicyDocument"]["Statement"] for it in policies if it["Roles"] == [{"Ref": name}]]
    return [statement for document in mine for statement in document]


def granted(synthesis: Any, owner: str) -> dict[tuple[str, ...], str]:
    """Actions -> resource in words (table, index, log, ...), of all of a role's statements."""
    found = {}
    for statement in statements(synthesis, owner):
        conditions = " if " + json.dumps(statement["Condition"]) if "Condition" in statement else ""
        found[tuple(sorted(actions(statement)))] = in_words(statement["Resource"]) + conditions
    return found


def in_words(resource: Any) -> str:
    """A resource by the last part of what it refers to, without hashes."""
    text = json.dumps(resource)
    if ":sagemaker:" in text:
        return " ".join(re.findall(r":((?:endpoint|inference-component)/[\w-]+)", text))
    if text == '"*"':
        return "*"
    indexes = re.findall(r"/index/(\w+)", text)
    if "UsageTable" in text:
        return f"table, index {' '.join(indexes)}" if indexes else "table"
    [name] = re.findall(r'"(?:Ref|Fn::GetAtt)": \[?"(\w+)[0-9A-F]{8}"', text)
    return str(name)


def actions(statement: dict[str, Any]) -> set[str]:
    """The actions of a statement, which is a text when it is one."""
    given = statement["Action"]
    return {given} if isinstance(given, str) else set(given)


_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")


def leading(*names: str) -> dict[str, Any]:
    """The condition that holds in these partitions only."""
    return {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(names)},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def partitions(*names: str) -> str:
    """The table, in these partitions only."""
    return f"table if {json.dumps(leading(*names))}"


_ROLLUPS = ("USAGE", "USAGE#*")
_ONLY_ROLLUPS = partitions(*_ROLLUPS)
_BOOKS = ("KEY#*", "LEDGER#*", *_ROLLUPS)


def test_the_stream_function_puts_no_keys(synthesis: Any) -> None:
    """It changes accounts and ledger, puts ledger items and marks, searches nothing but rollups, and invokes its
    endpoint; the secret of page tokens and the rollups themselves are out of its reach.
    """
    endpoint = synthesis.the("AWS::SageMaker::Endpoint")["EndpointName"]
    assert granted(synthesis, "Stream") == {
        ("dynamodb:GetItem", "dynamodb:UpdateItem"): partitions("KEY#*", "LEDGER#*"),
        ("dynamodb:PutItem",): partitions("LEDGER#*", "USAGE"),
        ("dynamodb:Query",): _ONLY_ROLLUPS,
        ("sagemaker:InvokeEndpointWithResponseStream",): f"endpoint/{endpoint}",
        _LOG: "StreamLog",
        ("xray:PutTelemetryRecords", "xray:PutTraceSegments"): "*",
    }


def test_the_sweeper_finds_what_is_overdue_and_settles_it(synthesis: Any) -> None:
    """It reads items and both indexes, changes accounts and ledger, puts no account, and removes only rollups."""
    assert granted(synthesis, "Sweeper") == {
        ("dynamodb:GetItem", "dynamodb:Query"): partitions("KEY#*", "LEDGER#*", "USAGE", "USAGE#*"),
        ("dynamodb:UpdateItem",): partitions("KEY#*", "LEDGER#*", "USAGE"),
        ("dynamodb:PutItem",): partitions("LEDGER#*", "USAGE", "USAGE#*"),
        ("dynamodb:DeleteItem",): _ONLY_ROLLUPS,
        ("dynamodb:Query",): "table, index overdue keys",
        _LOG: "SweeperLog",
    }


def test_the_control_function_invokes_no_model(synthesis: Any) -> None:
    """It reads and writes items, lists keys by their index, reads its secret, and cannot change it."""
    assert tables(synthesis, "AdminAll") == tables(synthesis, "Control")
    assert tables(synthesis, "Control") == {
        ("dynamodb:GetItem", partitions(*_BOOKS, "CONTROL")),
        ("dynamodb:PutItem", partitions(*_BOOKS, "CONTROL", "AUDIT#*")),
        ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*", "USAGE")),
        ("dynamodb:DeleteItem", _ONLY_ROLLUPS),
        ("dynamodb:Query", partitions(*_BOOKS, "AUDIT#*")),
        ("dynamodb:Query", "table, index keys"),
    }
    others = {it: resource for it, resource in granted(synthesis, "Control").items() if "dynamodb" not in str(it)}
    assert others == {("secretsmanager:GetSecretValue",): "ControlSecret", _LOG: "ControlLog"}


@pytest.mark.parametrize(
    ("owner", "wanted"),
    {
        "AdminKeys": {
            ("dynamodb:GetItem", partitions("KEY#*", "CONTROL")),
            ("dynamodb:PutItem", partitions("KEY#*", "CONTROL", "AUDIT#*")),
            ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*")),
            ("dynamodb:Query", "table, index keys"),
        },
        "AdminBudgets": {
            ("dynamodb:GetItem", partitions("KEY#*", "CONTROL")),
            ("dynamodb:PutItem", partitions("CONTROL", "AUDIT#*")),
            ("dynamodb:UpdateItem", partitions("KEY#*")),
            ("dynamodb:Query", "table, index keys"),
        },
        "AdminUsage": {
            ("dynamodb:GetItem", partitions("KEY#*", "LEDGER#*", *_ROLLUPS, "CONTROL")),
            ("dynamodb:PutItem", partitions("CONTROL", "AUDIT#*")),
            ("dynamodb:Query", partitions("LEDGER#*", *_ROLLUPS)),
            ("dynamodb:Query", "table, index keys"),
        },
        "AdminAudit": {
            ("dynamodb:GetItem", partitions("CONTROL")),
            ("dynamodb:PutItem", partitions("CONTROL", "AUDIT#*")),
            ("dynamodb:Query", partitions("AUDIT#*")),
        },
    }.items(),
)
def test_a_right_is_its_roles_too(synthesis: Any, owner: str, wanted: set[tuple[str, str]]) -> None:
    """The function of one right can do no more in the table than its right takes, whatever its code does."""
    assert tables(synthesis, owner) == wanted
    assert {it for it in granted(synthesis, owner) if "dynamodb" not in str(it)} == {_LOG}


def test_nobody_changes_the_audit_trail(synthesis: Any) -> None:
    """Its partitions take new items only: no role updates or deletes anything there."""
    for owner in OWNERS:
        for action, where in tables(synthesis, owner):
            assert "AUDIT#*" not in where or action in {"dynamodb:PutItem", "dynamodb:Query"}


def test_nothing_on_the_internet_leads_to_the_functions_that_iam_leads_to(synthesis: Any) -> None:
    """They have no URL and nobody's permission: a flood takes of the URL's concurrency, and none of theirs."""
    functions = {key for key in synthesis.service["Resources"] if re.fullmatch(r"Admin\w+Function[0-9A-F]{8}", key)}
    assert len(functions) == len(ADMINS)
    for kind in ("AWS::Lambda::Url", "AWS::Lambda::Permission"):
        assert not functions & set(re.findall(r"\w+", json.dumps(synthesis.resources(kind))))


def tables(synthesis: Any, owner: str) -> set[tuple[str, str]]:
    """Action and place in the usage table, of all of a role's statements about it."""
    return {
        (action, in_words(it["Resource"]) + (" if " + json.dumps(it["Condition"]) if "Condition" in it else ""))
        for it in statements(synthesis, owner)
        for action in actions(it)
        if action.startswith("dynamodb:")
    }


def test_what_rotates_the_secret_can_do_nothing_else(synthesis: Any) -> None:
    """The four calls of a rotation, on the one secret; and nobody but Secrets Manager, for that secret, starts it."""
    steps = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")
    assert granted(synthesis, "ControlSecretRotation") == {
        tuple(f"secretsmanager:{step}" for step in steps): "ControlSecret",
        _LOG: "ControlSecretRotationLog",
    }
    permissions = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Permission")]
    [mine] = [it for it in permissions if it["Principal"] == "secretsmanager.amazonaws.com"]
    assert in_words(mine["SourceArn"]) == "ControlSecret"


def test_nobody_removes_items_or_scans(synthesis: Any) -> None:
    """What was metered can be overwritten by its conditions only: no role deletes items, but for rollups, which can be
    made again, or reads a table whole.
    """
    given = [it for owner in OWNERS for it in statements(synthesis, owner) if it.get("Condition") != leading(*_ROLLUPS)]
    found = {action for it in given for action in actions(it)}
    assert not {action for action in found if re.search("Delete|Batch|Scan", action)}


def test_the_container_may_pull_its_image_read_its_weights_and_log(synthesis: Any) -> None:
    """The execution role's grants are exactly these."""
    assert {action for it in statements(synthesis, "ModelExecution") for action in actions(it)} == {
        "cloudwatch:PutMetricData",
        "ecr:BatchCheckLayerAvailability",
        "ecr:BatchGetImage",
        "ecr:GetAuthorizationToken",
        "ecr:GetDownloadUrlForLayer",
        "logs:CreateLogStream",
        "logs:DescribeLogStreams",
        "logs:PutLogEvents",
        "s3:GetObject",
        "s3:ListBucket",
    }
    (read,) = [it["Resource"] for it in statements(synthesis, "ModelExecution") if actions(it) == {"s3:GetObject"}]
    assert read["Fn::Join"][1][-1].endswith(".gguf")


@pytest.mark.parametrize("owner", ROLES)
def test_only_actions_that_know_no_resource_are_granted_on_all(synthesis: Any, owner: str) -> None:
    """No action holds a wildcard, and the resource `*` stands only where IAM offers no other."""
    for statement in statements(synthesis, owner):
        assert statement["Effect"] == "Allow"
        assert not [action for action in actions(statement) if "*" in action]
        if statement["Resource"] == "*":
            assert actions(statement) <= ACTIONS_WITHOUT_RESOURCES


def test_every_role_is_one_of_these(synthesis: Any) -> None:
    """No role is left out of what is said here of roles."""
    assert len(synthesis.resources("AWS::IAM::Role")) == len(ROLES)


def test_the_origin_secret_is_never_in_a_template(synthesis: Any) -> None:
    """Functions and distribution get the secret by reference; CloudFormation generates it."""
    variables = synthesis.function(FUNCTIONS["Stream"])["Environment"]["Variables"]
    control = synthesis.function(FUNCTIONS["Control"])["Environment"]["Variables"]
    assert control["SLUICE_ORIGIN_SECRET_PREVIOUS"] == variables["SLUICE_ORIGIN_SECRET_PREVIOUS"]
    for origin in synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]["Origins"]:
        (header,) = origin["OriginCustomHeaders"]
        assert header["HeaderName"] == "x-sluice-origin-secret"
        assert header["HeaderValue"] == variables["SLUICE_ORIGIN_SECRET"] == control["SLUICE_ORIGIN_SECRET"]
        assert header["HeaderValue"] != variables["SLUICE_ORIGIN_SECRET_PREVIOUS"]
    for name in ("SLUICE_ORIGIN_SECRET", "SLUICE_ORIGIN_SECRET_PREVIOUS"):
        start, reference, end = variables[name]["Fn::Join"][1]
        assert (start, end) == ("{{resolve:secretsmanager:", ":SecretString:::}}")
        secret = synthesis.service["Resources"][reference["Ref"]]["Properties"]
        assert secret["GenerateSecretString"] == {"ExcludePunctuation": True, "PasswordLength": 48}
        assert "SecretString" not in secret


def test_the_admin_secret_is_read_and_not_handed_out(synthesis: Any) -> None:
    """The control function is told where its secret is, never what it is; Secrets Manager changes it every month."""
    variables = synthesis.function(FUNCTIONS["Control"])["Environment"]["Variables"]
    assert in_words(variables["SLUICE_ADMIN_SECRET"]) == "ControlSecret"
    rotation = synthesis.the("AWS::SecretsManager::RotationSchedule")
    assert in_words(rotation["SecretId"]) == "ControlSecret"
    assert rotation["RotationRules"] == {"AutomaticallyAfterDays": 30}
    assert rotation["RotateImmediatelyOnUpdate"] is False


def test_the_distribution_passes_streams_on_untouched(synthesis: Any) -> None:
    """Nothing is cached, compressed, redirected or filtered by method; a silent minute ends a connection."""
    config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    (admin,) = config["CacheBehaviors"]
    assert admin["PathPattern"] == "/admin/*"
    assert admin["TargetOriginId"] != config["DefaultCacheBehavior"]["TargetOriginId"]
    for behaviour in (config["DefaultCacheBehavior"], admin):
        assert behaviour["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # AWS's CachingDisabled
        assert behaviour["OriginRequestPolicyId"] == "b689b0a8-53d0-40ab-baf2-68738e2966ac"  # AllViewerExceptHostHeader
        assert behaviour["Compress"] is False
        assert behaviour["ViewerProtocolPolicy"] == "https-only"
        assert len(behaviour["AllowedMethods"]) == 7
    assert config["HttpVersion"] == "http2and3"
    for origin in config["Origins"]:
        assert origin["CustomOriginConfig"]["OriginReadTimeout"] == 60
        assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"


def test_browsers_are_told_not_to_guess_and_not_to_leave_https(syntheses: dict[str, Any]) -> None:
    """Every behaviour adds nosniff, no-referrer and, off the local cloud, HSTS; no policy touches CORS."""
    for stage, synthesis in syntheses.items():
        config = synthesis.the("AWS::CloudFront::Distribution")["DistributionConfig"]
        behaviours = [config["DefaultCacheBehavior"], *config["CacheBehaviors"]]
        (name,) = {it["ResponseHeadersPolicyId"]["Ref"] for it in behaviours}
        policy = synthesis.service["Resources"][name]["Properties"]["ResponseHeadersPolicyConfig"]
        assert policy.keys() == {"Comment", "Name", "SecurityHeadersConfig"}
        headers = policy["SecurityHeadersConfig"]
        assert headers["ContentTypeOptions"] == {"Override": True}
        assert headers["ReferrerPolicy"]["ReferrerPolicy"] == "no-referrer"
        assert ("StrictTransportSecurity" in headers) is (stage != "local")


def test_the_function_urls_take_any_caller(synthesis: Any) -> None:
    """The URLs need no signature, and both permissions that each takes are there; one streams, the other does not."""
    urls = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Url")]
    assert sorted((url["AuthType"], url["InvokeMode"]) for url in urls) == [
        ("NONE", "BUFFERED"),
        ("NONE", "RESPONSE_STREAM"),
    ]
    permissions = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Permission")]
    assert sorted(it["Action"] for it in permissions if it["Principal"] == "*") == [
        "lambda:InvokeFunction",
        "lambda:InvokeFunction",
        "lambda:InvokeFunctionUrl",
        "lambda:InvokeFunctionUrl",
    ]
    # open to all means by URL only
    for permission in permissions:
        if permission["Principal"] == "*":
            assert permission.get("InvokedViaFunctionUrl") is True or permission["FunctionUrlAuthType"] == "NONE"


def test_without_its_url_the_admin_api_is_iams_alone(project: Path, tmp_path: Path) -> None:
    """With `admin_url` false there is no second URL, no behaviour and no admin secret: only lambda:InvokeFunction."""
    found = synthesise("dev", project, tmp_path, admin_url=False)
    assert len(found.resources("AWS::Lambda::Url")) == 1
    assert "CacheBehaviors" not in found.the("AWS::CloudFront::Distribution")["DistributionConfig"]
    assert len(found.resources("AWS::SecretsManager::Secret")) == 2  # the distribution's
    assert "AdminSecretArn" not in found.service["Outputs"]


def test_the_function_runs_under_our_runtime_with_bounds(synthesis: Any) -> None:
    """Exec wrapper, timeout, tracing, JSON logs and a log group that does not grow for ever."""
    function = synthesis.function(FUNCTIONS["Stream"])
    assert function["Environment"]["Variables"]["AWS_LAMBDA_EXEC_WRAPPER"] == "/var/task/bootstrap"
    assert function["Handler"] == "lambda_fn.stream.main.handler"
    assert function["Timeout"] == 540
    assert function["TracingConfig"] == {"Mode": "Active"}
    for handler in FUNCTIONS.values():
        assert synthesis.function(handler)["LoggingConfig"]["LogFormat"] == "JSON"
    for log in synthesis.resources("AWS::Logs::LogGroup"):
        assert log["Properties"]["RetentionInDays"] > 0


@pytest.mark.parametrize(
    ("stage", "reserved"), [("local", (256, 1, 10)), ("dev", (None, None, None)), ("prod", (200, 1, 10))]
)
def test_reserved_concurrency_bounds_the_cost(
    syntheses: dict[str, Any], stage: str, reserved: tuple[int | None, ...]
) -> None:
    """Production has ceilings; dev leaves them out, because a new account may reserve none."""
    functions = [syntheses[stage].function(FUNCTIONS[name]) for name in ("Stream", "Sweeper", "Control")]
    assert tuple(it.get("ReservedConcurrentExecutions") for it in functions) == reserved


def test_the_sweeper_runs_on_a_schedule_that_nothing_piles_up_on(synthesis: Any) -> None:
    """Every five minutes, without retries of what failed, and over before the next run."""
    rule = synthesis.the("AWS::Events::Rule")
    assert (rule["ScheduleExpression"], rule["State"]) == ("rate(5 minutes)", "ENABLED")
    (target,) = rule["Targets"]
    assert target["RetryPolicy"] == {"MaximumEventAgeInSeconds": 300, "MaximumRetryAttempts": 0}
    invoke = synthesis.the("AWS::Lambda::EventInvokeConfig")
    assert (invoke["MaximumRetryAttempts"], invoke["MaximumEventAgeInSeconds"]) == (0, 300)
    assert synthesis.function(FUNCTIONS["Sweeper"])["Timeout"] < 300


def test_alarms_tell_of_recovered_requests_and_of_sweeps_that_fail_or_stay_away(synthesis: Any) -> None:
    """Three alarms; one that hears nothing for a quarter of an hour is one of them."""
    found = [it["Properties"] for it in synthesis.resources("AWS::CloudWatch::Alarm")]
    alarms = {it["MetricName"]: it for it in found if it["Namespace"] != "AWS/SageMaker"}
    assert alarms.keys() == {"Recovered", "Errors", "Invocations"}
    deployment = synthesis.function(FUNCTIONS["Sweeper"])["Environment"]["Variables"]["SLUICE_DEPLOYMENT"]
    assert alarms["Recovered"]["Namespace"] == "Sluice"
    assert alarms["Recovered"]["Dimensions"] == [{"Name": "Deployment", "Value": deployment}]
    silent = alarms["Invocations"]
    assert (silent["Period"], silent["TreatMissingData"]) == (900, "breaching")
    assert silent["ComparisonOperator"] == "LessThanThreshold"
    assert not [it for it in alarms.values() if "AlarmActions" in it]


def test_alarms_go_to_the_topic_that_is_named(project: Path, tmp_path: Path) -> None:
    """The setting `alarm_topic` is every alarm's action."""
    topic = "arn:aws:sns:eu-west-1:123456789012:pager"
    found = synthesise("prod", project, tmp_path, alarm_topic=topic)
    assert [it["Properties"]["AlarmActions"] for it in found.resources("AWS::CloudWatch::Alarm")] == [[topic]] * 5


def test_the_table_can_be_restored_to_any_second(synthesis: Any) -> None:
    """Point-in-time recovery is on in every stage, and capacity is paid by request."""
    table = synthesis.the("AWS::DynamoDB::GlobalTable")
    (replica,) = table["Replicas"]
    assert replica["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    assert [key["AttributeName"] for key in table["KeySchema"]] == ["pk", "sk"]


def test_the_indexes_are_sparse_and_hold_keys_only(synthesis: Any) -> None:
    """What is overdue and which keys there are is found by attributes that other items do not have."""
    indexes = synthesis.the("AWS::DynamoDB::GlobalTable")["GlobalSecondaryIndexes"]
    found = {it["IndexName"]: [key["AttributeName"] for key in it["KeySchema"]] for it in indexes}
    assert found == {"overdue": ["open", "due"], "keys": ["directory", "created"]}
    assert [it["Projection"] for it in indexes] == [{"ProjectionType": "KEYS_ONLY"}] * 2


@pytest.mark.parametrize(("stage", "kept"), [("local", False), ("dev", False), ("prod", True)])
def test_production_data_survives_its_stack(syntheses: dict[str, Any], stage: str, kept: bool) -> None:
    """What production's meter wrote is neither deleted with the stack nor by hand."""
    (table,) = syntheses[stage].resources("AWS::DynamoDB::GlobalTable")
    assert table["DeletionPolicy"] == table["UpdateReplacePolicy"] == ("Retain" if kept else "Delete")
    assert table["Properties"]["Replicas"][0]["DeletionProtectionEnabled"] is kept


def test_the_container_calls_nobody(synthesis: Any) -> None:
    """The container runs without a network of its own."""
    assert synthesis.the("AWS::SageMaker::Model")["EnableNetworkIsolation"] is True
