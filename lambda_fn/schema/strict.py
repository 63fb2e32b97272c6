"""The checks of the setting `strict`: it refuses parameters that OpenAI refuses and servers
take.
"""

import re

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.chat import ChatRequest
from lambda_fn.schema.tools import FunctionTool, JsonObject

MAX_STOPS = 4
MAX_CHOICES = 8
MAX_NAME = 64
_NAME = re.compile(r"[a-zA-Z0-9_-]+")


def check_strict(request: ChatRequest) -> None:
    """Raise InvalidRequest for the first parameter that is beyond OpenAI's bounds."""
    if isinstance(request.stop, list) and len(request.stop) > MAX_STOPS:
        raise _beyond("stop", f"at most {MAX_STOPS} strings", "array_above_max_length")
    if (request.n or 1) > MAX_CHOICES:
        raise _beyond("n", f"at most {MAX_CHOICES}", "integer_above_max_value")
    if type(request.response_format) is JsonObject and request.response_format.schema is not None:
        raise _beyond("response_format.schema", "the type 'json_schema'", "invalid_value")
    for number, tool in enumerate(request.tools or ()):
        if type(tool) is FunctionTool:
            param = f"tools[{number}].function.name"
            if len(tool.function.name) > MAX_NAME:
                raise _beyond(param, f"at most {MAX_NAME} characters", "string_above_max_length")
            if _NAME.fullmatch(tool.function.name) is None:
                raise _beyond(param, "letters, digits, '_' and '-'", "invalid_value")


def _beyond(param: str, expected: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': expected {expected}.", param=param, code=code)
