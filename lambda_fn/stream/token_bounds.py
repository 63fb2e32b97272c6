"""Upper bounds of a request's tokens, known before it begins.

A request that names a limit reserves all of it. Any other may fill the context, or what the model's
`default_max_tokens` allows, and reserves a first step, which grows (`stream.reservation`).

Our container enforces the bounds. Other servers refuse a limit that does not fit the context beside
the prompt, whose tokens only they can count. So they get a limit only if there is one, and if it
fits in all likelihood. Otherwise the context ends the response, or the decoder at the limit.
"""

import hashlib

import msgspec

from lambda_fn import limits
from lambda_fn.ids import request_time
from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.schema import ChatRequest
from lambda_fn.settings import Model

_TEMPLATE = 512
_TEMPLATE_WITH_TOOLS = 1024
_BYTES_A_TOKEN = 2
"""Bytes of a body for each token of its prompt, at the least that is likely: English has 4 or more,
code and Chinese 3, and tables of numbers 2.
"""


class Bounds(msgspec.Struct, frozen=True):
    """Upper bounds in tokens: of the prompt, which counts once, and of each choice.

    `first` is what the admission reserves for each choice. `sent` is the limit of each choice that
    the server gets, or None if it gets none. `images` are those of the prompt's tokens that images
    may have.
    """

    prompt: int
    completion: int
    first: int
    choices: int
    sent: int | None
    images: int = 0

    @classmethod
    def of(cls, request: ChatRequest, model: Model, *, size: int, images: int = 0) -> "Bounds":
        """Return the bounds of a request whose body has `size` bytes without its images.

        `images` is the upper bound of their tokens.

        No tokenizer makes more than one token of a byte. Twice the size of the body leaves room for
        text that the chat template repeats. A constant leaves room for text that it adds, which is
        more if it explains tools. No prompt has more tokens than the context.
        """
        requested = request.max_completion_tokens or request.max_tokens
        limit = requested or model.default_max_tokens
        completion = min(model.context_tokens, limit or model.context_tokens)
        template = _TEMPLATE_WITH_TOOLS if request.tools else _TEMPLATE
        return cls(
            prompt=min(model.context_tokens, 2 * size + template + images),
            completion=completion,
            first=completion if requested else min(completion, limits.FIRST_STEP),
            choices=request.n or 1,
            sent=_sent(limit, size // _BYTES_A_TOKEN + template + images, model),
            images=images,
        )

    @property
    def grows(self) -> bool:
        """Whether the admission reserves less than the response may have."""
        return self.first < self.completion

    @property
    def kept_here(self) -> int | None:
        """The limit of each choice that the decoder has to keep, or None if the server does."""
        return self.completion if self.sent is None else None

    def opening(
        self, request_id: str, *, key_id: str, name: str, model: Model, overdue: float
    ) -> Opening:
        """Return the opening. It reserves the prompt and the first step at the model's prices, or
        at 0.
        """
        prices = Prices(*model.prices_at(request_time(request_id)))
        completion = self.first * self.choices
        return Opening(
            request_id=request_id,
            key_id=key_id,
            model=name,
            reserved=self.prompt + completion,
            reserved_cost=prices.bound(self.prompt, completion),
            prices=prices,
            overdue=overdue,
            priced=model.priced,
        )

    def applied(self, request: ChatRequest) -> ChatRequest:
        """Return the request with the limit that the server gets as `max_tokens`."""
        return msgspec.structs.replace(request, max_tokens=self.sent, max_completion_tokens=None)


def _sent(limit: int | None, prompt: int, model: Model) -> int | None:
    """Return the limit that a server gets, for a prompt of some `prompt` tokens or fewer.

    A limit over what a short prompt leaves is reduced to that. What a long prompt leaves is not
    known well enough. Without a limit, the server's context is the limit, but LMI's would be 30
    tokens in many of its versions.
    """
    room = model.context_tokens - prompt
    if limit is None and model.dialect not in ("lmi", "lmi-inputs"):
        return None
    limit = min(model.context_tokens, limit or model.context_tokens)
    if model.dialect == "sluice" or limit <= room:
        return limit
    if room >= model.context_tokens // 2:
        return room
    if model.dialect == "lmi-inputs":
        return min(limit, max(room, model.context_tokens // 4))
    return None


def fingerprint(body: bytes, idempotency_key: str = "") -> str:
    """Return a fingerprint that is equal for a retry of the same request: 16 hex digits."""
    return hashlib.sha256(idempotency_key.encode() + b"\n" + body).hexdigest()[:16]
