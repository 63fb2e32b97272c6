"""The dialect of our own container: a chat with a member `sluice`, answered with JSON lines."""

import msgspec

from lambda_fn.dialects import Decoder
from lambda_fn.dialects.jsonl import LineDecoder
from lambda_fn.errors import APIError, UpstreamFailed, from_container
from lambda_fn.schema import ChatRequest, Control, container_body, plain_body


class _Error(msgspec.Struct):
    code: str = ""
    message: str = ""
    param: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _Error


class Sluice:
    """The dialect of `model/`."""

    switches = True
    prefills = True

    def check(self, request: ChatRequest) -> None:
        """Reject nothing: our container itself rejects what its engine cannot do."""

    def body(self, request: ChatRequest, control: Control) -> bytes:
        """Return the container's body, which has the member `sluice`."""
        return container_body(request, control)

    def count(self, request: ChatRequest, control: Control) -> bytes:
        """Return the container's body with the mark that it is only to be counted."""
        own = {**msgspec.to_builtins(control), "count": True}
        return msgspec.json.encode({**plain_body(request), "max_tokens": 1, "sluice": own})

    def cancel(self, request_id: str) -> bytes:
        """Return the body of the call that cancels a request in the container."""
        return msgspec.json.encode({"sluice": {"v": 1, "cancel": request_id}})

    def decoder(self, choices: int, limit: int | None = None) -> Decoder:
        """Return a new decoder of the container's lines. The container keeps every limit itself."""
        return LineDecoder(choices)

    def rejection(self, status: int, body: str) -> APIError:
        """Return the public error for the container's code."""
        try:
            error = msgspec.json.decode(body, type=_ErrorBody).error
        except msgspec.DecodeError:
            return UpstreamFailed("The model failed to answer.")
        return from_container(error.code, error.message, error.param)


DIALECT = Sluice()
