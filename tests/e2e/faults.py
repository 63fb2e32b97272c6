"""Sets faults in the running local cloud."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx


@contextmanager
def fault(endpoint_url: str, **fields: Any) -> Iterator[str]:
    """A fault for as long as the block lasts; gives its id."""
    answer = httpx.post(f"{endpoint_url}/_local/faults", json=fields)
    assert answer.status_code == 201, answer.text
    fault_id = answer.json()["id"]
    yield fault_id
    assert httpx.delete(f"{endpoint_url}/_local/faults/{fault_id}").status_code == 200


def listed(endpoint_url: str, fault_id: str) -> dict[str, Any]:
    """A fault with its counts."""
    faults = httpx.get(f"{endpoint_url}/_local/faults").json()["faults"]
    return next(dict(one) for one in faults if one["id"] == fault_id)
