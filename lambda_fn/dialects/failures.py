"""Maps the errors of other servers, in any of their forms, to our container's codes. Pure.

Known forms:

    {"error": {"message", "type", "code"}}                  vLLM, SGLang, llama.cpp
    {"object": "error", "message", "code"}                  older vLLM, SGLang
    {"error": "text", "error_type": "overloaded"}           TGI
    {"error": "text", "code": 424}                          LMI
    {"code": 503, "type": "...Exception", "message"}        LMI's front end
    {"detail": "text"}, {"detail": [{"loc", "msg"}]}        FastAPI
    {"error_type", "error_message"}, [{"error": {...}}]     gateways
    text, and JSON that was cut                             proxies, TGI's router

Any member may have another type; the others are read all the same. The sentence that is kept never
contains what FastAPI repeats of the request.
"""

import re
from typing import Any, NamedTuple

import msgspec

from lambda_fn.dialects.templates import template_failure
from lambda_fn.events import Failure

_MAX_MESSAGE = 1_000
_INVALID, _TOO_LONG_CODE, _OVERLOADED = (
    "invalid_request",
    "context_length_exceeded",
    "overloaded",
)
_BY_STATUS = {
    400: _INVALID,
    408: "deadline_exceeded",
    413: _TOO_LONG_CODE,
    422: _INVALID,
    429: _OVERLOADED,
    501: _INVALID,
    503: "not_ready",
    504: "deadline_exceeded",
    529: _OVERLOADED,
}
_BY_TYPE = {
    "validation": _INVALID,
    "overloaded": _OVERLOADED,
    "overloaded_error": _OVERLOADED,
    "server_overloaded": _OVERLOADED,
    "rate_limit_error": _OVERLOADED,
    "rate_limit_exceeded": _OVERLOADED,
    "badrequesterror": _INVALID,
    "badrequestexception": _INVALID,
    "bad_request": _INVALID,
    "invalid_request_error": _INVALID,
    "unprocessableentityerror": _INVALID,
    "validationerror": _INVALID,
    "vllmvalidationerror": _INVALID,
    "valueerror": _INVALID,
    "not_supported_error": _INVALID,
    "template_error": _INVALID,
    "tool_error": _INVALID,
    "unhealthy": "not_ready",
    "unavailable_error": "not_ready",
    "exceed_context_size_error": _TOO_LONG_CODE,
    "context_length_exceeded": _TOO_LONG_CODE,
    "context_window_exceeded": _TOO_LONG_CODE,
    "model_context_window_exceeded": _TOO_LONG_CODE,
}
_STATES_CAUSE = {"template_error", "tool_error", "not_supported_error"}
"""Types of errors that servers send with 500, and that are the request's fault."""

# Whatever the status, these words are about a request that does not fit the context.
_TOO_LONG = re.compile(
    r"exceed\w* (the )?(model.?s )?(available |maximum )?(context|model token limit|max_model_len)"
    r"|context (size|length|window) (has been |is |was )?exceeded"
    r"|context (size|length|window) exceeds|exceeds? context|out of context"
    r"|longer than the (model|maximum|context)|greater than the context"
    r"|(maximum|max) (model|context|input|prompt|sequence|total)[ _](length|len|tokens)"
    r"|maximum allowed length|(prompt|input|tokens?|sequence)\b[^.]{0,60} maximum length"
    r"|context limit|context (is )?full|context shift is disabled|available cache size"
    r"|max_(total_)?num_tokens|(input|prompt) tokens? \(?\d+\)? exceeds?|maximum number of (input )?tokens"
    r"|model.?s context (length|window|size)|max_model_len|max_seq_len|max_input_len"
    r"|reached (the )?context (length|limit)|context (length )?overflow|input length of input_ids"
    r"|range of input length should|total message size \d+ exceeds"
    r"|max_new_tokens. must be <=|.inputs. must have less than"
    r"|(input|prompt)( prompt)?( \([^)]{0,60}\))?( \+[^.]{0,40})? (is |was |are |tokens )*too (long|large)"
    r"|(prompt|input)( token)? (count|length)[^.]{0,40} exceeds"
    r"|reduce the length of the (messages|prompt|input)|too many (input |prompt )?tokens",
    re.IGNORECASE,
)
# Only of a request that was refused: other errors mention the context too.
_ABOUT_CONTEXT = re.compile(r"context (length|window|size)", re.IGNORECASE)
_FULL = re.compile(
    r"queue (is|was) full|queue (capacity|limit|size)|overloaded|too many (concurrent )?requests"
    r"|at capacity|capacity exceeded|server (is )?busy|workers (are )?busy|rate limit"
    r"|no (available )?slots?( is| are)? available|maximum pending requests|queue depth"
    r"|reset reason: overflow|backpressure"
    r"|aborted by a higher priority request|max(imum)? (concurren|number of concurren|queue)",
    re.IGNORECASE,
)
# A schema or pattern of the request that the server cannot compile, whatever the status.
_UNUSABLE = re.compile(
    r"(failed|unable|could not|cannot) (to )?(compile|parse|convert)[^.]{0,40}"
    r"\b(grammar|json schema|regex|ebnf)\b",
    re.IGNORECASE,
)
# The start of a sentence in JSON that was cut. Linear in the length of the text.
_IN_CUT_JSON = re.compile(
    r'"(?:message|error_message|detail|msg|error)"\s*:\s*"((?:[^"\\]|\\.)*)', re.DOTALL
)
_CODE_IN_CUT_JSON = re.compile(r'"(?:code|status_code)"\s*:\s*"?(\d{3})\b')
_PARAM = re.compile(r"[A-Za-z_][\w.\[\]]{0,99}", re.ASCII)
# vLLM writes pydantic's entries as Python does, with what the request has there.
_ENTRY = re.compile(
    r"""'loc': '(?:body\.)?([\w.\[\]-]{0,200})', 'msg': ('[^'\n]{0,500}'|"[^"\n]{0,500}")"""
)
_NO_MODEL = re.compile(r"\bmodel\b.{0,300}(does not exist|not found|is not served)", re.IGNORECASE)
_MARKUP = re.compile(r"\s*<")
_SENTENCES = (
    "message", "error_message", "error", "detail", "msg", "details", "errors", "reason",
    "description", "title",
)  # fmt: skip
_NUMBERS = ("code", "status_code", "http_status_code", "statusCode", "status")
_DEPTH = 6
_ENTRIES = 5
_MAX_ENTRIES_TEXT = 20_000


class _Found(NamedTuple):
    """The content of an error: its sentence, its types in lower case, its HTTP status, and the
    parameter that is wrong.
    """

    message: str = ""
    types: tuple[str, ...] = ()
    status: int | None = None
    param: str | None = None


def failure_of(body: bytes | str | msgspec.Raw, status: int | None = None) -> Failure:
    """Return the failure that a server's error describes.

    An error of an unknown form becomes an `engine_error`. Never raises.

    Args:
        body: The error as JSON, cut or whole, or any other text.
        status: The HTTP status, if there is one. It is used if the error contains none.

    """
    found = _read(body)
    stated = found.status if found.status is not None else status
    code = _BY_STATUS.get(stated or 0)
    for kind in found.types:
        named = _BY_TYPE.get(kind)
        if (
            named
            and (code is None or named == _TOO_LONG_CODE)
            and (stated is None or stated < 500 or kind in _STATES_CAUSE or named != _INVALID)
        ):
            code = named
            break
    message = found.message
    if code is None and _UNUSABLE.search(message):
        code = _INVALID
    if code in (None, _INVALID, "not_ready") and _FULL.search(message):
        code = _OVERLOADED
    elif code != _OVERLOADED and (
        _TOO_LONG.search(message) or (code == _INVALID and _ABOUT_CONTEXT.search(message))
    ):
        code = _TOO_LONG_CODE
    if code is None and stated == 404 and (found.param == "model" or _NO_MODEL.search(message)):
        code = "model_not_found"  # which is not a failure of the engine
    code = code or "engine_error"
    param = found.param if code == _INVALID else None
    failure = template_failure(Failure(code=code, message=message, param=param))
    return msgspec.structs.replace(
        failure, message=failure.message[:_MAX_MESSAGE] or _silent(failure.code)
    )


def _silent(code: str) -> str:
    if code in (_INVALID, _TOO_LONG_CODE):
        return "The model's server refused the request, and did not say why."
    if code == _OVERLOADED:
        return "The model is busy. Try again."
    return "The model failed to answer."


def _read(body: bytes | str | msgspec.Raw) -> _Found:
    try:
        found = _walk(msgspec.json.decode(body), 0)
    except (ValueError, RecursionError):
        return _read_text(
            bytes(body).decode(errors="replace") if not isinstance(body, str) else body
        )
    return found


def _read_text(text: str) -> _Found:
    """Return the sentence in JSON that was cut, or a plain text itself. A page of HTML has none."""
    text = text.strip()
    if text.startswith("data:"):
        return _read(text.removeprefix("data:").strip())
    if text.startswith(("{", "[")):
        sentence = _IN_CUT_JSON.search(text)
        number = _CODE_IN_CUT_JSON.search(text)
        message = _unescaped(sentence[1]) if sentence else text  # such as Python's dictionaries
        return _Found(message, (), _status(number[1] if number else None))
    if _MARKUP.match(text) or (not text.isprintable() and "\n" not in text):
        return _Found()
    return _Found(" ".join(text.split()))


def _unescaped(text: str) -> str:
    for end in range(len(text), max(0, len(text) - 6), -1):  # an escape may be cut too
        try:
            return msgspec.json.decode(f'"{text[:end]}"', type=str)
        except msgspec.DecodeError:
            continue
    return ""


def _walk(value: Any, depth: int) -> _Found:
    """Read an error, which may be in another one."""
    if isinstance(value, str):
        inner = value.strip()
        if inner.startswith("{") and depth < _DEPTH:  # an error as text in an error
            try:
                found = _walk(msgspec.json.decode(inner), depth + 1)
            except (ValueError, RecursionError):
                return _Found(value)
            return found if found.message else _Found(value)
        return _Found(value)
    if depth >= _DEPTH:
        return _Found()
    if isinstance(value, list):
        return _walk_list(value, depth)
    if not isinstance(value, dict):
        return _Found()
    found = _Found()
    for name in _SENTENCES:
        if not found.message and value.get(name):
            found = _walk(value[name], depth + 1)
            if name == "errors" and not found.message and isinstance(value[name], dict):
                found = _walk_fields(value[name], depth + 1)
    message, types, status, param = found
    if isinstance(named := value.get("param"), str) and _PARAM.fullmatch(named):
        param = param or named.removeprefix("body.")
    if entries := _ENTRY.findall(message[:_MAX_ENTRIES_TEXT]):
        message = "; ".join(f"{place}: {told[1:-1]}" for place, told in entries[:_ENTRIES])
    for name in ("type", "error_type", "code"):
        if isinstance(kind := value.get(name), str):
            types = (*types, kind.lower())
    for name in _NUMBERS:
        if status is None:
            status = _status(value.get(name))
    return _Found(message, types, status, param)


def _walk_fields(fields: dict[str, Any], depth: int) -> _Found:
    """Read errors that stand under the names of the fields that they are about."""
    found = [(name, _walk(value, depth)) for name, value in list(fields.items())[:_ENTRIES]]
    return _Found("; ".join(f"{name[:100]}: {it.message}" for name, it in found if it.message))


def _walk_list(entries: list[Any], depth: int) -> _Found:
    """Read FastAPI's list of what is wrong, or any other list of errors."""
    found = [_entry(entry, depth) for entry in entries[:_ENTRIES]]
    return _Found(
        "; ".join(it.message for it in found if it.message),
        tuple(kind for it in found for kind in it.types),
        next((it.status for it in found if it.status is not None), None),
    )


def _entry(entry: Any, depth: int) -> _Found:
    found = _walk(entry, depth + 1)
    place = entry.get("loc") if isinstance(entry, dict) else None
    if isinstance(place, list) and found.message:
        path = ".".join(str(step) for step in place if step != "body")
        return _Found(f"{path}: {found.message}" if path else found.message, (), found.status)
    return found


def _status(value: Any) -> int | None:
    """Return an HTTP status of an error, or None if the value is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
        value = int(value)
    return value if type(value) is int and 400 <= value < 600 else None
