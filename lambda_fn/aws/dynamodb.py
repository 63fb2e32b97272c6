"""Conditional writes on DynamoDB: the four of them that a request makes, and nothing else.

Errors:

MeterError
├── ConditionFailed   the condition did not hold; carries the item as it is
└── MeterUnavailable  no answer, throttled to the end, or refused
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lambda_fn import limits
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.connection import TransportError
from lambda_fn.http import Client

Value = Mapping[str, Any]
"""An attribute as DynamoDB writes it: `{"S": "text"}`, `{"N": "1"}`, `{"BOOL": true}`, `{"M": {...}}`."""
Item = dict[str, Any]

_RETRIED = {
    "InternalServerError",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ServiceUnavailable",
    "ThrottlingException",
}
_MAX_ANSWER = 500_000  # an item has 400 kB at most


class MeterError(Exception):
    """A write did not happen."""


class ConditionFailed(MeterError):
    """The condition did not hold. `item` is the item as it was then, or None when there is none."""

    def __init__(self, item: Item | None) -> None:
        """Keep the item."""
        super().__init__("the condition did not hold")
        self.item = item


class MeterUnavailable(MeterError):
    """DynamoDB did not take the write, or did not say so: whether it was made is not known."""


class Table:
    """One table."""

    def __init__(
        self, client: Client, *, url: str, region: str, name: str, credentials: Callable[[], Credentials]
    ) -> None:
        """Name the table and how to reach it; `credentials` is asked for each call."""
        self._client = client
        self._url = url
        self._host = url.partition("://")[2]
        self._region = region
        self._name = name
        self._credentials = credentials

    async def put(self, item: Mapping[str, Value], *, condition: str) -> None:
        """Write a new item.

        Raises:
            ConditionFailed: `condition` did not hold.
            MeterUnavailable: it is not known whether it was written.

        """
        await self._call("PutItem", {"Item": item, "ConditionExpression": condition})

    async def update(
        self,
        key: Mapping[str, str],
        *,
        update: str,
        condition: str,
        names: Mapping[str, str] | None = None,
        values: Mapping[str, Value],
    ) -> None:
        """Change one item. Raises as `put`."""
        call: dict[str, Any] = {
            "Key": {name: {"S": value} for name, value in key.items()},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": values,
        }
        if names:
            call["ExpressionAttributeNames"] = names
        await self._call("UpdateItem", call)

    async def _call(self, operation: str, call: dict[str, Any]) -> None:
        call |= {"TableName": self._name, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        body = msgspec.json.encode(call)
        reason = ""
        for attempt in range(limits.META_TRIES):
            if attempt:
                await asyncio.sleep(random.uniform(0, limits.META_BACKOFF * 2**attempt))  # noqa: S311 (spreads load, hides nothing)
            try:
                async with asyncio.timeout(limits.META_TIMEOUT):
                    status, answer = await self._try(operation, body)
            except TimeoutError:
                reason = "no answer in time"
                continue
            except TransportError as error:
                reason = str(error)
                continue
            if status == 200:
                return
            reason = str(answer.get("__type", "")).rpartition("#")[2] or f"status {status}"
            if reason == "ConditionalCheckFailedException":
                raise ConditionFailed(answer.get("Item"))
            if status < 500 and reason not in _RETRIED:
                break
        raise MeterUnavailable(f"{operation}: {reason}")

    async def _try(self, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = sign(
            credentials=self._credentials(),
            region=self._region,
            service="dynamodb",
            host=self._host,
            path="/",
            headers={"content-type": "application/x-amz-json-1.0", "x-amz-target": f"DynamoDB_20120810.{operation}"},
            body=body,
        )
        response = await self._client.request("POST", self._url, "/", headers, body, timeout=limits.META_TIMEOUT)
        try:
            answer = await response.read_all(_MAX_ANSWER)
        finally:
            response.close()
        try:
            return response.status, msgspec.json.decode(answer, type=dict[str, Any])
        except msgspec.DecodeError:
            return response.status, {}
