"""Maps an operation to the IAM actions that it needs, with their resources' ARNs. Pure.

The actions and resource types are those of AWS's service authorization reference. The authorizer
refuses an operation that is missing here.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

from local.iam import s3
from local.iam.operations import Call, operation, segments
from local.iam.policy import Need

Members = dict[str, Any]


def needs(call: Call) -> list[Need] | None:
    """Return the permissions that a call needs; None for an unknown operation.

    The list may be empty.

    Raises ValueError, KeyError, TypeError or AttributeError for members that are missing or have a
    wrong type.
    """
    service = call.scope.service
    if service == "s3":
        return s3.needs(call)
    if service in _PATHS:
        return _by_path(call)
    if (service, call.method, call.path) == ("cloudwatch", "POST", "/v1/metrics"):
        # OTLP's metrics have no namespace. That the endpoint needs this action is unconfirmed.
        return [Need("cloudwatch:PutMetricData", "*")]
    named = operation(call)
    if named is None or service not in _SERVICES:
        return None
    required = _SERVICES[service](call, *named)
    return None if required is None else list(required)


def _by_path(call: Call) -> list[Need] | None:
    qualifier = call.query.get("Qualifier", "") if call.scope.service == "lambda" else ""
    for method, pattern, action, resource in _PATHS[call.scope.service]:
        parts = re.fullmatch(pattern, "/" + "/".join(segments(call.path)))
        if call.method == method and parts:
            name = resource(parts)
            if qualifier not in {"", "$LATEST"} and name.count(":") == 1:
                name = f"{name}:{qualifier}"
            on = name if name == "*" else call.arn(name)
            return [Need(f"{call.scope.service}:{it}", on) for it in action.split()]
    return None


def _function(name: str) -> str:
    """Return the end of a function's ARN, from the function's name, its ARN or a part of the ARN.

    A qualifier belongs to it, as in "Referencing versions and aliases in permissions policies" of
    Lambda's guide; `$LATEST` is the function itself.
    """
    parts = name.split(":")
    named = parts[parts.index("function") + 1 :] if "function" in parts else parts
    return ":".join(["function", *(part for part in named if part != "$LATEST")])


_PATHS: dict[str, list[tuple[str, str, str, Callable[[re.Match[str]], str]]]] = {
    # An endpoint's ARN is in lower case, whatever its name.
    "sagemaker": [
        (
            "POST",
            r"/endpoints/([^/]+)/invocations",
            "InvokeEndpoint",
            lambda match: f"endpoint/{match[1].lower()}",
        ),
        (
            "POST",
            r"/endpoints/([^/]+)/invocations-response-stream",
            # The API reference requires the first, and IAM knows an action of the call's name.
            "InvokeEndpoint InvokeEndpointWithResponseStream",
            lambda match: f"endpoint/{match[1].lower()}",
        ),
        (
            "POST",
            r"/endpoints/([^/]+)/async-invocations",
            "InvokeEndpointAsync",
            lambda match: f"endpoint/{match[1].lower()}",
        ),
    ],
    "lambda": [
        (
            "POST",
            r"/2015-03-31/functions/([^/]+)/invocations",
            "InvokeFunction",
            lambda match: _function(match[1]),
        ),
    ],
    "bedrock": [
        (
            "POST",
            r"/guardrail/([^/]+)/version/[^/]+/apply",
            "ApplyGuardrail",
            lambda match: f"guardrail/{match[1]}",
        ),
    ],
    "xray": [
        ("POST", "/TraceSegments", "PutTraceSegments", lambda _: "*"),
        ("POST", "/TelemetryRecords", "PutTelemetryRecords", lambda _: "*"),
        # The names of these two stand in roles of deployments; that the endpoint needs both is
        # unconfirmed.
        ("POST", "/v1/traces", "PutSpans PutSpansForIndexing", lambda _: "*"),
        ("POST", "/GetSamplingRules", "GetSamplingRules", lambda _: "*"),
        ("POST", "/SamplingTargets", "GetSamplingTargets", lambda _: "*"),
    ],
}

_ON_A_TABLE = {
    "ConditionCheckItem",
    "DeleteItem",
    "DescribeContinuousBackups",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "PutItem",
    "Query",
    "Scan",
    "UpdateItem",
}
# The parts of a transaction are checked one by one, because the whole has no action.
_IN_A_TRANSACTION = {
    "Get": "GetItem",
    "Put": "PutItem",
    "Update": "UpdateItem",
    "Delete": "DeleteItem",
    "ConditionCheck": "ConditionCheckItem",
}


_EQUALS = re.compile(r"([#\w]+)\s*=\s*(:\w+)")


def _partition(name: str, members: Members) -> tuple[str, ...]:
    """Return the `dynamodb:LeadingKeys` of a call.

    The partition key is assumed to be `pk`, because this module does not know the table's schema.
    """
    if name != "Query":
        item = members.get("Key") or members.get("Item") or {}
        return tuple(item.get("pk", {}).values())
    names = members.get("ExpressionAttributeNames", {})
    for name, value in _EQUALS.findall(members.get("KeyConditionExpression", "")):
        if names.get(name, name) == "pk":
            return tuple(members["ExpressionAttributeValues"][value].values())
    return ()


def _of_keys(keys: list[Members], asked: Members) -> dict[str, tuple[str, ...]]:
    """Return the context of a read of many items of one table: the values of all keys."""
    partitions = {value for key in keys for value in key["pk"].values()}
    named = {name for key in keys for name in key} | {*_attributes(asked)}
    return {"LeadingKeys": tuple(sorted(partitions)), "Attributes": tuple(sorted(named))}


_TOKEN = re.compile(r"[#:]?\w+|[.(\[]")
_NO_ATTRIBUTE = frozenset(
    {"SET", "REMOVE", "ADD", "DELETE", "AND", "OR", "NOT", "BETWEEN", "IN", "if_not_exists"}
    | {"attribute_exists", "attribute_not_exists", "attribute_type", "begins_with", "contains"}
    | {"list_append", "size"}
)
"""The keywords and functions of expressions."""
_EXPRESSIONS = (
    "UpdateExpression",
    "ConditionExpression",
    "KeyConditionExpression",
    "FilterExpression",
    "ProjectionExpression",
)


def _attributes(members: Members) -> tuple[str, ...]:
    """Return the `dynamodb:Attributes` of a call: all top-level attributes that it names."""
    found = {*members.get("Key", {}), *members.get("Item", {})}
    names = members.get("ExpressionAttributeNames", {})
    for expression in _EXPRESSIONS:
        found |= {names.get(it, it) for it in _top_level(members.get(expression, ""))}
    return tuple(sorted(found))


@lru_cache(maxsize=256)  # a program has few expressions
def _top_level(expression: str) -> frozenset[str]:
    """Return the names with which the paths of an expression begin."""
    found, before = set(), ""
    for token in _TOKEN.findall(expression):
        if before not in {".", "["} and token[0] not in ".[(:" and token not in _NO_ATTRIBUTE:
            found.add(token)
        before = token
    return frozenset(found)


def _dynamodb(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    def need(
        action: str, table: str, index: str | None = None, context: dict[str, Any] | None = None
    ) -> Need:
        # A table may be named by its ARN.
        arn = table if table.startswith("arn:") else call.arn(f"table/{table}")
        keys = {f"dynamodb:{key}": values for key, values in (context or {}).items() if values}
        return Need(
            f"dynamodb:{action}", f"{arn}/index/{index}" if index else arn, tuple(keys.items())
        )

    if name in _ON_A_TABLE:
        context = {
            "LeadingKeys": _partition(name, members),
            "Attributes": _attributes(members),
            "ReturnValues": (members["ReturnValues"],) if "ReturnValues" in members else (),
        }
        return iter([need(name, members["TableName"], members.get("IndexName"), context)])
    if name == "BatchGetItem":
        return iter(
            [
                need(name, table, context=_of_keys(asked["Keys"], asked))
                for table, asked in members["RequestItems"].items()
            ]
        )
    if name == "BatchWriteItem":
        return iter([need(name, table) for table in members["RequestItems"]])
    if name in {"TransactGetItems", "TransactWriteItems"}:
        needed = {
            need(_IN_A_TRANSACTION[kind], part["TableName"]): None
            for item in members["TransactItems"]
            for kind, part in item.items()
        }
        return iter(needed)
    return (
        iter([Need("dynamodb:ListTables", call.arn("table/*"))]) if name == "ListTables" else None
    )


_SECRETS = {
    "DescribeSecret",
    "GetSecretValue",
    "ListSecretVersionIds",
    "PutSecretValue",
    "UpdateSecretVersionStage",
}


def _secretsmanager(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    if name == "GetRandomPassword":
        return iter([Need(f"secretsmanager:{name}", "*")])
    # A request may name a secret by its name or by a part of its ARN. The authorizer finds the
    # whole ARN, with its six random characters.
    return iter([Need(f"secretsmanager:{name}", members["SecretId"])]) if name in _SECRETS else None


def _sns(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    return iter([Need("sns:Publish", members["TopicArn"])]) if name == "Publish" else None


def _ssm(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    match name:
        case "GetParameter" | "PutParameter":
            names = [members["Name"]]
        case "GetParameters":
            names = members["Names"]
        case "GetParametersByPath":
            names = [members["Path"]]
        case _:
            return None
    return iter(
        [
            Need(
                f"ssm:{name}",
                item if item.startswith("arn:") else call.arn(f"parameter/{item.strip('/')}"),
            )
            for item in names
        ]
    )


def _logs(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    """Return the permission of a CloudWatch Logs call.

    As in AWS's own refusals, the ARN of a group continues with `:log-stream:`.
    """
    group = (
        members.get("logGroupName")
        or members.get("logGroupIdentifier", "").rpartition("log-group:")[2]
    )
    stream = ""
    if name in {"CreateLogStream", "PutLogEvents", "GetLogEvents", "DeleteLogStream"}:
        stream = members["logStreamName"]
    elif name == "DescribeLogGroups":
        group = ""
    elif name not in {
        "CreateLogGroup",
        "DescribeLogStreams",
        "FilterLogEvents",
        "PutRetentionPolicy",
    }:
        return None
    return iter([Need(f"logs:{name}", call.arn(f"log-group:{group}:log-stream:{stream}"))])


def _cloudwatch(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    if name not in {"PutMetricData", "GetMetricData", "GetMetricStatistics", "ListMetrics"}:
        return None
    namespace = members.get("Namespace") if name == "PutMetricData" else None
    return iter(
        [
            Need(
                f"cloudwatch:{name}",
                "*",
                (("cloudwatch:namespace", (namespace,)),) if namespace else (),
            )
        ]
    )


def _sts(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    if name == "GetCallerIdentity":
        return iter([])  # every caller may do this, even against a Deny
    return iter([Need("sts:AssumeRole", members["RoleArn"])]) if name == "AssumeRole" else None


_ECR = {
    "BatchCheckLayerAvailability",
    "BatchGetImage",
    "CompleteLayerUpload",
    "DescribeImages",
    "DescribeRepositories",
    "GetDownloadUrlForLayer",
    "InitiateLayerUpload",
    "PutImage",
    "UploadLayerPart",
}


def _ecr(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    if name == "GetAuthorizationToken":
        return iter([Need("ecr:GetAuthorizationToken", "*")])
    if name not in _ECR:
        return None
    names = members.get("repositoryNames") or [members.get("repositoryName", "*")]
    return iter([Need(f"ecr:{name}", call.arn(f"repository/{item}")) for item in names])


_CHANGES_A_STACK = {"CreateChangeSet", "CreateStack", "UpdateStack", "DeleteStack", "RollbackStack"}
_ON_A_STACK = _CHANGES_A_STACK | {
    "ContinueUpdateRollback",
    "DeleteChangeSet",
    "DescribeChangeSet",
    "DescribeStackEvents",
    "DescribeStackResources",
    "DescribeStacks",
    "ExecuteChangeSet",
    "GetTemplate",
    "ListStackResources",
    "UpdateTerminationProtection",
}


def _cloudformation(call: Call, name: str, members: Members) -> Iterator[Need] | None:
    if name in {
        "GetTemplateSummary",
        "ListExports",
        "ListImports",
        "ListStacks",
        "ValidateTemplate",
    }:
        return iter([Need(f"cloudformation:{name}", "*")])
    if name not in _ON_A_STACK:
        return None
    stack = members.get("StackName", "*")
    needed = [
        Need(
            f"cloudformation:{name}",
            stack if stack.startswith("arn:") else call.arn(f"stack/{stack}/*"),
        )
    ]
    if name in _CHANGES_A_STACK and "RoleARN" in members:
        to = ("iam:PassedToService", ("cloudformation.amazonaws.com",))
        needed.append(Need("iam:PassRole", members["RoleARN"], (to,)))
    return iter(needed)


_SERVICES: dict[str, Callable[[Call, str, Members], Iterator[Need] | None]] = {
    "cloudformation": _cloudformation,
    "cloudwatch": _cloudwatch,
    "dynamodb": _dynamodb,
    "ecr": _ecr,
    "logs": _logs,
    "secretsmanager": _secretsmanager,
    "sns": _sns,
    "ssm": _ssm,
    "sts": _sts,
}
