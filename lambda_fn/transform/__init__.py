"""Stage 5: events -> events, pure. Buffering: text goes out in pieces that make sense by themselves."""

from lambda_fn.transform.base import Transform, chain
from lambda_fn.transform.buffering import Buffer

__all__ = ["Buffer", "Transform", "chain"]
