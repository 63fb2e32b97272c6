"""Stage 5: events -> events, pure.

Buffering sends text in complete words, sentences, lines or JSON values. `reasoning` separates
reasoning from the content by its tags, and hides it. `redaction` replaces what must not be shown.
`moderation` ends choices that rules forbid.
`citations` annotates the markers of sources.
"""

from lambda_fn.transform.base import Transform, chain
from lambda_fn.transform.buffering import Buffer

__all__ = ["Buffer", "Transform", "chain"]
