"""`sluice verify` over the local cloud: what it proves there, and what refutes each proof."""

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace

import pytest

from cli.commands.verify import runner
from cli.commands.verify.registry import Check, Outcome, all_checks
from cli.commands.verify.target import OWNER, Target, temporary_keys
from cli.lib import admin_api
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options
from tests.support.verified import WRONG, target_of, variables

pytestmark = pytest.mark.e2e
LOCAL = [check for check in all_checks() if check.local]
QUICK = variables(SLUICE_HEARTBEAT_SECONDS="2")
"""A heartbeat that is shorter than what is deployed, so that its check takes seconds."""


@pytest.fixture(scope="module")
def target(cloud: LocalCloud, scripted: Deployment) -> Iterator[Target]:
    """Yield the deployment of the scripted engine, with a temporary key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admin_api, "aws_options", lambda _stage: options(cloud))
        found = target_of(cloud, scripted)
        with temporary_keys(found):
            yield found
        assert [*found.admin.pages("/keys", owner=OWNER)] == []


def test_a_fault_is_known_for_each_proof() -> None:
    """Each row that the local cloud may prove has a fault or a wrong template that refutes it."""
    assert {check.id for check in LOCAL} == WRONG.keys()


def wrong(results: list[runner.Result]) -> list[tuple[str, Outcome]]:
    """Return the results that are not what the local cloud can tell."""
    return [
        (result.check.id, result.outcome)
        for result in results
        if result.outcome.verdict != ("proven" if result.check.local else "needs AWS")
    ]


def test_the_local_cloud_proves(target: Target) -> None:
    """Every row in which the local cloud takes AWS's part is proven. The others need AWS."""
    checks = [check for check in all_checks() if check.id != "heartbeat"]
    assert wrong(runner.run(target, checks)) == []


def test_heartbeats_pass(cloud: LocalCloud, target: Target) -> None:
    """The remaining one is proven, with a short heartbeat."""
    checks = [check for check in all_checks() if check.id == "heartbeat"]
    with QUICK(cloud, target):
        assert wrong(runner.run(again(cloud, target), checks)) == []


@pytest.mark.parametrize("check", LOCAL, ids=[check.id for check in LOCAL])
def test_a_fault_refutes(cloud: LocalCloud, target: Target, check: Check) -> None:
    """With its fault, or with a wrong template, a check says refuted."""
    quick = QUICK(cloud, target) if check.id == "heartbeat" else nullcontext()
    with quick, WRONG[check.id](cloud, target):
        fresh = again(cloud, target)
        [result] = runner.run(fresh, [check])
    fresh.remove_keys()
    assert result.outcome.verdict == "refuted", result.outcome.evidence


def again(cloud: LocalCloud, target: Target) -> Target:
    """Return a new target, which reads what is deployed now, and does not wait for long."""
    deployment = Deployment(target.name, dict(target.outputs), "", None, {})
    return replace(target_of(cloud, deployment), key=target.key, patience=3.0)
