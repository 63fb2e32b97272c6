"""Compares environments with AWS's size limits, before a deployment fails.

A part of a value may be known only when the stack is deployed: a table's name, a secret. It counts
as `UNRESOLVED` bytes, which is more than CloudFormation's names and this project's secrets have.
"""

import re
from collections.abc import Mapping

from infra.settings.fields import SettingsError

LAMBDA = 4096
"""Lambda's maximum of all names and values of a function together, in bytes."""
SAGEMAKER_VALUE = 1024
"""SageMaker's maximum of a name, and of a value."""
SAGEMAKER = 32 * 1024
"""SageMaker's maximum of all names and values of a container together."""
UNRESOLVED = 64
_TOKEN = re.compile(r"\$\{Token\[[^]]*\]\}|\{\{resolve:[^}]*\}\}")
"""CDK's text for a value that CloudFormation knows, and CloudFormation's own reference."""


def size(value: str) -> int:
    """Return the size of a value in bytes, with its unresolved parts counted as `UNRESOLVED`."""
    literals = _TOKEN.split(value)
    return sum(len(it.encode()) for it in literals) + UNRESOLVED * (len(literals) - 1)


def check_lambda(environment: Mapping[str, str], function: str) -> None:
    """Raise SettingsError if Lambda would reject a function's environment."""
    total, largest = _total(environment)
    if total > LAMBDA:
        raise SettingsError(
            f"{function}: Lambda takes {LAMBDA} bytes of environment variables, and these have "
            f"{total}, most of them {largest}" + _ADVICE.get(largest, "")
        )


def check_sagemaker(environment: Mapping[str, str]) -> None:
    """Raise SettingsError if SageMaker would reject a container's environment."""
    for name, value in environment.items():
        if (found := max(len(name.encode()), size(value))) > SAGEMAKER_VALUE:
            raise SettingsError(
                f"environment={name}: SageMaker takes names and values of {SAGEMAKER_VALUE} bytes, "
                f"and this has {found}"
            )
    total, largest = _total(environment)
    if total > SAGEMAKER:
        raise SettingsError(
            f"environment: SageMaker takes {SAGEMAKER} bytes of variables, and these have {total}, "
            f"most of them {largest}"
        )


_ADVICE = {
    "SLUICE_MODELS": ": set fewer other_models, or give them shorter names",
    "SLUICE_MODERATION": ": set fewer or shorter moderate_patterns and moderate_words",
    "SLUICE_REDACTION": ": set fewer or shorter redact_patterns and redact_words",
}


def _total(environment: Mapping[str, str]) -> tuple[int, str]:
    """Return the size of all names and values, and the name of the largest variable."""
    sizes = {name: len(name.encode()) + size(value) for name, value in environment.items()}
    return sum(sizes.values()), max(sizes, key=lambda name: sizes[name], default="")
