"""DynamoDB, as far as the meter needs it: conditional writes of one item, a get, a query page by page.

Values go in and come out plain (`attributes`). Every write may be tried several times, and a try whose answer was lost
may have been made, or may be made yet: each condition is such that making it again does no harm.

Errors:

MeterError
├── ConditionFailed   the condition did not hold; carries the item as it is
└── MeterUnavailable  no answer, throttled to the end, or refused
    └── Throttled     throttled, of a write that is not to wait
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item, unwrap_all, wrap_all
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

_THROTTLES = {"ProvisionedThroughputExceededException", "RequestLimitExceeded", "ThrottlingException"}
_RETRIED = _THROTTLES | {"InternalServerError", "ServiceUnavailable"}
_MAX_ANSWER = 8_000_000  # a page of a query has 1 MB at most, an item 400 kB; as JSON, names and types come on top

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class MeterError(Exception):
    """A call did not do what was asked."""


class ConditionFailed(MeterError):
    """The condition did not hold. `item` is the item as it was then, or None when there is none."""

    def __init__(self, item: Item | None) -> None:
        """Keep the item."""
        super().__init__("the condition did not hold")
        self.item = item


class MeterUnavailable(MeterError):
    """DynamoDB did not do it, or did not say so: whether a write was made is not known."""


class Throttled(MeterUnavailable):
    """It is more than DynamoDB takes of this item now."""


class Update(msgspec.Struct, frozen=True):
    """One conditional UpdateItem. Values are plain, or `ByTry`."""

    key: Mapping[str, str]
    update: str
    condition: str
    names: Mapping[str, str] = {}  # msgspec makes new ones for each
    values: Mapping[str, Any] = {}


class Page(NamedTuple):
    """A part of what a query found. `after` is where the next one begins, None at the end."""

    items: list[Item]
    after: Item | None


@dataclass(frozen=True)
class Query:
    """What to look for: a partition, perhaps a range of it, perhaps by an index."""

    condition: str
    values: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    index: str | None = None
    filter: str | None = None
    backward: bool = False
    limit: int | None = None
    """The most items of a page that are looked at, before `filter`."""
    only: Sequence[str] = ()
    """The attributes that are given; all when there is none."""


class Table:
    """One table. Every method raises MeterUnavailable when there is no answer."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str,
        name: str,
        credentials: Callable[[], Credentials],
        consumed: Callable[[str, dict[str, Any]], None] | None = None,
    ) -> None:
        """Name the table and how to reach it; `credentials` is asked for each call.

        With `consumed`, DynamoDB is asked what each call costs, and its `ConsumedCapacity` is handed there under the
        name of the operation.
        """
        self._client = client
        self._url = url
        self._host = url.partition("://")[2]
        self._region = region
        self._name = name
        self._credentials = credentials
        self._consumed = consumed

    async def put(
        self, item: Mapping[str, Any], *, condition: str | None = None, values: Mapping[str, Any] | None = None
    ) -> None:
        """Write a whole item; `values` are those of its `condition`.

        Raises:
            ConditionFailed: `condition` did not hold.

        """
        await self._call("PutItem", _condition(condition, values), {"Item": item})

    async def update(
        self,
        update: Update,
        *,
        tries: int | None = None,
        until: float | None = None,
        returns: bool = False,
        waits: bool = True,
    ) -> Item:
        """Change one item.

        Args:
            update: The change and its condition.
            returns: Whether to give the item as it is then; else an empty one is given.
            tries: The most tries; `limits.META_MAX_ATTEMPTS` when omitted.
            until: In place of a number of tries, the time of `time.monotonic` until which they go on.
            waits: Whether to try again when it is throttled.

        Raises:
            ConditionFailed: the condition did not hold.
            Throttled: it was throttled, and is not to wait.

        """
        call: dict[str, Any] = {
            "Key": wrap_all(update.key),
            "UpdateExpression": update.update,
            "ConditionExpression": update.condition,
            "ReturnValues": "ALL_NEW" if returns else "NONE",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if update.names:
            call["ExpressionAttributeNames"] = update.names
        values = {"ExpressionAttributeValues": update.values} if update.values else {}
        answer = await self._call("UpdateItem", call, values, tries=tries, until=until, waits=waits)
        return unwrap_all(answer.get("Attributes", {}))

    async def delete(
        self, key: Mapping[str, str], *, condition: str | None = None, values: Mapping[str, Any] | None = None
    ) -> None:
        """Delete one item; one that is not there too, unless `condition` says else. Raises as `put`."""
        await self._call("DeleteItem", {"Key": wrap_all(key), **_condition(condition, values)})

    async def get(self, key: Mapping[str, str], *, consistent: bool = True) -> Item | None:
        """Give an item, or None."""
        answer = await self._call("GetItem", {"Key": wrap_all(key), "ConsistentRead": consistent})
        return unwrap_all(answer["Item"]) if "Item" in answer else None

    async def query(self, query: Query, *, after: Mapping[str, Any] | None = None, consistent: bool = False) -> Page:
        """Give one page of what is found; `after` is where an earlier one ended. An index is never `consistent`."""
        call: dict[str, Any] = {
            "KeyConditionExpression": query.condition,
            "ExpressionAttributeValues": wrap_all(query.values),
            "ScanIndexForward": not query.backward,
            "ConsistentRead": consistent,
        }
        only = {f"#only{number}": name for number, name in enumerate(query.only)}
        options = {
            "ExpressionAttributeNames": {**query.names, **only} or None,
            "ProjectionExpression": ", ".join(only) or None,
            "IndexName": query.index,
            "FilterExpression": query.filter,
            "Limit": query.limit,
            "ExclusiveStartKey": None if after is None else wrap_all(after),
        }
        call |= {name: value for name, value in options.items() if value is not None}
        answer = await self._call("Query", call)
        last = answer.get("LastEvaluatedKey")
        return Page([unwrap_all(item) for item in answer.get("Items", [])], unwrap_all(last) if last else None)

    async def query_all(self, query: Query, *, consistent: bool = False) -> AsyncIterator[Item]:
        """Give everything that is found, page after page."""
        after: Item | None = None
        while True:
            page = await self.query(query, after=after, consistent=consistent)
            for item in page.items:
                yield item
            if page.after is None:
                return
            after = page.after

    async def _call(
        self,
        operation: str,
        call: Mapping[str, Any],
        plain: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        tries: int | None = None,
        until: float | None = None,
        waits: bool = True,
    ) -> dict[str, Any]:
        """Make a call; `plain` are members whose values are wrapped for each try."""
        tries = tries or limits.META_MAX_ATTEMPTS
        reason = ""
        attempt = 0
        while not attempt or (attempt < tries if until is None else time.monotonic() < until):
            if attempt:
                most = min(limits.META_BACKOFF * 2**attempt, limits.META_BACKOFF_MAX)
                await asyncio.sleep(random.uniform(0, most))  # noqa: S311 (spreads load, hides nothing)
            attempt += 1
            body = self._body(call, plain or {}, attempt)
            try:
                status, answer = await self._try(operation, body)
            except TransportError as error:
                reason = str(error)
                continue
            if status == 200:
                if self._consumed is not None:
                    self._consumed(operation, answer.get("ConsumedCapacity", {}))
                return answer
            reason = str(answer.get("__type", "")).rpartition("#")[2] or f"status {status}"
            if reason == "ConditionalCheckFailedException":
                raise ConditionFailed(unwrap_all(answer["Item"]) if "Item" in answer else None)
            if reason in _THROTTLES and not waits:
                raise Throttled(f"{operation}: {reason}")
            if status < 500 and reason not in _RETRIED:
                break
        raise MeterUnavailable(f"{operation}: {reason}")

    def _body(self, call: Mapping[str, Any], plain: Mapping[str, Mapping[str, Any]], attempt: int) -> bytes:
        whole = {**call, "TableName": self._name}
        for name, values in plain.items():
            whole[name] = wrap_all(values, attempt)
        if self._consumed is not None:
            whole["ReturnConsumedCapacity"] = "INDEXES"
        return msgspec.json.encode(whole)

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
        response = await self._client.request("POST", self._url, "/", headers, body, seconds=limits.META_TIMEOUT)
        try:
            answer = await response.read_all(_MAX_ANSWER)
        finally:
            response.close()
        try:
            return response.status, _decode(answer)
        except msgspec.DecodeError as error:
            if response.status == 200:  # not DynamoDB's: taken for one it would say that nothing is there
                raise TransportError("an answer that is no JSON object") from error
            return response.status, {}


def _condition(condition: str | None, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the members that put a condition on a write; none without one."""
    if not condition:
        return {}
    call: dict[str, Any] = {
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return {**call, "ExpressionAttributeValues": wrap_all(values)} if values else call
