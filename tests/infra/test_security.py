"""The rights of all roles, the secrets, and the ways in from the internet."""

import json
import re
from typing import Any

import pytest

from tests.support.resources import CONTAINER_ACTIONS
from tests.support.synthesis import FUNCTIONS

ACTIONS_WITHOUT_RESOURCES = {
    "cloudwatch:PutMetricData",
    "ecr:GetAuthorizationToken",
    "xray:PutTelemetryRecords",
    "xray:PutTraceSegments",
}


ADMINS = ["AdminAll", "AdminKeys", "AdminBudgets", "AdminUsage", "AdminAudit"]
"""The admin functions, which callers invoke by IAM."""
OWNERS = [*FUNCTIONS, *ADMINS]
ROLES = [*OWNERS, "ModelExecution"]
IMAGE_CHECK = "ModelImageCheckFunction"
"""What checks the image. The local cloud takes no image from a registry, so it has no such role."""


def statements(synthesis: Any, owner: str) -> list[dict[str, Any]]:
    """Return the policy statements of a construct's role in the service stack."""
    roles = {
        key: it
        for key, it in synthesis.service["Resources"].items()
        if it["Type"] == "AWS::IAM::Role"
    }
    (name,) = [key for key in roles if re.fullmatch(f"{owner}Role[0-9A-F]{{8}}", key)]
    role = roles[name]["Properties"]
    assert "ManagedPolicyArns" not in role
    assert "Policies" not in role
    policies = [it["Properties"] for it in synthesis.resources("AWS::IAM::Policy")]
    mine = [it["PolicyDocument"]["Statement"] for it in policies if it["Roles"] == [{"Ref": name}]]
    return [statement for document in mine for statement in document]


def granted(synthesis: Any, owner: str) -> dict[tuple[str, ...], str]:
    """Return the resources of a role's grants in words (table, index, log, ...), by action."""
    found = {}
    for statement in statements(synthesis, owner):
        conditions = " if " + json.dumps(statement["Condition"]) if "Condition" in statement else ""
        found[tuple(sorted(actions(statement)))] = in_words(statement["Resource"]) + conditions
    return found


def in_words(resource: Any) -> str:
    """Return the last part of a resource's reference, without hashes."""
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
    """Return the actions of a statement as a list. A single action is a text."""
    value = statement["Action"]
    return {value} if isinstance(value, str) else set(value)


_LOG = ("logs:CreateLogStream", "logs:PutLogEvents")


def leading(*names: str) -> dict[str, Any]:
    """Return the condition that holds only in these partitions."""
    return {
        "ForAllValues:StringLike": {"dynamodb:LeadingKeys": list(names)},
        "Null": {"dynamodb:LeadingKeys": "false"},
    }


def partitions(*names: str) -> str:
    """Return the description of a grant on the table in these partitions only."""
    return f"table if {json.dumps(leading(*names))}"


_ROLLUPS = ("USAGE", "USAGE#*")
_ONLY_ROLLUPS = partitions(*_ROLLUPS)
_BOOKS = ("KEY#*", "LEDGER#*", *_ROLLUPS)


def test_the_stream_function_puts_no_keys(synthesis: Any) -> None:
    """The stream function cannot create keys.

    It changes accounts and ledger, puts ledger items and marks, queries only rollups, and invokes
    its endpoint. It can neither read the secret of page tokens nor write rollups.
    """
    endpoint = synthesis.the("AWS::SageMaker::Endpoint")["EndpointName"]
    assert granted(synthesis, "Stream") == {
        ("dynamodb:GetItem", "dynamodb:UpdateItem"): partitions("KEY#*", "LEDGER#*"),
        ("dynamodb:PutItem",): partitions("LEDGER#*", "USAGE"),
        ("dynamodb:Query",): _ONLY_ROLLUPS,
        (
            "sagemaker:InvokeEndpoint",
            "sagemaker:InvokeEndpointWithResponseStream",
        ): f"endpoint/{endpoint}",
        _LOG: "StreamLog",
        ("xray:PutTelemetryRecords", "xray:PutTraceSegments"): "*",
    }


def test_the_sweeper_finds_what_is_overdue_and_settles_it(synthesis: Any) -> None:
    """The sweeper reads items and both indexes, and changes accounts and ledger.

    It puts no account, and deletes only rollups.
    """
    assert granted(synthesis, "Sweeper") == {
        ("dynamodb:GetItem", "dynamodb:Query"): partitions("KEY#*", "LEDGER#*", "USAGE", "USAGE#*"),
        ("dynamodb:UpdateItem",): partitions("KEY#*", "LEDGER#*", "USAGE"),
        ("dynamodb:PutItem",): partitions("LEDGER#*", "USAGE", "USAGE#*"),
        ("dynamodb:DeleteItem",): _ONLY_ROLLUPS,
        ("dynamodb:Query",): "table, index overdue keys",
        _LOG: "SweeperLog",
    }


def test_the_control_function_invokes_no_model(synthesis: Any) -> None:
    """The control function reads and writes items, and lists keys by their index.

    It reads its secret and cannot change it. It cannot invoke a model.
    """
    assert tables(synthesis, "AdminAll") == tables(synthesis, "Control")
    assert tables(synthesis, "Control") == {
        ("dynamodb:GetItem", partitions(*_BOOKS, "CONTROL")),
        ("dynamodb:PutItem", partitions(*_BOOKS, "CONTROL", "AUDIT#*")),
        ("dynamodb:UpdateItem", partitions("KEY#*", "LEDGER#*", "USAGE")),
        ("dynamodb:DeleteItem", _ONLY_ROLLUPS),
        ("dynamodb:Query", partitions(*_BOOKS, "AUDIT#*")),
        ("dynamodb:Query", "table, index keys"),
    }
    others = {
        it: resource
        for it, resource in granted(synthesis, "Control").items()
        if "dynamodb" not in str(it)
    }
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
    """The role of each single right allows no more in the table than the right does."""
    assert tables(synthesis, owner) == wanted
    assert {it for it in granted(synthesis, owner) if "dynamodb" not in str(it)} == {_LOG}


def test_no_role_changes_the_audit_trail(synthesis: Any) -> None:
    """No role updates or deletes items of the audit trail. New items are put."""
    for owner in OWNERS:
        for action, where in tables(synthesis, owner):
            assert "AUDIT#*" not in where or action in {"dynamodb:PutItem", "dynamodb:Query"}


def test_nothing_on_the_internet_leads_to_the_functions_that_iam_leads_to(synthesis: Any) -> None:
    """The functions for callers by IAM have no URL and no permission for a service.

    A flood takes the URL's concurrency and none of theirs.
    """
    functions = {
        key
        for key in synthesis.service["Resources"]
        if re.fullmatch(r"Admin\w+Function[0-9A-F]{8}", key)
    }
    assert len(functions) == len(ADMINS)
    for kind in ("AWS::Lambda::Url", "AWS::Lambda::Permission"):
        assert not functions & set(re.findall(r"\w+", json.dumps(synthesis.resources(kind))))


def tables(synthesis: Any, owner: str) -> set[tuple[str, str]]:
    """Return action and place of each of a role's grants on the usage table."""
    return {
        (
            action,
            in_words(it["Resource"])
            + (" if " + json.dumps(it["Condition"]) if "Condition" in it else ""),
        )
        for it in statements(synthesis, owner)
        for action in actions(it)
        if action.startswith("dynamodb:")
    }


def test_what_rotates_the_secret_can_do_nothing_else(synthesis: Any) -> None:
    """The rotating function may make the four calls of a rotation, on its secret only.

    Only Secrets Manager may invoke it, for that secret.
    """
    steps = ("DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage")
    assert granted(synthesis, "ControlSecretRotation") == {
        tuple(f"secretsmanager:{step}" for step in steps): "ControlSecret",
        _LOG: "ControlSecretRotationLog",
    }
    permissions = [it["Properties"] for it in synthesis.resources("AWS::Lambda::Permission")]
    [mine] = [it for it in permissions if it["Principal"] == "secretsmanager.amazonaws.com"]
    assert in_words(mine["SourceArn"]) == "ControlSecret"


def test_no_role_removes_items_or_scans(synthesis: Any) -> None:
    """No role deletes items, except rollups, which can be made again. No role scans the table."""
    granted_to_functions = [
        it
        for owner in OWNERS
        for it in statements(synthesis, owner)
        if it.get("Condition") != leading(*_ROLLUPS)
    ]
    found = {action for it in granted_to_functions for action in actions(it)}
    assert not {action for action in found if re.search("Delete|Batch|Scan", action)}


def test_the_container_may_pull_its_image_read_its_weights_and_log(synthesis: Any) -> None:
    """The execution role has exactly these grants."""
    assert {
        action for it in statements(synthesis, "ModelExecution") for action in actions(it)
    } == CONTAINER_ACTIONS
    (read,) = [
        it["Resource"]
        for it in statements(synthesis, "ModelExecution")
        if actions(it) == {"s3:GetObject"}
    ]
    assert read["Fn::Join"][1][-1].endswith(".gguf")


@pytest.mark.parametrize("owner", ROLES)
def test_only_actions_that_know_no_resource_are_granted_on_all(synthesis: Any, owner: str) -> None:
    """No action has a wildcard. The resource `*` is used only where IAM offers no other."""
    for statement in statements(synthesis, owner):
        assert statement["Effect"] == "Allow"
        assert not [action for action in actions(statement) if "*" in action]
        if statement["Resource"] == "*":
            assert actions(statement) <= ACTIONS_WITHOUT_RESOURCES


def test_every_role_is_one_of_these(synthesis: Any) -> None:
    """These tests cover every role."""
    local = not synthesis.resources("Custom::SluiceImageCheck")
    assert len(synthesis.resources("AWS::IAM::Role")) == len(ROLES) + (0 if local else 1)


@pytest.mark.parametrize("stage", ["dev", "prod"])
def test_what_checks_the_image_reads_its_manifest_only(syntheses: Any, stage: str) -> None:
    """It may read the manifests of the image's repository, and log."""
    found = [actions(it) for it in statements(syntheses[stage], IMAGE_CHECK)]
    assert found == [set(_LOG), {"ecr:BatchGetImage"}]
    [manifest] = [
        it["Resource"]
        for it in statements(syntheses[stage], IMAGE_CHECK)
        if actions(it) == {"ecr:BatchGetImage"}
    ]
    assert ":repository/" in json.dumps(manifest)


def test_the_admin_secret_is_read_and_not_handed_out(synthesis: Any) -> None:
    """The control function gets its secret's ARN and not its value.

    Secrets Manager changes the secret every month.
    """
    variables = synthesis.function(FUNCTIONS["Control"])["Environment"]["Variables"]
    assert in_words(variables["SLUICE_ADMIN_SECRET"]) == "ControlSecret"
    rotation = synthesis.the("AWS::SecretsManager::RotationSchedule")
    assert in_words(rotation["SecretId"]) == "ControlSecret"
    assert rotation["RotationRules"] == {"AutomaticallyAfterDays": 30}
    assert rotation["RotateImmediatelyOnUpdate"] is False


def test_the_function_urls_take_any_caller(synthesis: Any) -> None:
    """The function URLs need no signature, and have both permissions for that.

    The stream function's URL streams, the control function's does not.
    """
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
    # every caller may invoke by URL only
    for permission in permissions:
        if permission["Principal"] == "*":
            assert (
                permission.get("InvokedViaFunctionUrl") is True
                or permission["FunctionUrlAuthType"] == "NONE"
            )
