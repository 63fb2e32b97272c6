"""Translates vLLM's failures into the container's errors.

Some refusals come as a plain ValueError, or wrapped in an engine error.
"""

from __future__ import annotations

from jinja2 import TemplateError
from pydantic import ValidationError
from vllm.exceptions import GracefulHTTPError, VLLMClientError, VLLMValidationError
from vllm.v1.engine.exceptions import EngineGenerateError

from model.errors import (
    ContextLengthError,
    EngineError,
    InvalidRequestError,
    ModelError,
    OverloadedError,
)


def error_of(error: Exception, context_tokens: int, *, began: bool) -> ModelError:
    """Return the container's error.

    `began` says that vLLM has accepted the request, so that the request is not at fault.
    """
    cause = error.__cause__ if isinstance(error, EngineGenerateError) else error
    if isinstance(cause, VLLMValidationError) and cause.parameter in ("input_tokens", "input_text"):
        unit = "tokens" if cause.parameter == "input_tokens" else "characters"
        # vLLM stops counting one token over the limit.
        return ContextLengthError(
            (
                f"The prompt has {cause.value} {unit}, or more: the context length is "
                f"{context_tokens} tokens."
            ),
            "messages",
        )
    if isinstance(cause, VLLMValidationError):
        return InvalidRequestError(str(cause.args[0]), cause.parameter)
    if isinstance(cause, ValidationError):
        first = cause.errors(include_url=False, include_context=False, include_input=False)[0]
        return InvalidRequestError(first["msg"], ".".join(map(str, first["loc"])) or None)
    if isinstance(cause, GracefulHTTPError):
        return OverloadedError(str(cause))
    if isinstance(cause, VLLMClientError) or (
        isinstance(cause, (ValueError, TemplateError)) and not began
    ):
        return InvalidRequestError(str(cause))  # vLLM refuses a template, schema or grammar
    return EngineError(f"vLLM: {type(cause).__name__}")


def template_error(error: Exception) -> str | None:
    """Return the message for a conversation that the chat template does not accept.

    vLLM renders by transformers, and raises ValueError with the text of the error there,
    from that exception. Return None for any other error.
    """
    if not isinstance(error, TemplateError) and (
        type(error) is not ValueError or error.__cause__ is None
    ):
        return None
    raised = str(error).strip() or type(error.__cause__ or error).__name__
    return f"messages: the model's chat template does not accept them: {raised}"


def reason_of(error: Exception) -> str:
    """Return why vLLM cannot start, in one line of at most 300 characters. Its log has the rest."""
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        text = f"{'.'.join(map(str, first['loc']))} {first['msg'].removeprefix('Value error, ')}"
    else:
        text = str(error)
    return (text.strip().partition("\n")[0] or type(error).__name__)[:300]
