"""The size limits of a request."""

import json

from lambda_fn.control import sizes
from lambda_fn.control.models_in import Booked, KeyPast, ReconcileKeys
from schema_guard import more_values


def keys(count: int) -> bytes:
    """Return an object with `count` unknown fields."""
    return json.dumps({f"k{number}": 1 for number in range(count)}, separators=(",", ":")).encode()


def test_the_largest_body_that_makes_sense_is_taken() -> None:
    """A hundred keys to reconcile, with the largest figures, are within the limits."""
    maximum = 10**18
    figures = Booked(
        requests=maximum, prompt_tokens=maximum, completion_tokens=maximum, cost=maximum
    )
    past = KeyPast(
        key="a" * 12,
        ledger=figures,
        rollups=figures,
        refused=maximum,
        open=maximum,
        in_flight=maximum,
    )
    body = json.dumps(ReconcileKeys(since="2026-11-21T06", keys=[past] * 100).model_dump()).encode()
    assert len(body) < sizes.BODY
    assert not more_values(body, sizes.VALUES)
