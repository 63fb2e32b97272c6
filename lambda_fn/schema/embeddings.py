"""The body of `POST /v1/embeddings`."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.parse import parse

MAX_INPUTS = 2048
"""OpenAI's maximum of texts in one request."""
_Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Tokens = Annotated[list[_Token], Meta(min_length=1)]
_Text = Annotated[str, Meta(min_length=1)]
_ADDED = 16
"""Tokens that a server may add to each input."""


class EmbeddingsRequest(Struct, frozen=True, omit_defaults=True):
    """The parameters. `user` has no effect."""

    model: Annotated[str, Meta(min_length=1, max_length=256)]
    input: _Text | Annotated[list[_Text | _Token | _Tokens], Meta(min_length=1, max_length=100_000)]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    user: Annotated[str, Meta(max_length=512)] | None = None

    @property
    def inputs(self) -> int:
        """The number of requested embeddings."""
        one = isinstance(self.input, str) or isinstance(self.input[0], int)
        return 1 if one else len(self.input)

    def max_tokens(self, context_tokens: int) -> int:
        """Return an upper bound of the tokens: no tokenizer makes more than one token of a byte."""
        if isinstance(self.input, str):
            sizes = [len(self.input.encode())]
        elif isinstance(self.input[0], int):
            sizes = [len(self.input)]
        else:
            sizes = [
                len(item.encode() if isinstance(item, str) else item)  # type: ignore[arg-type]
                for item in self.input
            ]
        return sum(min(context_tokens, size + _ADDED) for size in sizes)

    def body(self) -> bytes:
        """Return vLLM's body. It names no model, because the server has one, under another name."""
        fields: dict[str, Any] = {"input": self.input}
        for name in ("encoding_format", "dimensions"):
            if (value := getattr(self, name)) is not None:
                fields[name] = value
        return msgspec.json.encode(fields)


_decoder = msgspec.json.Decoder(EmbeddingsRequest)


def parse_embeddings(body: bytes) -> EmbeddingsRequest:
    """Return the checked body. Raises InvalidRequest as `parse_chat`."""
    request = parse(_decoder, body)
    if isinstance(request.input, str):
        return request
    kinds = {type(item) for item in request.input}
    if len(kinds) > 1:
        raise InvalidRequest(
            "Invalid 'input': it is a text, tokens, or a list of texts or of tokens.",
            param="input",
            code="invalid_type",
        )
    if kinds != {int} and len(request.input) > MAX_INPUTS:
        raise InvalidRequest(
            f"Invalid 'input': it has more than {MAX_INPUTS} texts.",
            param="input",
            code="array_above_max_length",
        )
    return request
