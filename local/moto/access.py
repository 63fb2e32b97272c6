"""Reads permissions from moto: roles, policies of resources, and the roles of temporary keys."""

import json
from collections.abc import Iterable
from datetime import UTC
from functools import lru_cache
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.s3.models import s3_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sts.models import sts_backends

# Lambda's default for a Python function on Managed Instances: 16 for each vCPU, of which there is
# at least one.
_MANAGED_CONCURRENCY = 16


def _each(backends: Any) -> Iterable[Any]:
    for regions in list(backends.values()):
        yield from list(regions.values())


def _document(document: Any) -> Any:
    return _parsed(document) if isinstance(document, str | bytes) else document


@lru_cache(maxsize=4096)
def _parsed(document: str | bytes) -> Any:
    """Return a policy. Each change of the state reads all of them, and nobody changes one."""
    return json.loads(document)


def roles() -> list[dict[str, Any]]:
    """Return all roles, as `local.state.Role`."""
    return [
        _role(backend, role)
        for backend in _each(iam_backends)
        for role in list(backend.roles.values())
    ]


def _role(backend: Any, role: Any) -> dict[str, Any]:
    inline = [_document(document) for document in list(role.policies.values())]
    managed = [_default_version(policy) for policy in list(role.managed_policies.values())]
    boundary = None
    if role.permissions_boundary_arn:
        policy = backend.managed_policies.get(role.permissions_boundary_arn)
        # A deleted policy allows nothing.
        boundary = _default_version(policy) if policy else {"Statement": []}
    return {
        "arn": role.arn,
        "policies": inline + managed,
        "boundary": boundary,
        "trust": _document(role.assume_role_policy_document),
    }


def _default_version(policy: Any) -> Any:
    return _document(next(version.document for version in policy.versions if version.is_default))


def bucket_policies() -> dict[str, Any]:
    """Return the policies of the buckets that have one, by the bucket's name."""
    return {
        name: _document(bucket.policy)
        for backend in _each(s3_backends)
        for name, bucket in list(backend.buckets.items())
        if bucket.policy
    }


def function_policy(function: Any) -> str:
    """Return a function's policy as AWS writes it, as JSON.

    moto keeps a statement's members about URLs outside its conditions; AWS has them as conditions.
    """
    return json.dumps(
        {"Statement": [_permission(statement) for statement in function.policy.statements]}
    )


def concurrency(function: Any) -> int | None:
    """Return how many invocations one environment of a function takes at once.

    Return None for a function that is not on a capacity provider.
    """
    capacity = getattr(function, "capacity", None)
    if not capacity:
        return None
    instances = capacity.get("LambdaManagedInstancesCapacityProviderConfig", {})
    return int(instances.get("PerExecutionEnvironmentMaxConcurrency", _MANAGED_CONCURRENCY))


def _permission(statement: dict[str, Any]) -> dict[str, Any]:
    conditions = dict(statement.get("Condition", {}))
    if auth_type := statement.get("FunctionUrlAuthType"):
        conditions["StringEquals"] = {
            **conditions.get("StringEquals", {}),
            "lambda:FunctionUrlAuthType": auth_type,
        }
    if "InvokedViaFunctionUrl" in statement:
        conditions["Bool"] = {
            "lambda:InvokedViaFunctionUrl": str(statement["InvokedViaFunctionUrl"]).lower()
        }
    return {**statement, "Condition": conditions}


def caller(key: str) -> dict[str, Any] | None:
    """Return the role of a temporary access key, or None for an unknown key.

    The result also has the key's secret, its token and its expiry in Unix seconds.
    """
    for backend in _each(sts_backends):
        if assumed := backend.get_assumed_role_from_access_key(key):
            return {
                "role": assumed.role_arn,
                "session": assumed.session_name,
                "session_policy": assumed.policy or "",
                "secret_key": assumed.secret_access_key,
                "token": assumed.session_token,
                "expires": assumed.expiration.replace(tzinfo=UTC).timestamp(),
            }
    return None


def secret_arn(name: str, region: str) -> str | None:
    """Return the ARN of a secret, or None.

    `name` is the secret's name, or its ARN without the random end.
    """
    for secret in list(secretsmanager_backends[DEFAULT_ACCOUNT_ID][region].secrets.values()):
        if name == secret.name or secret.arn.rpartition("-")[0] == name:
            return str(secret.arn)
    return None
