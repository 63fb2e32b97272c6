"""Faults in the running local cloud."""

import time
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


def landed(cloud: LocalCloud, fault_id: str) -> int:
    """Wait until a fault has struck and each strike has landed. Return the number of strikes.

    A client may have its whole response before a fault strikes what follows it.
    """
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        found = listed(cloud, fault_id)
        if 0 < found["struck"] == found["landed"]:
            break
        time.sleep(0.02)
    return int(found["landed"])
