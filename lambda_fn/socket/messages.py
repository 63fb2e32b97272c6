"""What clients send on a socket, and the errors that they get. Pure.

    {"type": "response.create", "stream_id"?, "generate"?, ...the body of POST /v1/responses}
    {"type": "response.cancel", "stream_id" | "response_id"}
    {"type": "response.resume", "stream_id"?, "response_id", "starting_after"?}

The first is OpenAI's. The others are extensions.
"""

from typing import Any

import msgspec

from lambda_fn.encode.tagged import STREAM_ID
from lambda_fn.errors import APIError, InvalidRequest, encode_json
from lambda_fn.schema.parse import parse

_BOM = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"
_TYPES = ("response.create", "response.cancel", "response.resume")


class Create(msgspec.Struct, frozen=True):
    """Makes a response in a lane. `stream_id` names the lane; None is the default lane.

    `body` is a body of `POST /v1/responses` with `stream` set. It may have further members, which
    have no effect there. Without `generate`, the response has no output, and others can go on from
    it.
    """

    stream_id: str | None
    body: bytes
    generate: bool = True


class Cancel(msgspec.Struct, frozen=True):
    """Cancels the running response of a lane, or the one with an id."""

    stream_id: str | None = None
    response_id: str | None = None


class Resume(msgspec.Struct, frozen=True):
    """Sends in a lane the events of a kept response that come after an event."""

    stream_id: str | None
    response_id: str
    starting_after: int = -1


class Invalid(msgspec.Struct, frozen=True):
    """A message that is invalid. `stream_id` is the lane that it names, if that can be read."""

    error: APIError
    stream_id: str | None = None


class _Envelope(msgspec.Struct):
    """The members of a message that are not those of a request. Each is checked by itself."""

    type: Any = None
    stream_id: Any = None
    response_id: Any = None
    starting_after: Any = None
    generate: Any = None
    background: Any = None
    response: Any = None


_envelope = msgspec.json.Decoder(_Envelope)


def read(message: bytes) -> Create | Cancel | Resume | Invalid:
    """Return what a message means. Its size is bounded by the caller."""
    stream_id: str | None = None
    try:
        envelope = parse(_envelope, message)
        stream_id = _stream_id(envelope.stream_id)
        if envelope.type == "response.create":
            return _create(envelope, message, stream_id)
        if envelope.type == "response.cancel":
            return _cancel(envelope, stream_id)
        if envelope.type == "response.resume":
            return _resume(envelope, stream_id)
        raise _unknown_type(envelope.type)
    except InvalidRequest as error:
        error.message = error.message.replace("The body is", "The message is", 1)
        return Invalid(error, stream_id)


def _create(envelope: _Envelope, message: bytes, stream_id: str | None) -> Create:
    if envelope.background not in (None, False):
        raise InvalidRequest(
            "Unsupported parameter: 'background': a socket streams its responses. Send the request "
            "to POST /v1/responses.",
            param="background",
            code="unsupported_parameter",
        )
    if envelope.response is not None:
        raise InvalidRequest(
            "Unknown parameter: 'response': the members of the request stand beside 'type'.",
            param="response",
            code="unknown_parameter",
        )
    if envelope.generate is not None and type(envelope.generate) is not bool:  # 0 is False, too
        raise _wrong("generate", "a boolean is expected")
    # Of members with the same name the last one counts, so a `stream` of the client does not.
    body = message.removeprefix(_BOM).rstrip(_SPACE)[:-1] + b',"stream":true}'
    return Create(stream_id, body, generate=envelope.generate is not False)


def _cancel(envelope: _Envelope, stream_id: str | None) -> Cancel:
    if envelope.response_id is None:
        return Cancel(stream_id)
    if stream_id is not None:
        raise InvalidRequest(
            "'response_id' and 'stream_id' exclude each other. Send the one that names what to "
            "cancel.",
            param="response_id",
        )
    return Cancel(response_id=_response_id(envelope))


def _resume(envelope: _Envelope, stream_id: str | None) -> Resume:
    after = envelope.starting_after
    if after is None:
        after = -1
    elif type(after) is not int or not 0 <= after < 2**53:
        raise _wrong("starting_after", "the 'sequence_number' of an event is expected")
    return Resume(stream_id, _response_id(envelope), after)


def _response_id(envelope: _Envelope) -> str:
    found = envelope.response_id
    if found is None:
        raise InvalidRequest(
            "Missing required parameter: 'response_id'.",
            param="response_id",
            code="missing_required_parameter",
        )
    if not isinstance(found, str) or not found:
        raise _wrong("response_id", "the id of a response is expected")
    return found[:256]


def _stream_id(found: Any) -> str | None:
    if found is None:
        return None
    if isinstance(found, str) and STREAM_ID.fullmatch(found):
        return found
    raise InvalidRequest(
        "Invalid 'stream_id': 1 to 256 letters, digits, '_', '.' or '-' are expected.",
        param="stream_id",
        code="invalid_stream_id",
    )


def _unknown_type(found: Any) -> InvalidRequest:
    if found is None:
        return InvalidRequest(
            f"Missing required parameter: 'type'. The types are {', '.join(_TYPES)}.",
            param="type",
            code="missing_required_parameter",
        )
    named = f"'{found[:64]}'" if isinstance(found, str) else "no text"
    return InvalidRequest(
        f"Invalid 'type': {named} is not supported. The types are {', '.join(_TYPES)}.",
        param="type",
        code="invalid_value",
    )


def _wrong(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}.", param=param, code="invalid_type")


def error_event(error: APIError, stream_id: str | None = None) -> bytes:
    """Return the event that reports an error to the client, in OpenAI's form for sockets."""
    fields: dict[str, Any] = {"type": "error", "status": error.status}
    if stream_id is not None:
        fields["stream_id"] = stream_id
    fields["error"] = {
        "type": error.type,
        "code": error.code,
        "message": error.message,
        "param": error.param,
    }
    headers = dict(error.headers)
    if error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if headers:
        fields["error"]["headers"] = headers
    return encode_json(fields)
