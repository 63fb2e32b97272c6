"""The stages of a request at which its function is killed. Each is a fault of the local cloud."""

from dataclasses import dataclass
from typing import Any

# A call is held for this many seconds before its function is killed. Concurrent work is done by
# then.
_HELD_S = 0.15


@dataclass(frozen=True)
class Kill:
    """One moment at which a function is killed."""

    name: str
    fault: dict[str, Any]


@dataclass(frozen=True)
class Stage(Kill):
    """One stage of a request at which its function is killed.

    `script` is the script of all requests of the stage.
    """

    script: dict[str, Any]

    @property
    def rate(self) -> float:
        """The number of tokens a second."""
        return float(self.script["rate"])


SHORT: dict[str, Any] = {"repeat": " w{i}", "count": 12, "rate": 100, "first_after": 0.1}
# More than two checkpoints, at the interval of `lambda_fn.limits`.
LONG: dict[str, Any] = {"repeat": " w{i}", "count": 300, "rate": 25, "first_after": 0.1}
# More than the first step of a reservation.
GROWING: dict[str, Any] = {"repeat": " w{i}", "count": 1300, "rate": 320, "first_after": 0.1}
_RESERVE = {"operation": "UpdateItem", "containing": "in_flight.#request = :entry"}
_OPEN = {"operation": "PutItem", "containing": '"OPEN"'}
_CHECKPOINT = {"operation": "UpdateItem", "containing": "checkpointed = :now"}
_EXTEND = {"operation": "UpdateItem", "containing": "in_flight.#request = :extended"}
_SETTLE = {"operation": "UpdateItem", "containing": '"SETTLED"'}
_RELEASE = {"operation": "UpdateItem", "containing": "REMOVE in_flight.#request"}


def _before(name: str, call: dict[str, Any], script: dict[str, Any] = SHORT) -> Stage:
    return Stage(
        f"before {name}", {"kind": "caller-killed-before", "seconds": _HELD_S, **call}, script
    )


def _after(name: str, call: dict[str, Any], script: dict[str, Any] = SHORT) -> Stage:
    return Stage(f"after {name}", {"kind": "caller-killed-after", **call}, script)


STAGES = [
    _before("the reservation", _RESERVE),
    _after("the reservation", _RESERVE),
    _before("the ledger item", _OPEN),
    _after("the ledger item", _OPEN),
    Stage(
        "before the first token",
        {"kind": "function-killed-at-start", "seconds": 0.6},
        {**SHORT, "first_after": 1},
    ),
    Stage(
        "in mid-stream",
        {"kind": "function-killed-in-response", "after": 2000, "after_most": 60_000},
        LONG,
    ),
    _after("a checkpoint", _CHECKPOINT, LONG),
    _before("an extension", _EXTEND, GROWING),
    _after("an extension", _EXTEND, GROWING),
    Stage("when the answer is whole", {"kind": "function-killed-at-settlement"}, SHORT),
    _before("the settlement", _SETTLE),
    _after("the settlement", _SETTLE),
    _before("the release", _RELEASE),
    _after("the release", _RELEASE),
]

_WRITES: dict[str, dict[str, object]] = {
    "the head": {"operation": "PutItem", "containing": '"form":'},
    "the first segment": {"operation": "PutItem", "containing": "S#0000000000"},
    "a later segment": {"operation": "PutItem", "containing": "S#000000002"},
    "a renewal of the lease": {
        "operation": "UpdateItem",
        "containing": "SET lease = :now",
        "probability": 0.3,
    },
    "the end in the head": {"operation": "UpdateItem", "containing": ":new_last"},
    "the terminal segment": {"operation": "PutItem", "containing": '"end":{"BOOL":true}'},
    "a reader's slot": {"operation": "PutItem", "containing": "HEAD#READER#"},
}
LOGGED = [
    Kill(
        f"{when} {name}",
        {"kind": f"caller-killed-{when}", "table": "StreamTableName", "seconds": _HELD_S, **call},
    )
    for name, call in _WRITES.items()
    for when in ("before", "after")
]
"""The writes of a logged stream and of its readers."""
