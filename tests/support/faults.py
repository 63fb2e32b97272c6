"""Faults in the running local cloud."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from local.cloud import LocalCloud


@contextmanager
def fault(cloud: LocalCloud, **fields: Any) -> Iterator[str]:
    """Set a fault while the block runs, and yield its id."""
    fault_id = cloud.ask("faults", method="POST", body=fields)["id"]
    yield fault_id
    cloud.ask(f"faults/{fault_id}", method="DELETE")


def listed(cloud: LocalCloud, fault_id: str) -> dict[str, Any]:
    """Return a fault with its counts."""
    faults = cloud.ask("faults")["faults"]
    return next(dict(one) for one in faults if one["id"] == fault_id)
