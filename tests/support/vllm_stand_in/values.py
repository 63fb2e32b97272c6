"""vLLM's values and errors."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from pydantic import BaseModel

from tests.support.vllm_stand_in.pinned import Record, as_pinned, class_of


class RequestOutputKind(enum.Enum):
    """The kind of output that a request asks for."""

    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


# It is a dataclass in vLLM, too: the engine reads its fields.
AsyncEngineArgs: Any = dataclasses.make_dataclass(
    "AsyncEngineArgs",
    [
        (name, Any, dataclasses.field(default=None))
        for owner in ("EngineArgs", "AsyncEngineArgs")
        for name in class_of(owner)["fields"]
    ],
)


class SamplingParams(Record):
    """Sampling parameters.

    Their defaults are vLLM's, which are easy to get wrong: a whole output each time, and 16 tokens.
    """

    pinned = ("SamplingParams",)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            **{"output_kind": RequestOutputKind.CUMULATIVE, "max_tokens": 16, "n": 1, **kwargs}
        )


class CompletionOutput(Record):
    """The output of one choice."""

    pinned = ("CompletionOutput",)


class Logprob(Record):
    """One candidate token."""

    pinned = ("Logprob",)


class LoRARequest(Record):
    """A LoRA adapter."""

    pinned = ("LoRARequest",)
    lora_name: str
    lora_path: str


class RequestOutput:
    """The output of a request."""

    @as_pinned("RequestOutput")
    def __init__(
        self,
        request_id: str,
        prompt: str | None,
        prompt_token_ids: list[int] | None,
        prompt_logprobs: Any,
        outputs: list[Any],
        finished: bool,
    ) -> None:
        self.request_id = request_id
        self.prompt = prompt
        self.prompt_token_ids = prompt_token_ids
        self.prompt_logprobs = prompt_logprobs
        self.outputs = outputs
        self.finished = finished


class DeltaFunctionCall(BaseModel):
    """A part of a function call."""

    name: str | None = None
    arguments: str | None = None


class DeltaToolCall(BaseModel):
    """A part of a tool call, with its index."""

    id: str | None = None
    type: str | None = None
    index: int
    function: DeltaFunctionCall | None = None


class DeltaMessage(BaseModel):
    """The parsed meaning of a part of the text."""

    role: str | None = None
    content: str | None = None
    reasoning: str | None = None
    tool_calls: list[DeltaToolCall] = []


class ErrorInfo(BaseModel):
    """The reason of a rejection."""

    message: str
    type: str = "BadRequestError"
    param: str | None = None
    code: int = 400


class ErrorResponse(BaseModel):
    """A rejection that is returned and not raised."""

    error: ErrorInfo


class VLLMError(Exception):
    """The base of vLLM's errors."""


class VLLMClientError(VLLMError):
    """An error that is the request's fault."""


class VLLMServerError(VLLMError):
    """An error that is not the request's fault."""


class VLLMValidationError(VLLMClientError):
    """A request that cannot be served."""

    @as_pinned("VLLMValidationError")
    def __init__(self, message: str, *, parameter: str | None = None, value: Any = None) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.value = value


class GracefulHTTPError(VLLMError):
    """An error with an HTTP status."""

    @as_pinned("GracefulHTTPError")
    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.message = message
        self.http_status = http_status


class GenerationError(VLLMServerError):
    """A sequence failed."""


class EngineGenerateError(VLLMServerError):
    """A wrapper of errors that are not vLLM's own."""


class EngineDeadError(VLLMServerError):
    """The engine's processes have ended."""
