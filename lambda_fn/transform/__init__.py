"""Stage 5: events -> events, pure.

Buffering sends text in complete words, sentences, lines or JSON values.
"""

from lambda_fn.transform.base import Transform, chain
from lambda_fn.transform.buffering import Buffer

__all__ = ["Buffer", "Transform", "chain"]
