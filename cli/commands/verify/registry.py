"""The form of a check, its outcome, and the list of all checks.

A check is a row of the table "Not verified on AWS" of ARCHITECTURE.md, which `make docs` writes
from this list. To add one, add it to the `CHECKS` of a module in `checks/`.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from cli.commands.verify.target import Target

Verdict = Literal["proven", "refuted", "unknown", "not deployed", "needs AWS"]


class Wave(enum.IntEnum):
    """The order of the checks. Those of a wave run at the same time, the destructive ones alone."""

    READ = 0
    TRAFFIC = 1
    SCRIPTED = 2
    ARRIVAL = 3
    DESTRUCTIVE = 4
    GPU = 5


WAVES = {
    Wave.READ: "reads what is deployed",
    Wave.TRAFFIC: "sends requests with temporary keys",
    Wave.SCRIPTED: "sends requests that tell the scripted engine how to fail (engine=scripted)",
    Wave.ARRIVAL: "waits for logs and metrics",
    Wave.DESTRUCTIVE: "changes the deployment, and changes it back (--destructive)",
    Wave.GPU: "needs an endpoint with a GPU (--gpu)",
}


@dataclass(frozen=True)
class Outcome:
    """The result of a check, and its evidence."""

    verdict: Verdict
    evidence: str


def proven(evidence: str) -> Outcome:
    """Return the outcome: AWS does what the row says."""
    return Outcome("proven", evidence)


def refuted(evidence: str) -> Outcome:
    """Return the outcome: AWS does something else."""
    return Outcome("refuted", evidence)


def unknown(evidence: str) -> Outcome:
    """Return the outcome: the check could not tell, and why."""
    return Outcome("unknown", evidence)


def absent(evidence: str) -> Outcome:
    """Return the outcome: this deployment lacks the part that the row is about; and how to deploy
    it.
    """
    return Outcome("not deployed", evidence)


def decided(wrong: list[str], evidence: str) -> Outcome:
    """Return `refuted` with what is wrong, or `proven` with what was seen if nothing is."""
    return refuted("; ".join(wrong)) if wrong else proven(evidence)


@dataclass(frozen=True)
class Check:
    """One row.

    `row` and `how` are the table's texts. `seconds` and `usd` are what the check takes at most, on
    AWS. With `local`, the local cloud takes AWS's part in it, and a fault makes it refuted there
    (tests/e2e/test_verify.py). The others need AWS.
    """

    id: str
    row: str
    how: str
    wave: Wave
    run: Callable[["Target"], Outcome]
    seconds: int = 10
    usd: float = 0.0
    local: bool = False


def all_checks() -> tuple[Check, ...]:
    """Return every check, in the order of the table."""
    from cli.commands.verify.checks import (
        access,
        answers,
        build,
        endpoint,
        money,
        observability,
        operations,
        path,
    )

    return (
        *path.CHECKS,
        *access.CHECKS,
        *answers.CHECKS,
        *money.CHECKS,
        *endpoint.CHECKS,
        *operations.CHECKS,
        *observability.CHECKS,
        *build.CHECKS,
    )
