"""Lambda's Invoke, asynchronously: the event is queued, and nothing of the function's comes back.

Source: API reference of Lambda, Invoke. An event may be lost, come late or come twice.
"""

import asyncio
import random
from collections.abc import Callable

import msgspec

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

_MAX_RESPONSE = 100_000


class NotInvoked(Exception):
    """Lambda did not take an event. The message is the name of the error."""


class Functions:
    """The functions that a role may invoke."""

    def __init__(
        self, client: Client, *, url: str, region: str, credentials: Callable[[], Credentials]
    ) -> None:
        """Set how to reach Lambda; `credentials` is called for each call."""
        self._client = client
        self._url = url
        self._region = region
        self._credentials = credentials

    async def invoke_later(self, function: str, event: object) -> None:
        """Queue an event for a function: its name, or its name, a colon and an alias.

        A call is repeated after throttling or a fault, so that the event may be queued twice.

        Raises:
            NotInvoked: the event was rejected, or it is not known whether it was taken.

        """
        body = msgspec.json.encode(event)
        name, _, alias = function.partition(":")
        # The colon is escaped in the path, and that again in what is signed.
        sent, signed = (f"%3A{alias}", f"%253A{alias}") if alias else ("", "")
        path = f"/2015-03-31/functions/{name}{sent}/invocations"
        signed_path = f"/2015-03-31/functions/{name}{signed}/invocations"
        reason = ""
        for attempt in range(limits.META_MAX_ATTEMPTS):
            if attempt:
                await asyncio.sleep(random.uniform(0, limits.META_BACKOFF * 2**attempt))  # noqa: S311 (spreads load, hides nothing)
            try:
                status, kind = await self._try(path, signed_path, body)
            except TransportError as error:
                reason = str(error)
                continue
            if status == 202:
                return
            reason = kind or f"status {status}"
            if status < 500 and status != 429:
                break
        raise NotInvoked(reason)

    async def _try(self, path: str, signed_path: str, body: bytes) -> tuple[int, str]:
        headers = sign(
            credentials=self._credentials(),
            region=self._region,
            service="lambda",
            host=self._url.partition("://")[2],
            path=signed_path,
            headers={"content-type": "application/json", "x-amz-invocation-type": "Event"},
            body=body,
        )
        response = await self._client.request(
            "POST", self._url, path, headers, body, seconds=limits.META_TIMEOUT
        )
        try:
            await response.read_all(_MAX_RESPONSE)
        finally:
            response.close()
        return response.status, response.headers.get("x-amzn-errortype", "").partition(":")[0]
