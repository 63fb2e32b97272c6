"""The bodies of `POST /tokenize` and `POST /detokenize`, as vLLM and llama.cpp have them."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from lambda_fn.errors import InvalidRequest
from lambda_fn.schema.chat import unsupported
from lambda_fn.schema.parse import parse

MAX_TOKENS = 100_000
_Token = Annotated[int, Meta(ge=0, le=2**31 - 1)]
_Model = Annotated[str, Meta(min_length=1, max_length=256)]


class TokenizeRequest(Struct, frozen=True, omit_defaults=True):
    """A text. `content` and `add_special` are llama.cpp's names."""

    model: _Model | None = None
    prompt: str | None = None
    content: str | None = None
    add_special_tokens: bool | None = None
    add_special: bool | None = None
    messages: Any = None
    return_token_strs: bool | None = None
    with_pieces: bool | None = None


class DetokenizeRequest(Struct, frozen=True, omit_defaults=True):
    """Tokens."""

    tokens: Annotated[list[_Token], Meta(max_length=MAX_TOKENS)]
    model: _Model | None = None


_tokenize = msgspec.json.Decoder(TokenizeRequest)
_detokenize = msgspec.json.Decoder(DetokenizeRequest)


def parse_tokenize(body: bytes) -> tuple[str | None, dict[str, Any]]:
    """Return the model's name, and the request to the container.

    Raises:
        InvalidRequest: as for `parse_chat`.

    """
    request = parse(_tokenize, body)
    if request.messages is not None:
        raise unsupported("messages", "a text is tokenized here: send 'prompt'")
    for name in ("return_token_strs", "with_pieces"):
        if getattr(request, name):
            raise unsupported(name, "the tokens are numbers")
    text = request.content if request.prompt is None else request.prompt
    if text is None:
        raise InvalidRequest(
            "Missing 'prompt': the text to tokenize.",
            param="prompt",
            code="missing_required_parameter",
        )
    special = request.add_special if request.add_special_tokens is None else None
    if special is None:
        special = request.add_special_tokens is not False
    return request.model, {"tokenize": text, "special": special}


def parse_detokenize(body: bytes) -> tuple[str | None, dict[str, Any]]:
    """Return the model's name, and the request to the container. Raises as `parse_tokenize`."""
    request = parse(_detokenize, body)
    return request.model, {"detokenize": request.tokens}
