"""The calls to Secrets Manager that read a secret's versions and rotate it."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.service import Service
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

_MAX_RESPONSE = 200_000  # a secret has 64 kB at most


class SecretError(Exception):
    """Secrets Manager rejected a call.

    `kind` is the name of the error, such as `ResourceNotFoundException`. It contains no secret.
    """

    def __init__(self, kind: str) -> None:
        """Set the name of the error."""
        super().__init__(kind)
        self.kind = kind


class SecretsUnavailable(SecretError):
    """Secrets Manager did not answer."""


class SecretsManager:
    """A client of Secrets Manager."""

    def __init__(
        self, client: Client, *, url: str, region: str, credentials: Callable[[], Credentials]
    ) -> None:
        """Set how to reach it; `credentials` is called for each call."""
        self._service = Service(
            client,
            name="secretsmanager",
            url=url,
            region=region,
            credentials=credentials,
            max_response=_MAX_RESPONSE,
        )

    async def version(self, secret: str, stage: str) -> tuple[str, str] | None:
        """Return id and value of the version with a stage label, or None. Raises SecretError."""
        try:
            result = await self.call("GetSecretValue", SecretId=secret, VersionStage=stage)
        except SecretError as error:
            if error.kind == "ResourceNotFoundException":
                return None
            raise
        return result["VersionId"], result["SecretString"]

    async def call(self, operation: str, **members: Any) -> dict[str, Any]:
        """Make a call; it is retried after a transport error or throttling. Raises SecretError."""
        body = msgspec.json.encode(members)
        reason = ""
        for attempt in range(limits.META_MAX_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, limits.META_BACKOFF * 2**attempt))  # noqa: S311 (spreads load, hides nothing)
            try:
                status, result = await self._try(operation, body)
            except TransportError as error:
                reason = str(error)
                continue
            if status == 200:
                return result
            reason = str(result.get("__type", "")).rpartition("#")[2] or f"status {status}"
            if status < 500 and reason != "ThrottlingException":
                raise SecretError(reason)
        raise SecretsUnavailable(reason)

    async def _try(self, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {
            "content-type": "application/x-amz-json-1.1",
            "x-amz-target": f"secretsmanager.{operation}",
        }
        reply = await self._service.post(headers, body)
        try:
            return reply.status, msgspec.json.decode(reply.content, type=dict[str, Any])
        except msgspec.DecodeError:
            return reply.status, {}
