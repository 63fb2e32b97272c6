"""Mapping templates of integrations, as far as the local cloud knows them. Pure.

It knows `$context.NAME`, `$input.body` and `$util.base64Encode(...)` of one of these. Source:
"WebSocket API mapping template reference for API Gateway" of the developer guide.
"""

import base64
import re
from collections.abc import Mapping

_CONTEXT = r"\$context\.[A-Za-z.]+"
_VALUE = rf"(?:\$input\.body|{_CONTEXT})"
_ENCODED = rf"\$util\.base64Encode\(({_VALUE})\)"
_REFERENCE = re.compile(rf"{_ENCODED}|({_VALUE})")


class UnknownTemplate(ValueError):
    """The template has something that the local cloud does not know."""


def check(template: str) -> None:
    """Raise UnknownTemplate if a template cannot be rendered here."""
    rest = _REFERENCE.sub("", template)
    if "$" in rest or "#" in rest:
        raise UnknownTemplate(
            "the local cloud knows $context.NAME, $input.body and $util.base64Encode of them, "
            f"and no other VTL: {rest.strip()[:80]}"
        )


def render(template: str, context: Mapping[str, object], body: str) -> str:
    """Return a template with its references replaced. A name that is missing is empty text."""

    def text(reference: str) -> str:
        if reference == "$input.body":
            return body
        found: object = context
        for part in reference.removeprefix("$context.").split("."):
            found = found.get(part, "") if isinstance(found, Mapping) else ""
        return str(found)

    def replaced(match: re.Match[str]) -> str:
        if match[1]:
            return base64.b64encode(text(match[1]).encode()).decode()
        return text(match[2])

    return _REFERENCE.sub(replaced, template)
