"""The way of a call for items to moto's code: a WSGI application in front of moto's own.

moto finds the service by the names of all its modules, makes a Flask request, reads the body as a
form, as a query and by botocore's model, and looks at each member of its class to find the method.
None of this depends on the item.
"""

import io
import re
import secrets
import zlib
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import msgspec
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.dynamodb.responses import DynamoHandler
from moto.iam.models import mark_account_as_visited
from werkzeug.exceptions import HTTPException

from local.moto.items import reading, updates

Environ = dict[str, Any]
Start = Callable[..., Any]

_TARGET = "DynamoDB_20120810."
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[A-Z0-9]{20})/[0-9]{8}/(?P<region>[a-z0-9-]+)/dynamodb/"
    r"aws4_request\b"
)
_KIND = "application/x-amz-json-1.0"
# Headers and settings by which moto would choose another account, region or form.
_CHOOSING = ("HTTP_X_MOTO_ACCOUNT_ID", "HTTP_CONTENT_ENCODING", "QUERY_STRING")
# In bytes. A call may have 16 MB; so large a body is rare, and moto can have it.
_LARGEST = 2**20


class ItemCalls:
    """The application. Calls that are not for items, or not well-formed, go to `moto`."""

    def __init__(self, moto: Callable[[Environ, Start], Iterable[bytes]]) -> None:
        """`moto` is moto's WSGI application."""
        self._moto = moto

    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        """Answer one request. Only one request may be answered at a time."""
        target = environ.get("HTTP_X_AMZ_TARGET", "")
        operation = target.removeprefix(_TARGET)
        signed = _signed(environ) if operation in _METHODS and operation != target else None
        if signed is None:
            return self._moto(environ, start_response)
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        try:
            parameters = reading.parameters(operation, body)
        except reading.Unusual:
            return self._moto({**environ, "wsgi.input": io.BytesIO(body)}, start_response)
        handler = _Handler(operation, parameters, signed["key"], signed["region"])
        status, headers, content = handler.answer()
        start_response(
            f"{status} {HTTPStatus(status).phrase}",
            [*headers.items(), ("Content-Length", str(len(content)))],
        )
        return [content]


def _signed(environ: Environ) -> re.Match[str] | None:
    """Return the key and region of a call of usual form, or None."""
    if (
        environ["REQUEST_METHOD"] != "POST"
        or environ.get("PATH_INFO") != "/"
        or environ.get("CONTENT_TYPE") != _KIND
        or any(environ.get(name) for name in _CHOOSING)
        or "amazonaws" in environ.get("HTTP_HOST", "")
        or "region/" in environ.get("HTTP_USER_AGENT", "")
    ):
        return None
    length = environ.get("CONTENT_LENGTH", "")
    if not length.isdecimal() or int(length) > _LARGEST:
        return None
    return _SIGNED.match(environ.get("HTTP_AUTHORIZATION", ""))


class _Handler(DynamoHandler):  # type: ignore[misc] # moto is untyped here
    """moto's own handler, with the parameters of one call."""

    def __init__(self, operation: str, parameters: dict[str, Any], key: str, region: str) -> None:
        super().__init__()
        self.operation = operation
        self.body = self.params = parameters
        self.region = region
        self.querystring: dict[str, Any] = {}
        self.headers = {"X-Amz-Target": _TARGET + operation, "Content-Type": _KIND}
        self.headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={key}/"
        self.response_headers = {"server": "amazon.com"}
        self.current_account = self.get_current_account()
        mark_account_as_visited(
            account_id=self.current_account, access_key=key, service="dynamodb", region=region
        )

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the response, as `BaseResponse.call_action` does."""
        headers = self.response_headers
        try:
            result = self._do()
        except ServiceException as error:
            status, more, body = self.serialized(ActionResult(error))
            headers.update(more, status=str(status))
        except HTTPException as error:
            headers.update(error.get_headers() or [])
            status, body = int(error.code or 500), error.description
            headers["status"] = str(status)
        else:
            encoded = _encoded(self.operation, result.result)
            if encoded is None:
                status, more, body = self.serialized(result)
            else:
                status, more, body = 200, {"Content-Type": _KIND}, encoded
            headers.update(more)
        content = body if isinstance(body, bytes) else str(body).encode()
        headers["x-amzn-requestid"] = secrets.token_hex(26)
        headers["x-amz-crc32"] = str(zlib.crc32(content))
        return status, headers, content

    def _do(self) -> Any:
        if self.operation == "UpdateItem" and updates.may_update(self.body):
            return updates.update(self)
        return _METHODS[self.operation](self)


_METHODS: dict[str, Callable[[Any], Any]] = {
    operation: getattr(DynamoHandler, camelcase_to_underscores(operation))
    for operation in (
        "BatchGetItem",
        "BatchWriteItem",
        "DeleteItem",
        "GetItem",
        "PutItem",
        "Query",
        "UpdateItem",
    )
}


def _encoded(operation: str, result: Any) -> bytes | None:
    """Return a result as JSON, or None if it needs moto's serializer."""
    if not isinstance(result, dict):
        return None
    members = {}
    for name in _RESULTS[operation]:
        content = result.get(name)
        if content is None:
            continue
        if name == "ConsumedCapacity":
            content = _capacity(content)
            if content is None:
                return None
        elif name in _EMPTY and content:
            return None
        members[name] = content
    try:
        return msgspec.json.encode(members)
    except (TypeError, ValueError):  # such as half a character
        return None


def _capacity(content: Any) -> Any:
    """Return what a call consumed with its units as the model has them, or None for details."""
    if isinstance(content, list):
        each = [_capacity(item) for item in content]
        return None if None in each else each
    if content.keys() - {"TableName", "CapacityUnits"}:
        return None
    return {"TableName": content["TableName"], "CapacityUnits": float(content["CapacityUnits"])}


# Members that are empty in nearly all results. Others than these two kinds hold attribute values,
# or numbers.
_EMPTY = {"ItemCollectionMetrics", "UnprocessedItems", "UnprocessedKeys"}
_WRITTEN = ("Attributes", "ConsumedCapacity", "ItemCollectionMetrics")
_RESULTS = {
    "BatchGetItem": ("Responses", "UnprocessedKeys", "ConsumedCapacity"),
    "BatchWriteItem": ("UnprocessedItems", "ItemCollectionMetrics", "ConsumedCapacity"),
    "DeleteItem": _WRITTEN,
    "GetItem": ("Item", "ConsumedCapacity"),
    "PutItem": _WRITTEN,
    "Query": ("Items", "Count", "ScannedCount", "LastEvaluatedKey", "ConsumedCapacity"),
    "UpdateItem": _WRITTEN,
}
