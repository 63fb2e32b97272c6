"""Dynamic references: `{{resolve:secretsmanager:...}}` and `{{resolve:ssm:...}}`.

Source: "Get values stored in other services using dynamic references" of the CloudFormation user
guide.
"""

import json
import re
from collections.abc import Callable

from local.cloudformation.intrinsics import TemplateError

_REFERENCE = re.compile(r"\{\{resolve:([a-z0-9-]+):(.*?)\}\}")

# SecretReader: (secret id or ARN, version stage, version id) -> the secret's string.
# ParameterReader: (parameter name, version) -> its value.
SecretReader = Callable[[str, str, str], str]
ParameterReader = Callable[[str, str], str]


def resolve(text: str, secret: SecretReader, parameter: ParameterReader) -> str:
    """Return `text` with each dynamic reference replaced by its value.

    Raises TemplateError for an unknown service, or for a JSON key that the secret does not have.
    """

    def replace(match: re.Match[str]) -> str:
        service, rest = match.groups()
        if service == "secretsmanager":
            return _secret(rest, secret)
        if service in {"ssm", "ssm-secure"}:
            name, _, version = rest.partition(":")
            return parameter(name, version)
        raise TemplateError(f"dynamic references to {service} do not exist")

    return _REFERENCE.sub(replace, text)


def _secret(rest: str, read: SecretReader) -> str:
    # secret-id:SecretString:json-key:version-stage:version-id; an ARN as the id has six colons.
    parts = rest.split(":")
    ends = 7 if parts[0] == "arn" else 1
    secret_id = ":".join(parts[:ends])
    _kind, key, stage, version, *_ = [*parts[ends:], "", "", "", ""]
    value = read(secret_id, stage, version)
    if not key:
        return value
    try:
        return str(json.loads(value)[key])
    except (ValueError, KeyError, TypeError):
        raise TemplateError(
            f"Could not find a value associated with JSONKey {key} in SecretString"
        ) from None
