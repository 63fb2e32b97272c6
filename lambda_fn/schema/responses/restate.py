"""Names the members of a Responses request in errors about the chat request that answers it."""

import re

from lambda_fn.errors import APIError, responses_text

_INPUT = re.compile(r"messages(\[.*)?")


def restate(error: APIError) -> None:
    """Rewrite the names in an error's message and `param` in place."""
    error.message = responses_text(error.message)
    if error.param is not None:
        param = _INPUT.sub("input", error.param) if error.param.startswith("messages") else None
        error.param = param or responses_text(error.param)
