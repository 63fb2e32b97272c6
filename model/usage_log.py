"""What each request came to, one JSON line on standard output, which SageMaker takes as the container's log.

It is the container's own word, against which the meter can be held to the token. Prompts and completions have no place
in it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from model import output

if TYPE_CHECKING:
    from model.errors import ModelError
    from model.metrics import Observation


def log_usage(request_id: str | None, observation: Observation, error: ModelError | None) -> None:
    """Write the line of a request that has ended; `error` is what it failed with."""
    line = {
        "event": "generated",
        "request_id": request_id,
        "prompt_tokens": observation.prompt_tokens,
        "completion_tokens": observation.completion_tokens,
        "error": error.code if error is not None else None,
    }
    output.record(json.dumps(line).replace("\x7f", r"\u007f"))  # which JSON may have as it is, and a line may not
