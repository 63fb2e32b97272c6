"""Bytes -> a checked request, or the refusal that names the field. Pure; only a refusal takes more than one pass."""

import re
from typing import Any, TypeVar

import msgspec

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parts import Unsupported

T = TypeVar("T")

_PATH = re.compile(r" - at (?:`key` in )?`\$\.?(.*?)`$")
_MISSING = re.compile(r"missing required field `(\w+)`")
_CODES = (  # what msgspec says -> OpenAI's code
    (re.compile(r"missing required field"), "missing_required_parameter"),
    (re.compile(r"^Expected `[^`]+`, got"), "invalid_type"),
    (re.compile(r"`int` >"), "integer_below_min_value"),
    (re.compile(r"`int` <"), "integer_above_max_value"),
    (re.compile(r"`float` >"), "decimal_below_min_value"),
    (re.compile(r"`float` <"), "decimal_above_max_value"),
    (re.compile(r"`array` of length >="), "empty_array"),
    (re.compile(r"`array` of length <="), "array_above_max_length"),
    (re.compile(r"`str` of length >="), "string_below_min_length"),
    (re.compile(r"`str` of length <="), "string_above_max_length"),
    (re.compile(r"`object` of length <="), "object_above_max_properties"),
)
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[][{}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
_MOST_TOKENS = 50_000
_MOST_LEVELS = 200


def parse(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Read and check a body.

    Raises:
        InvalidRequest: it is not JSON, or has a field of a wrong type or out of range.

    """
    if not body:
        raise InvalidRequest("The body is empty; a JSON object is expected.", code="invalid_json")
    try:
        request = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _wrong_field(error) from None
    except UnicodeDecodeError:
        raise _unreadable(body, "it is not UTF-8", _not_utf8(body)) from None
    except RecursionError:
        raise _unreadable(body, "it is nested too deeply", len(body)) from None
    except msgspec.DecodeError as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        surrogate = None if place else _SURROGATE.search(body)
        if surrogate is not None:
            raise _unreadable(body, "it has half of a surrogate pair", surrogate.start()) from None
        raise _unreadable(body, str(error), int(place.group(1)) if place else len(body)) from None
    if b"\\u0000" in body:
        path = _path_of_nul(request)
        if path is not None:
            raise InvalidRequest(f"Invalid '{path}': NUL characters are not allowed.", param=path, code="invalid_value")
    return request


def _wrong_field(error: msgspec.ValidationError) -> InvalidRequest:
    text = str(error)
    path = _PATH.search(text)
    message = text if path is None else text[: path.start()]
    missing = _MISSING.search(message)
    param = ".".join(part for part in (path.group(1) if path else "", missing.group(1) if missing else "") if part)
    param = param.replace("[...]", "")  # of an object's key that msgspec does not name
    if isinstance(error.__cause__, Unsupported):
        param = f"{param}.{error.__cause__.field}"
        return InvalidRequest(f"Unsupported '{param}': {message}.", param=param, code="unsupported_value")
    code = next((code for sign, code in _CODES if sign.search(message)), "invalid_value")
    if not param:
        return InvalidRequest(f"{message}.", code=code)
    return InvalidRequest(f"Invalid '{param}': {message}.", param=param, code=code)


def _unreadable(body: bytes, why: str, place: int) -> InvalidRequest:
    return InvalidRequest(f"The body is not valid JSON: {why}.", param=_field_at(body, place), code="invalid_json")


def _not_utf8(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)


def _field_at(body: bytes, place: int) -> str | None:
    """Give the name of the outermost field that holds this byte, as far as it can be found by a bounded search."""
    depth, name = 0, None
    for count, token in enumerate(_TOKEN.finditer(body)):
        if token.start() >= place or depth > _MOST_LEVELS:
            break
        if count > _MOST_TOKENS:
            return None
        sign = token.group()[0]
        if sign in b"[{":
            depth += 1
        elif sign in b"]}":
            depth -= 1
        elif depth == 1 and body[token.end() : token.end() + 8].lstrip()[:1] == b":":
            name = token.group()[1:-1]
    if name is None or len(name) > 64:
        return None
    return name.decode(errors="replace")


def _path_of_nul(request: Any) -> str | None:
    """Give the path of the first string with a NUL character."""
    todo: list[tuple[str, Any]] = [("", msgspec.to_builtins(request))]
    while todo:
        path, value = todo.pop()
        if type(value) is str and "\0" in value:
            return path
        if type(value) is dict:
            if any("\0" in key for key in value):
                return path
            todo += [(f"{path}.{key}" if path else key, inner) for key, inner in reversed(value.items())]
        elif type(value) is list:
            todo += [(f"{path}[{number}]", inner) for number, inner in reversed(list(enumerate(value)))]
    return None
