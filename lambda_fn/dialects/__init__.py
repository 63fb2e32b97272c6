"""Dialects: how the servers that a model may run on differ in their requests, streams and errors.

`vllm` and `sglang` are the servers of these names. `openai` is a server that is like both, and gets
only what both take. AWS's Large Model Inference containers (DJL Serving) speak `lmi` and
`lmi-inputs`, Hugging Face's Text Generation Inference `tgi`, and our own container `sluice`. A
function imports only the dialects of the models that it serves.
"""

from importlib import import_module
from typing import Protocol

from lambda_fn.errors import APIError
from lambda_fn.events import Ended, Event
from lambda_fn.schema import ChatRequest, Control


class Decoder(Protocol):
    """Turns the bytes of one response into events. No method raises.

    The last event is an `End` or a `Failure`. Nothing is read after it.
    """

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that `data` completes."""
        ...

    def close(self) -> list[Event]:
        """Return the events that end the response. Call it once its bytes have ended."""
        ...

    def cut(self, ended: Ended) -> list[Event]:
        """Return the events that end the response before its bytes have ended.

        Each choice that is not finished ends with `length` and `ended`. A `Usage` follows if the
        decoder counts tokens, and no `End`. Nothing is fed after it.
        """
        ...


class Dialect(Protocol):
    """The requests, streams and errors of one kind of server."""

    switches: bool
    """Whether the server takes any parameter about reasoning."""
    prefills: bool
    """Whether the server continues a last message of the assistant."""

    def check(self, request: ChatRequest) -> None:
        """Reject a request that the server cannot serve, before anything is reserved.

        Raises:
            InvalidRequest: the error names the field.

        """
        ...

    def body(self, request: ChatRequest, control: Control) -> bytes:
        """Return the body of `POST /invocations` that requests a streamed response with usage."""
        ...

    def count(self, request: ChatRequest, control: Control) -> bytes:
        """Return the body of a request whose response tells the tokens of the prompt, and whose
        answer is not read. It has at most one token, if the server cannot count without one.
        """
        ...

    def cancel(self, request_id: str) -> bytes | None:
        """Return the body of the call that cancels a request, or None if there is none."""
        ...

    def decoder(self, choices: int, limit: int | None = None) -> Decoder:
        """Return a new decoder, for one response of `choices` choices.

        `limit` is the maximum number of tokens of each, if the body does not say it.
        """
        ...

    def rejection(self, status: int, body: str) -> APIError:
        """Return the public error for a response whose status is not 200."""
        ...


DIALECTS = {
    "sluice": "lambda_fn.dialects.sluice:DIALECT",
    "openai": "lambda_fn.dialects.foreign:OPENAI",
    "vllm": "lambda_fn.dialects.foreign:VLLM",
    "sglang": "lambda_fn.dialects.foreign:SGLANG",
    "lmi": "lambda_fn.dialects.foreign:LMI",
    "lmi-inputs": "lambda_fn.dialects.foreign:LMI_INPUTS",
    "tgi": "lambda_fn.dialects.foreign:TGI",
}
"""Each dialect and the object that implements it. tests/contract/test_dialects.py names every other
place that lists dialects, and compares it with this one.
"""


def find(name: str) -> Dialect:
    """Import and return the dialect of this name, which is one of `DIALECTS`."""
    module, _, member = DIALECTS[name].partition(":")
    found: Dialect = getattr(import_module(module), member)
    return found
