"""Reads the body of a call for items into the parameters that moto's parser would make. Pure."""

from base64 import b64decode
from binascii import Error
from collections.abc import Callable
from typing import Any

import msgspec

Value = dict[str, Any]
"""An attribute value: its type, and its content. Binary content is bytes."""


class Unusual(Exception):
    """The call is not well-formed, or it has a member that is not read here."""


_decode = msgspec.json.Decoder(dict[str, Any]).decode
_MAX_DEPTH = 32
"""Lists and maps within each other, as DynamoDB limits them. moto answers deeper ones."""


def parameters(operation: str, body: bytes) -> dict[str, Any]:
    """Return the parameters of a call.

    Raises Unusual, also for a call that moto would accept.
    """
    readers = _OPERATIONS[operation]
    try:
        members = _decode(body)
        return {name: readers[name](content) for name, content in members.items()}
    except (msgspec.DecodeError, KeyError, RecursionError) as error:
        raise Unusual from error


def _text(content: Any) -> str:
    if type(content) is not str:
        raise Unusual
    return content


def _flag(content: Any) -> bool:
    if type(content) is not bool:
        raise Unusual
    return content


def _number(content: Any) -> int:
    if type(content) is not int:
        raise Unusual
    return content


def _texts(content: Any) -> list[str]:
    if type(content) is not list:
        raise Unusual
    return [_text(item) for item in content]


def _names(content: Any) -> dict[str, str]:
    if type(content) is not dict:
        raise Unusual
    return {name: _text(item) for name, item in content.items()}


def _values(content: Any, depth: int = 0) -> dict[str, Value]:
    if type(content) is not dict or depth > _MAX_DEPTH:
        raise Unusual
    return {name: _value(item, depth) for name, item in content.items()}


def _value(content: Any, depth: int) -> Value:
    if type(content) is not dict or len(content) != 1:
        raise Unusual
    for kind, held in content.items():
        if kind in {"S", "N"}:
            if type(held) is not str:
                raise Unusual
            return content
        if kind in _NESTED:
            return {kind: _NESTED[kind](held, depth + 1)}
        if kind not in _CONTENTS:
            raise Unusual
        return {kind: _CONTENTS[kind](held)}
    raise Unusual


def _bytes(content: Any) -> bytes:
    try:
        return b64decode(_text(content))
    except (Error, ValueError) as error:
        raise Unusual from error


def _all_bytes(content: Any) -> list[bytes]:
    return [_bytes(item) for item in _texts(content)]


def _list(content: Any, depth: int) -> list[Value]:
    if type(content) is not list or depth > _MAX_DEPTH:
        raise Unusual
    return [_value(item, depth) for item in content]


_CONTENTS: dict[str, Callable[[Any], Any]] = {
    "B": _bytes,
    "BOOL": _flag,
    "BS": _all_bytes,
    "NS": _texts,
    "NULL": _flag,
    "SS": _texts,
}


_NESTED: dict[str, Callable[[Any, int], Any]] = {"L": _list, "M": _values}


def _structure(readers: dict[str, Callable[[Any], Any]], content: Any) -> dict[str, Any]:
    if type(content) is not dict:
        raise Unusual
    return {name: readers[name](item) for name, item in content.items()}


def _several(content: Any) -> list[dict[str, Value]]:
    if type(content) is not list:
        raise Unusual
    return [_values(item) for item in content]


def _batch_get(content: Any) -> dict[str, Any]:
    if type(content) is not dict:
        raise Unusual
    return {table: _structure(_OF_TABLE, wanted) for table, wanted in content.items()}


def _batch_write(content: Any) -> dict[str, Any]:
    if type(content) is not dict or not all(type(writes) is list for writes in content.values()):
        raise Unusual
    return {table: [_write(write) for write in writes] for table, writes in content.items()}


def _write(content: Any) -> dict[str, Any]:
    if type(content) is not dict or len(content) != 1:
        raise Unusual
    return {
        kind: _structure({_WRITES[kind]: _values}, request) for kind, request in content.items()
    }


_WRITES = {"PutRequest": "Item", "DeleteRequest": "Key"}
_OF_TABLE: dict[str, Callable[[Any], Any]] = {
    "ConsistentRead": _flag,
    "ExpressionAttributeNames": _names,
    "Keys": _several,
    "ProjectionExpression": _text,
}
_CONDITIONAL: dict[str, Callable[[Any], Any]] = {
    "ConditionExpression": _text,
    "ExpressionAttributeNames": _names,
    "ExpressionAttributeValues": _values,
    "ReturnConsumedCapacity": _text,
    "ReturnValues": _text,
    "ReturnValuesOnConditionCheckFailure": _text,
    "TableName": _text,
}
# The members that are read here, by operation. moto reads some more.
_OPERATIONS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "BatchGetItem": {"RequestItems": _batch_get},
    "BatchWriteItem": {"RequestItems": _batch_write},
    "DeleteItem": {"Key": _values, **_CONDITIONAL},
    "GetItem": {
        "ConsistentRead": _flag,
        "ExpressionAttributeNames": _names,
        "Key": _values,
        "ProjectionExpression": _text,
        "ReturnConsumedCapacity": _text,
        "TableName": _text,
    },
    "PutItem": {"Item": _values, **_CONDITIONAL},
    "Query": {
        "ConsistentRead": _flag,
        "ExclusiveStartKey": _values,
        "ExpressionAttributeNames": _names,
        "ExpressionAttributeValues": _values,
        "FilterExpression": _text,
        "IndexName": _text,
        "KeyConditionExpression": _text,
        "Limit": _number,
        "ProjectionExpression": _text,
        "ReturnConsumedCapacity": _text,
        "ScanIndexForward": _flag,
        "Select": _text,
        "TableName": _text,
    },
    "UpdateItem": {"Key": _values, "UpdateExpression": _text, **_CONDITIONAL},
}
