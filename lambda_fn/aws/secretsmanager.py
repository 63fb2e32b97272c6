"""The calls to Secrets Manager that read a secret's versions and rotate it."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials, sign
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
        self._client = client
        self._url = url
        self._region = region
        self._credentials = credentials

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
        headers = sign(
            credentials=self._credentials(),
            region=self._region,
            service="secretsmanager",
            host=self._url.partition("://")[2],
            path="/",
            headers={
                "content-type": "application/x-amz-json-1.1",
                "x-amz-target": f"secretsmanager.{operation}",
            },
            body=body,
        )
        response = await self._client.request(
            "POST", self._url, "/", headers, body, seconds=limits.META_TIMEOUT
        )
        try:
            content = await response.read_all(_MAX_RESPONSE)
        finally:
            response.close()
        try:
            return response.status, msgspec.json.decode(content, type=dict[str, Any])
        except msgspec.DecodeError:
            return response.status, {}
