"""Parses bytes into a checked request, or raises an error that names the field. Pure.

Only an error needs more than one pass. Each pass is linear in time and memory for any bytes:
tests/support/corpus.py has the worst cases.
"""

import re
from typing import Any, TypeVar

import msgspec

from lambda_fn import limits
from lambda_fn.errors import MAX_PARAM, InvalidRequest
from lambda_fn.schema.parts import Extensions, Source, Unsupported, WrongField

T = TypeVar("T")

_PATH = re.compile(r"(?:`key` in )?`\$\.?(.*)`")
_UNKNOWN = "Object contains unknown field `"
_ENUM = "Invalid enum value "
_UNKNOWN_TYPE = re.compile(r"Invalid '(.+\.type)': Invalid value ('[^']*')\.")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_CODES = (  # the beginning of msgspec's message -> OpenAI's code
    (re.compile(r"Object missing required field"), "missing_required_parameter"),
    (re.compile(r"Expected `[^`]+`, got"), "invalid_type"),
    (re.compile(r"Expected `int` >"), "integer_below_min_value"),
    (re.compile(r"Expected `int` <"), "integer_above_max_value"),
    (re.compile(r"Expected `float` >"), "decimal_below_min_value"),
    (re.compile(r"Expected `float` <"), "decimal_above_max_value"),
    (re.compile(r"Expected `array` of length >="), "empty_array"),
    (re.compile(r"Expected `array` of length <="), "array_above_max_length"),
    (re.compile(r"Expected `str` of length >="), "string_below_min_length"),
    (re.compile(r"Expected `str` of length <="), "string_above_max_length"),
    (re.compile(r"Expected `object` of length <="), "object_above_max_properties"),
)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")

_BOM = b"\xef\xbb\xbf"
_FORMATS = (  # the first bytes of what is often sent in place of JSON
    (b"\x1f\x8b", "it is gzip: send it with the header 'content-encoding: gzip'"),
    (b"\x28\xb5\x2f\xfd", "it is zstd, which is not supported"),
    (b"\xff\xfe", "it is UTF-16 or UTF-32: send it as UTF-8"),
    (b"\xfe\xff", "it is UTF-16: send it as UTF-8"),
    (b"\0", "it is UTF-16 or UTF-32: send it as UTF-8"),
    (b"{\0", "it is UTF-16 or UTF-32: send it as UTF-8"),
)
_DECIMAL = re.compile(r"Expected `[^`]*\bint\b[^`]*`, got `float`")
_MAX_WHOLE = 2**63

_MAX_STRINGS = 2_000
_MAX_LEVELS = 200


_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def parse(decoder: "msgspec.json.Decoder[T]", body: bytes, *, relax: bool = False) -> T:
    """Return the checked request of a body, which may begin with a byte-order mark.

    With `relax`, a body that does not match is tried once more as `lambda_fn.schema.lenient` writes
    it.

    Raises:
        InvalidRequest: the body is not JSON, or a field has a wrong type or value.

    """
    body = body.removeprefix(_BOM)
    if not body:
        raise InvalidRequest("The body is empty; a JSON object is expected.", code="invalid_json")
    try:
        if not body.isascii():
            body.decode()  # members that are not read are kept, too, and shown again
        _check_size(body)
        request = _decoded(decoder, body, relax=relax)
    except msgspec.ValidationError as error:
        raise _wrong_field(error, decoder.type) from None
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
            path = path[:MAX_PARAM]
            raise InvalidRequest(
                f"Invalid '{path}': NUL characters are not allowed.",
                param=path,
                code="invalid_value",
            )
    return request


def parse_tagged(decoder: "msgspec.json.Decoder[T]", body: bytes) -> T:
    """Return the checked request of a body. A `type` that is not known here is unsupported.

    Raises:
        InvalidRequest: as `parse`.

    """
    try:
        return parse(decoder, body)
    except InvalidRequest as error:
        if (unknown := _UNKNOWN_TYPE.fullmatch(error.message)) is None:
            raise
        raise InvalidRequest(
            f"Unsupported '{unknown.group(1)}': the type {unknown.group(2)} is not supported.",
            param=error.param,
            code=Unsupported.code,
        ) from None


def _decoded(decoder: "msgspec.json.Decoder[T]", body: bytes, *, relax: bool) -> T:
    """Return the request. A whole number may be written as a decimal, as `4.0` or `1e3`."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        if not relax and _DECIMAL.match(str(error)) is None:
            raise
        try:
            value = msgspec.json.decode(body)
        except msgspec.ValidationError:  # a number that Python has no type for
            raise error from None
        if type(value) is not dict:
            raise
    todo: list[Any] = [value]
    while todo:
        inner = todo.pop()
        for key, item in inner.items() if type(inner) is dict else enumerate(inner):
            if type(item) is dict or type(item) is list:
                todo.append(item)
            elif type(item) is float and item.is_integer() and abs(item) < _MAX_WHOLE:
                inner[key] = int(item)
    if relax:
        from lambda_fn.schema.lenient import relaxed  # not at a cold start: most bodies match

        relaxed(value)
    return msgspec.convert(value, decoder.type)


def _check_size(body: bytes) -> None:
    """Reject a body with too many values: small ones take many times their size in memory."""
    if len(body) <= limits.MAX_VALUES or _values(body) <= limits.MAX_VALUES:
        return
    from schema_guard import more_values  # not at a cold start: few bodies are this large

    fields = _fields.decode(body)  # raises if the body is nested too deeply
    if not more_values(body, limits.MAX_VALUES):
        return
    param = max(fields, key=lambda name: _values(bytes(fields[name])))[:MAX_PARAM]
    raise InvalidRequest(
        f"Invalid '{param}': the body has more than {limits.MAX_VALUES} values.",
        param=param,
        code="array_above_max_length",
    )


def _values(data: bytes) -> int:
    return len(data) - len(data.translate(None, b"{[,"))  # in one pass


def _wrong_field(error: msgspec.ValidationError, kind: Any) -> InvalidRequest:
    """Return the error of a body that does not match `kind`, the type of the request."""
    # The message may repeat a value that the caller sent. The path after it contains only the names
    # of known fields, and indices.
    message, _, place = str(error).rpartition(" - at ")
    path = _PATH.fullmatch(place)
    if path is None:
        message = str(error)
    if message.startswith(_UNKNOWN):
        name = message.removeprefix(_UNKNOWN)[:MAX_PARAM].removesuffix("`")
        return _unknown_field(path.group(1) if path else "", name)
    if message.startswith(_ENUM) and path is not None:
        message = _with_choices(message, kind, path.group(1))
    else:
        message = message[:MAX_PARAM]
    missing = _MISSING.match(message)
    param = ".".join(
        part
        for part in (path.group(1) if path else "", missing.group(1) if missing else "")
        if part
    )
    param = param.replace("[...]", "")  # msgspec's text for any key of an object
    if isinstance(cause := error.__cause__, WrongField):
        param = f"{param}.{cause.field}"
        what = "Unsupported" if isinstance(cause, Unsupported) else "Invalid"
        return InvalidRequest(f"{what} '{param}': {message}.", param=param, code=cause.code)
    code = next((code for sign, code in _CODES if sign.match(message)), "invalid_value")
    if not param:
        return InvalidRequest(f"{message}.", code=code)
    return InvalidRequest(f"Invalid '{param}': {message}.", param=param, code=code)


def _with_choices(message: str, kind: Any, path: str) -> str:
    """Return msgspec's message on an enum, with the values that the member at `path` may have."""
    from lambda_fn.schema.choices import choices_at  # not at a cold start

    value = message.removeprefix(_ENUM)[:MAX_PARAM]
    known = ", ".join(repr(choice) for choice in choices_at(kind, path))
    return f"{value} is not one of {known}" if known else f"{_ENUM}{value}"


def _unknown_field(place: str, name: str) -> InvalidRequest:
    """Return the error for a member of an extension that does not exist.

    `place` is the path of its object. Other objects may have members that are unknown here.
    """
    import difflib  # not at a cold start

    known = (Source if place.startswith("sluice.") else Extensions).__struct_fields__
    near = difflib.get_close_matches(name[:64].lower(), known, 1)
    hint = f"Did you mean '{place}.{near[0]}'?" if near else f"Known: {', '.join(known)}."
    param = f"{place}.{name}"[:MAX_PARAM]
    return InvalidRequest(
        f"Unknown parameter: '{param}'. {hint}", param=param, code="unknown_parameter"
    )


def _unreadable(body: bytes, why: str, place: int) -> InvalidRequest:
    why = next((other for start, other in _FORMATS if body.startswith(start)), why)
    return InvalidRequest(
        f"The body is not valid JSON: {why}.", param=_field_at(body, place), code="invalid_json"
    )


def _not_utf8(body: bytes) -> int:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(body)


def _field_at(body: bytes, place: int) -> str | None:
    """Return the name of the outermost field that contains the byte at `place`.

    The search is bounded. Return None if it does not find the field.
    """
    from schema_guard import bare

    text = bare(body[: place + 1])
    depth, name, end = 0, b"", 0
    for _ in range(_MAX_STRINGS):
        start = text.find(b'"', end)
        gap = (end, len(text) if start < 0 else start)
        depth += (
            text.count(b"{", *gap)
            + text.count(b"[", *gap)
            - text.count(b"}", *gap)
            - text.count(b"]", *gap)
        )
        if not 0 <= start < place or depth > _MAX_LEVELS:
            break
        end = text.find(b'"', start + 1) + 1
        if not end:
            break
        if depth == 1 and body[end : end + 8].lstrip()[:1] == b":":
            name = body[start + 1 : end - 1]
    else:
        return None
    return name.decode(errors="replace") if depth > 0 and 0 < len(name) <= 64 else None


def _path_of_nul(request: Any) -> str | None:
    """Return the path of the first string with a NUL character.

    The search keeps one name and one iterator per level, and writes the path once, when it is
    known.
    """
    names: list[str | int] = []
    # Members that are kept as JSON are looked into like the others.
    built = msgspec.to_builtins(request, enc_hook=msgspec.json.decode)
    levels: list[Any] = [iter([("", built)])]
    while levels:
        for name, value in levels[-1]:  # continues where it stopped
            kind = type(value)
            if kind is str:
                if "\0" in value:
                    return _path([*names, name])
            elif kind is dict or kind is list:
                names.append(name)
                if kind is dict and any("\0" in key for key in value):
                    return _path(names)
                levels.append(iter(value.items() if kind is dict else enumerate(value)))
                break
        else:
            levels.pop()
            del names[-1:]
    return None


def _path(names: list[str | int]) -> str:
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names).lstrip(
        "."
    )
