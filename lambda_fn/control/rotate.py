"""Rotates the admin secret: the four steps of a rotation function of Secrets Manager.

No other system has the admin secret, so the step `setSecret` does nothing. A new value becomes the
current version, and the current version becomes the previous one. The control function accepts
both.

Source: "Rotation by Lambda function" of the Secrets Manager user guide.
"""

import asyncio
import os
import secrets
import string
from collections.abc import Mapping
from typing import Any

from lambda_fn.aws.secretsmanager import SecretError, SecretsManager
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.log import log
from lambda_fn.settings.variables import service_url

LENGTH = 48
_ALPHABET = string.ascii_letters + string.digits


class RotationRefused(Exception):
    """The event is not one that Secrets Manager would send."""


async def rotate(manager: SecretsManager, event: Mapping[str, Any]) -> None:
    """Take one step. Each step can be repeated.

    Raises:
        RotationRefused: the version has no value, or the step is unknown.
        SecretError: Secrets Manager rejected a call, or did not answer.

    """
    secret, version, step = event["SecretId"], event["ClientRequestToken"], event["Step"]
    description = await manager.call("DescribeSecret", SecretId=secret)
    stages: dict[str, list[str]] = description["VersionIdsToStages"]
    if "AWSCURRENT" in stages.get(version, ()):
        return
    match step:
        case "createSecret":
            await _create(manager, secret, version)
        case "setSecret":
            return
        case "testSecret":
            if not await _pending(manager, secret, version):
                raise RotationRefused("the new version has no value")
        case "finishSecret":
            [current] = [name for name, labels in stages.items() if "AWSCURRENT" in labels]
            await manager.call(
                "UpdateSecretVersionStage",
                SecretId=secret,
                VersionStage="AWSCURRENT",
                MoveToVersionId=version,
                RemoveFromVersionId=current,
            )
        case _:
            raise RotationRefused(f"there is no step {step!r}")
    log("rotation", step=step, secret=secret, version=version)


async def _create(manager: SecretsManager, secret: str, version: str) -> None:
    if await _pending(manager, secret, version):
        return
    value = "".join(secrets.choice(_ALPHABET) for _ in range(LENGTH))
    await manager.call(
        "PutSecretValue",
        SecretId=secret,
        ClientRequestToken=version,
        SecretString=value,
        VersionStages=["AWSPENDING"],
    )


async def _pending(manager: SecretsManager, secret: str, version: str) -> bool:
    try:
        await manager.call(
            "GetSecretValue", SecretId=secret, VersionId=version, VersionStage="AWSPENDING"
        )
    except SecretError as error:
        # Reading a version without a value fails with either of these.
        if error.kind in {"ResourceNotFoundException", "InvalidRequestException"}:
            return False
        raise
    return True


def handler(event: Mapping[str, Any], context: object) -> None:
    """Take one step, on the managed runtime."""

    async def run() -> None:
        client = Client()
        try:
            manager = SecretsManager(
                client,
                url=service_url(os.environ, "SECRETS_MANAGER", "secretsmanager"),
                region=os.environ["AWS_REGION"],
                credentials=lambda: Credentials.from_environment(os.environ),
            )
            await rotate(manager, event)
        finally:
            client.close()

    asyncio.run(run())
