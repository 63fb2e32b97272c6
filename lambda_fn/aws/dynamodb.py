"""The DynamoDB calls that are needed: conditional writes of one item, reads, and paged query.

Values are plain Python on both sides (`attributes`). A write may be attempted several times. If the
response to an attempt was lost, DynamoDB may have carried it out, or may still do so later. Callers
choose conditions that make that harmless.

Errors:

    MeterError
    ├── ConditionFailed   the condition did not hold; it has the item as it was then
    └── MeterUnavailable  no response, throttled on each attempt, or rejected
        └── Throttled     throttled, and the caller does not retry throttling
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from lambda_fn import limits
from lambda_fn.aws.attributes import Item, unwrap_all, wrap_all
from lambda_fn.aws.signing import Credentials, sign
from lambda_fn.http.client import Client
from lambda_fn.http.connection import TransportError

_THROTTLES = {
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
}
_RETRIED = _THROTTLES | {"InternalServerError", "ServiceUnavailable"}
# A page of a query has at most 1 MB, and an item 400 kB. JSON adds names and types.
_MAX_RESPONSE = 8_000_000

MAX_KEYS = 100
"""The keys of one BatchGetItem, by DynamoDB's reference."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode

Key = tuple[str, str]
"""The partition key and the sort key of an item."""


class MeterError(Exception):
    """A call to DynamoDB did not succeed."""


class ConditionFailed(MeterError):
    """The condition did not hold. `item` is the item as it was then, None if it did not exist."""

    def __init__(self, item: Item | None) -> None:
        """Set the message."""
        super().__init__("the condition did not hold")
        self.item = item


class MeterUnavailable(MeterError):
    """DynamoDB did not confirm the call. It is not known whether a write was carried out."""


class Throttled(MeterUnavailable):
    """DynamoDB accepts no more calls for this item now."""


class Update(msgspec.Struct, frozen=True):
    """A conditional UpdateItem. Values are plain, or `PerAttempt`."""

    key: Mapping[str, str]
    update: str
    condition: str
    names: Mapping[str, str] = {}  # msgspec copies it for each
    values: Mapping[str, Any] = {}


class Page(NamedTuple):
    """A page of a query. The next page begins after the key `after`; None at the end."""

    items: list[Item]
    after: Item | None


@dataclass(frozen=True)
class Query:
    """A query of a partition, or a range of it, of the table or an index."""

    condition: str
    values: Mapping[str, Any]
    names: Mapping[str, str] = field(default_factory=dict)
    index: str | None = None
    filter: str | None = None
    backward: bool = False
    limit: int | None = None
    """The maximum number of items that a page reads, before `filter`."""
    projection: Sequence[str] = ()
    """The attributes to return; all when empty."""


class Table:
    """A table. Every method raises MeterUnavailable when DynamoDB does not confirm the call."""

    def __init__(
        self,
        client: Client,
        *,
        url: str,
        region: str,
        name: str,
        credentials: Callable[[], Credentials],
    ) -> None:
        """Set the table and how to reach it; `credentials` is called for each call."""
        self._client = client
        self._url = url
        self._host = url.partition("://")[2]
        self._region = region
        self._name = name
        self._credentials = credentials

    async def put(
        self,
        item: Mapping[str, Any],
        *,
        condition: str | None = None,
        values: Mapping[str, Any] | None = None,
        deadline: float | None = None,
    ) -> None:
        """Write a whole item; `values` are the values of `condition`.

        `deadline` is as in `update`.

        Raises:
            ConditionFailed: `condition` did not hold.

        """
        await self._call(
            "PutItem", _condition(condition, values), {"Item": item}, deadline=deadline
        )

    async def update(
        self,
        update: Update,
        *,
        max_attempts: int | None = None,
        deadline: float | None = None,
        return_item: bool = False,
        retry_on_throttle: bool = True,
    ) -> Item:
        """Change one item.

        Args:
            update: The change and its condition.
            max_attempts: The maximum number of attempts; `limits.META_MAX_ATTEMPTS` when None.
            deadline: In place of `max_attempts`, the time of `time.monotonic` at which the last
                attempt may begin.
            return_item: Whether to return the changed item. Otherwise an empty one is returned.
            retry_on_throttle: Whether a throttled call is attempted again.

        Raises:
            ConditionFailed: the condition did not hold.
            Throttled: the call was throttled, and `retry_on_throttle` is false.

        """
        call: dict[str, Any] = {
            "Key": wrap_all(update.key),
            "UpdateExpression": update.update,
            "ConditionExpression": update.condition,
            "ReturnValues": "ALL_NEW" if return_item else "NONE",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if update.names:
            call["ExpressionAttributeNames"] = update.names
        values = {"ExpressionAttributeValues": update.values} if update.values else {}
        result = await self._call(
            "UpdateItem",
            call,
            values,
            max_attempts=max_attempts,
            deadline=deadline,
            retry_on_throttle=retry_on_throttle,
        )
        return unwrap_all(result.get("Attributes", {}))

    async def delete(
        self,
        key: Mapping[str, str],
        *,
        condition: str | None = None,
        values: Mapping[str, Any] | None = None,
    ) -> None:
        """Delete an item. Raises as `put`.

        A missing item is no error, unless `condition` makes it one.
        """
        await self._call("DeleteItem", {"Key": wrap_all(key), **_condition(condition, values)})

    async def get(self, key: Mapping[str, str], *, consistent: bool = True) -> Item | None:
        """Return an item, or None if there is none."""
        result = await self._call("GetItem", {"Key": wrap_all(key), "ConsistentRead": consistent})
        return unwrap_all(result["Item"]) if "Item" in result else None

    async def get_many(
        self,
        keys: Iterable[Key],
        names: Sequence[str],
        *,
        consistent: bool = True,
        max_attempts: int | None = None,
    ) -> dict[Key, Item | None]:
        """Return some attributes of many items, in few calls. It raises nothing.

        The result has None for an item that does not exist. It lacks the keys that DynamoDB did not
        read: because a call failed, or because it left them out each time that it was asked.

        Args:
            keys: The primary keys. Each is read once.
            names: The attributes to return.
            consistent: Whether the reads are consistent.
            max_attempts: The maximum number of attempts of a call that fails, as in `update`.

        """
        asked = list(dict.fromkeys(keys))
        parts = [asked[at : at + MAX_KEYS] for at in range(0, len(asked), MAX_KEYS)]
        found: dict[Key, Item | None] = {}
        for read in await asyncio.gather(
            *(
                self._get_batch(part, names, consistent=consistent, max_attempts=max_attempts)
                for part in parts
            )
        ):
            found |= read
        return found

    async def _get_batch(
        self,
        keys: Sequence[Key],
        names: Sequence[str],
        *,
        consistent: bool,
        max_attempts: int | None,
    ) -> dict[Key, Item | None]:
        """Return what `get_many` does, of at most `MAX_KEYS` keys."""
        projected = {f"#{number}": name for number, name in enumerate(("pk", "sk", *names))}
        options = {
            "ConsistentRead": consistent,
            "ProjectionExpression": ", ".join(projected),
            "ExpressionAttributeNames": projected,
        }
        left = [{"pk": {"S": partition}, "sk": {"S": sort}} for partition, sort in keys]
        items: list[Item] = []
        for attempt in range(limits.META_MAX_ATTEMPTS):
            if attempt:
                await _back_off(attempt)
            try:
                result = await self._call(
                    "BatchGetItem",
                    {"RequestItems": {self._name: {"Keys": left, **options}}},
                    max_attempts=max_attempts,
                )
            except MeterUnavailable:
                break
            items += map(unwrap_all, result.get("Responses", {}).get(self._name, ()))
            left = result.get("UnprocessedKeys", {}).get(self._name, {}).get("Keys", [])
            if not left:
                break
        unread = {(key["pk"]["S"], key["sk"]["S"]) for key in left}
        read: dict[Key, Item | None] = {key: None for key in keys if key not in unread}
        return read | {(item["pk"], item["sk"]): item for item in items}

    async def query(
        self, query: Query, *, after: Mapping[str, Any] | None = None, consistent: bool = False
    ) -> Page:
        """Return a page of a query.

        `after` is the key that the preceding page has as `after`. An index cannot be read with
        `consistent`.
        """
        call: dict[str, Any] = {
            "KeyConditionExpression": query.condition,
            "ExpressionAttributeValues": wrap_all(query.values),
            "ScanIndexForward": not query.backward,
            "ConsistentRead": consistent,
        }
        projection = {f"#attribute{number}": name for number, name in enumerate(query.projection)}
        options = {
            "ExpressionAttributeNames": {**query.names, **projection} or None,
            "ProjectionExpression": ", ".join(projection) or None,
            "IndexName": query.index,
            "FilterExpression": query.filter,
            "Limit": query.limit,
            "ExclusiveStartKey": None if after is None else wrap_all(after),
        }
        call |= {name: value for name, value in options.items() if value is not None}
        result = await self._call("Query", call)
        last_key = result.get("LastEvaluatedKey")
        return Page(
            [unwrap_all(item) for item in result.get("Items", [])],
            unwrap_all(last_key) if last_key else None,
        )

    async def query_all(self, query: Query, *, consistent: bool = False) -> AsyncIterator[Item]:
        """Yield all items of a query, page after page."""
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
        max_attempts: int | None = None,
        deadline: float | None = None,
        retry_on_throttle: bool = True,
    ) -> dict[str, Any]:
        """Make a call. `plain` has the members whose values are converted for each attempt."""
        max_attempts = max_attempts or limits.META_MAX_ATTEMPTS
        reason = ""
        attempt = 0
        while not attempt or (
            attempt < max_attempts if deadline is None else time.monotonic() < deadline
        ):
            if attempt:
                await _back_off(attempt)
            attempt += 1
            body = self._body(call, plain or {}, attempt)
            try:
                status, result = await self._try(operation, body)
            except TransportError as error:
                reason = str(error)
                continue
            if status == 200:
                return result
            reason = str(result.get("__type", "")).rpartition("#")[2] or f"status {status}"
            if reason == "ConditionalCheckFailedException":
                raise ConditionFailed(unwrap_all(result["Item"]) if "Item" in result else None)
            if reason in _THROTTLES and not retry_on_throttle:
                raise Throttled(f"{operation}: {reason}")
            if status < 500 and reason not in _RETRIED:
                break
        raise MeterUnavailable(f"{operation}: {reason}")

    def _body(
        self, call: Mapping[str, Any], plain: Mapping[str, Mapping[str, Any]], attempt: int
    ) -> bytes:
        request = dict(call) if "RequestItems" in call else {**call, "TableName": self._name}
        for name, values in plain.items():
            request[name] = wrap_all(values, attempt)
        return msgspec.json.encode(request)

    async def _try(self, operation: str, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = sign(
            credentials=self._credentials(),
            region=self._region,
            service="dynamodb",
            host=self._host,
            path="/",
            headers={
                "content-type": "application/x-amz-json-1.0",
                "x-amz-target": f"DynamoDB_20120810.{operation}",
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
            return response.status, _decode(content)
        except msgspec.DecodeError as error:
            if response.status == 200:
                # This did not come from DynamoDB. An empty response would mean that no item exists.
                raise TransportError("the response is not a JSON object") from error
            return response.status, {}


async def _back_off(attempt: int) -> None:
    """Wait before an attempt of a call; the first one has the number 0."""
    longest = min(limits.META_BACKOFF * 2**attempt, limits.META_BACKOFF_MAX)
    await asyncio.sleep(random.uniform(0, longest))  # noqa: S311 (spreads load, hides nothing)


def _condition(condition: str | None, values: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the members that make a write conditional, or none if there is no condition."""
    if not condition:
        return {}
    call: dict[str, Any] = {
        "ConditionExpression": condition,
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    return {**call, "ExpressionAttributeValues": wrap_all(values)} if values else call
