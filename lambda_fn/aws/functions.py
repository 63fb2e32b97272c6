"""Lambda's Invoke, asynchronously: the event is queued, and the function's result is dropped.

Source: API reference of Lambda, Invoke. An event may be lost, come late or come twice.
"""

import asyncio
import random
from collections.abc import Callable

import msgspec

from lambda_fn import limits
from lambda_fn.aws.service import Service
from lambda_fn.aws.signing import Credentials
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

_HEADERS = {"content-type": "application/json", "x-amz-invocation-type": "Event"}


class NotInvoked(Exception):
    """Lambda did not take an event. The message is the name of the error."""


class Functions:
    """The functions that a role may invoke."""

    def __init__(
        self, client: Client, *, url: str, region: str, credentials: Callable[[], Credentials]
    ) -> None:
        """Set how to reach Lambda; `credentials` is called for each call."""
        self._lambda = Service(
            client, name="lambda", url=url, region=region, credentials=credentials
        )

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
                reply = await self._lambda.post(_HEADERS, body, path=path, signed_path=signed_path)
            except TransportError as error:
                reason = str(error)
                continue
            if reply.status == 202:
                return
            reason = reply.error_type or f"status {reply.status}"
            if reply.status < 500 and reply.status != 429:
                break
        raise NotInvoked(reason)
