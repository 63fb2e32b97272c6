"""The most that a request can come to, known before it begins. The container is told, and keeps it."""

import hashlib

import msgspec

from lambda_fn.metering.ledger import Opening
from lambda_fn.metering.money import Prices
from lambda_fn.schema import ChatRequest
from lambda_fn.settings import Model

_TEMPLATE = 512
_TEMPLATE_WITH_TOOLS = 1024


class Bounds(msgspec.Struct, frozen=True):
    """Tokens: of the prompt, which counts once, and of each choice."""

    prompt: int
    completion: int
    choices: int

    @classmethod
    def of(cls, request: ChatRequest, model: Model, *, size: int) -> "Bounds":
        """Give the bounds of a request whose body has `size` bytes.

        No tokenizer makes more than a token of a byte, so twice the body's bytes and something for what the chat
        template adds, more of it where it explains tools, hold every prompt; the context holds it anyhow.
        """
        asked = request.max_completion_tokens or request.max_tokens or model.default_max_tokens
        return cls(
            prompt=min(model.context_tokens, 2 * size + (_TEMPLATE_WITH_TOOLS if request.tools else _TEMPLATE)),
            completion=min(model.context_tokens, asked),
            choices=request.n or 1,
        )

    def opening(self, request_id: str, *, key_id: str, name: str, model: Model, overdue: float) -> Opening:
        """Give what is reserved, at the model's prices; without prices it costs nothing."""
        prices = Prices(model.prompt_price or 0, model.completion_price or 0)
        completion = self.completion * self.choices
        return Opening(
            request_id=request_id,
            key_id=key_id,
            model=name,
            reserved=self.prompt + completion,
            reserved_cost=prices.cost(self.prompt, completion),
            prices=prices,
            overdue=overdue,
            priced=model.priced,
        )

    def applied(self, request: ChatRequest) -> ChatRequest:
        """Give the request with the bound of its answer said."""
        return msgspec.structs.replace(request, max_tokens=self.completion, max_completion_tokens=None)


def fingerprint(body: bytes, idempotency_key: str = "") -> str:
    """Give what the same request sent again has in common with it: 16 hex digits."""
    return hashlib.sha256(idempotency_key.encode() + b"\n" + body).hexdigest()[:16]
