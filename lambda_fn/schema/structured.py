"""Reads the parameters that have several names.

The form of an answer is `response_format` for OpenAI. vLLM, SGLang and llama.cpp have more names
for it, and two more kinds: a list of choices, and a regular expression. JSON becomes
`response_format`, and the two others become `structured_outputs` with `choice` or `regex`. All go
through `schema_guard` before any engine gets them.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.extras import ALIASES, FORMS, Extras, StructuredOutputs
from lambda_fn.schema.tools import JsonObject, JsonSchema, Schema, TextFormat

Request = TypeVar("Request", bound=Extras)
_NAME = "answer"  # of a schema that came without a name
_REFUSED = {
    "grammar": "free grammars have no bound on the time that an engine takes",
    "structural_tag": "structural tags have no bound on the time that an engine takes",
    "whitespace_pattern": "the server chooses the white space of JSON",
    "disable_any_whitespace": "the server chooses the white space of JSON",
    "disable_additional_properties": "write 'additionalProperties: false' into the schema",
}
_LOOKS_AROUND = ("(?=", "(?!", "(?<")


def without_aliases(request: Request) -> Request:
    """Return the request with each parameter also under its first name.

    Raises:
        InvalidRequest: two names of one parameter have different values.

    """
    changes: dict[str, Any] = {}
    for alias, name in ALIASES.items():
        value = getattr(request, alias)
        if value is None:
            continue
        if getattr(request, name) not in (None, value):
            raise InvalidRequest(
                f"'{alias}' and '{name}' are two names of one parameter: send only one of them.",
                param=alias,
            )
        changes[name] = value
    return msgspec.structs.replace(request, **changes) if changes else request


def with_one_form(request: Request) -> Request:
    """Return the request with the form of its answer in one place, checked.

    Raises:
        InvalidRequest: the request names several forms, or a form cannot guide an answer.

    """
    own = request.response_format  # type: ignore[attr-defined]
    if (
        own is None
        and request.structured_outputs is None
        and all(getattr(request, name) is None for name in FORMS)
    ):
        return request
    forms = list(_forms(request))
    if type(own) is JsonObject and own.schema is not None:
        forms.append(("response_format.schema", "json", own.schema))
    elif own is not None and type(own) is not TextFormat:
        forms.append(("response_format", "", own))
    if len(forms) > 1:
        raise InvalidRequest(
            f"'{forms[0][0]}' and '{forms[1][0]}' both say which form the answer has: send only "
            "one of them.",
            param=forms[0][0],
        )
    changes: dict[str, Any] = {"structured_outputs": None}
    for param, kind, value in forms:
        if kind in ("choice", "regex"):
            changes["structured_outputs"] = _guide(request, param, kind, value)
        elif kind:
            changes["response_format"] = _format(param, kind, value)
    return msgspec.structs.replace(request, **changes)


def sent_name(request: Extras, name: str) -> str:
    """Return the name under which a request sent the parameter that is `name` here."""
    others = [alias for alias, first in ALIASES.items() if first == name]
    if name in ("response_format", "structured_outputs"):
        others.extend(FORMS)
    return next((other for other in others if getattr(request, other) is not None), name)


def _forms(request: Extras) -> Iterator[tuple[str, str, Any]]:
    """Yield the parameter, the kind and the value of each form that is not OpenAI's."""
    for name, kind in (
        ("guided_json", "json"),
        ("json_schema", "json"),
        ("guided_regex", "regex"),
        ("regex", "regex"),
        ("guided_choice", "choice"),
    ):
        value = getattr(request, name)
        if value is not None and value != "":  # SGLang's clients send "" for none
            yield name, kind, value
    if (outputs := request.structured_outputs) is None:
        return
    for name, why in _REFUSED.items():
        if getattr(outputs, name) not in (None, False):
            raise InvalidRequest(
                f"Unsupported parameter: 'structured_outputs.{name}': {why}.",
                param=f"structured_outputs.{name}",
                code="unsupported_parameter",
            )
    for kind in ("json", "json_object", "regex", "choice"):
        value = getattr(outputs, kind)
        if value is not None and value is not False:
            yield f"structured_outputs.{kind}", kind, value


def _format(param: str, kind: str, value: Any) -> JsonObject | JsonSchema:
    if kind == "json_object":
        return JsonObject()
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise _invalid(param, "it must be a JSON schema, as an object or as its text")
    _check(param, value)
    return JsonSchema(Schema(name=_NAME, schema=value))


def _guide(request: Extras, param: str, kind: str, value: Any) -> StructuredOutputs:
    if request.tools and request.tool_choice != "none":  # type: ignore[attr-defined]
        raise InvalidRequest(
            f"'{param}' cannot be used with tools that may be called: a call would not match it.",
            param=param,
        )
    if kind == "choice":
        _check(param, {"enum": value}, whole=True)
        return StructuredOutputs(choice=value)
    pattern = _bare(value)
    if not pattern:
        raise _invalid(param, "it matches the empty answer only")
    if any(sign in pattern for sign in _LOOKS_AROUND):
        raise _invalid(param, "look-around is not supported")
    _check(param, {"type": "string", "pattern": f"^(?:{pattern})$"}, whole=True)
    return StructuredOutputs(regex=pattern)


def _bare(regex: str) -> str:
    """Return a regular expression, which matches whole answers, without its anchors."""
    if regex.endswith("$") and (len(regex) - len(regex[:-1].rstrip("\\"))) % 2 == 1:
        regex = regex[:-1]
    return regex.removeprefix("^")


def _check(param: str, schema: dict[str, Any], *, whole: bool = False) -> None:
    """Check a schema. With `whole`, the error names `param` and no member of it."""
    # Imported here and not at a cold start, because most requests have no form.
    from schema_guard import SchemaRefused, check_plain

    try:
        check_plain([(tuple(param.split(".")), schema)], by="llguidance")
    except SchemaRefused as refusal:
        raise _invalid(param if whole else refusal.path, refusal.reason) from None


def _invalid(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}.", param=param, code="invalid_value")
