"""What differs between the servers that a model may run on: the body they take, the stream and the errors they give.

`openai` is what vLLM and SGLang speak, `lmi` and `lmi-inputs` AWS's Large Model Inference containers (DJL Serving),
`tgi` Hugging Face's Text Generation Inference, `sluice` our own container. Only the dialects of the models that a
function serves are imported.
"""

from importlib import import_module
from typing import Protocol

from lambda_fn.dialects.jsonl import Decoder
from lambda_fn.errors import APIError
from lambda_fn.schema import ChatRequest, Control


class Dialect(Protocol):
    """One server's way to speak."""

    def check(self, request: ChatRequest) -> None:
        """Refuse what the server cannot do, before anything is reserved.

        Raises:
            InvalidRequest: the field is named.

        """
        ...

    def body(self, request: ChatRequest, control: Control) -> bytes:
        """Give the body for the server's `POST /invocations`: streamed, with usage."""
        ...

    def cancel(self, request_id: str) -> bytes | None:
        """Give the body of the call that takes a request back; None when the server knows none."""
        ...

    def decoder(self, choices: int) -> Decoder:
        """Give a decoder of one answer of so many choices."""
        ...

    def refusal(self, status: int, body: str) -> APIError:
        """Give the public error for an answer whose status was not 200."""
        ...


DIALECTS = {
    "sluice": "lambda_fn.dialects.sluice:DIALECT",
    "openai": "lambda_fn.dialects.foreign:OPENAI",
    "lmi": "lambda_fn.dialects.foreign:LMI",
    "lmi-inputs": "lambda_fn.dialects.foreign:LMI_INPUTS",
    "tgi": "lambda_fn.dialects.foreign:TGI",
}


def find(name: str) -> Dialect:
    """Give the dialect of a name of `DIALECTS`."""
    module, _, member = DIALECTS[name].partition(":")
    found: Dialect = getattr(import_module(module), member)
    return found
