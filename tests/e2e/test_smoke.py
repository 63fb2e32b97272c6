"""`sluice smoke` over the local cloud: what a good deployment shows, and what makes it fail."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from cli.commands import smoke
from cli.commands.verify.target import Target, temporary_keys
from cli.lib import admin_api
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options
from tests.support.faults import fault
from tests.support.verified import target_of

pytestmark = pytest.mark.e2e
NAMES = ["answer", "time to first token", "unbuffered", "metered"]


@pytest.fixture
def target(cloud: LocalCloud, demo: Deployment) -> Iterator[Target]:
    """Yield the deployment of the demo model, with a new temporary key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admin_api, "aws_options", lambda _stage: options(cloud))
        found = target_of(cloud, demo)
        with temporary_keys(found):
            yield found


def test_a_good_deployment(target: Target) -> None:
    """An answer comes while it is sampled, and ledger and totals have its tokens."""
    steps = smoke.steps_of(target, wait=0)
    assert [(step.name, step.good) for step in steps] == [(name, True) for name in NAMES], steps
    assert "too short" not in steps[2].seen


def test_kept_answers(target: Target) -> None:
    """One is stored, read and deleted, and one cancelled."""
    step = smoke.kept(target)
    assert step.good, step


def test_the_key_is_tried_after_its_deletion(target: Target) -> None:
    """A deleted key is rejected; one that still works is a failed step."""
    own = replace(target, _made=[])
    with temporary_keys(own):
        key = own.key
        assert not smoke.removed(own, key).good
    assert smoke.removed(own, key).good


@pytest.mark.parametrize(
    ("kind", "scope", "after", "wrong"),
    [
        ("joined-parts", "EndpointName", 16, "unbuffered"),
        ("function-killed-in-response", "FunctionName", 400, "answer"),
    ],
)
def test_a_broken_deployment(
    cloud: LocalCloud, target: Target, kind: str, scope: str, after: int, wrong: str
) -> None:
    """Text that is held back fails a step, and a broken stream another one."""
    with fault(cloud, kind=kind, scope=target.outputs[scope], count=10, after=after):
        steps = smoke.steps_of(target, wait=0)
    assert [step.name for step in steps if not step.good] == [wrong], steps


def test_wrong_figures(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger with other tokens than the stream's is told."""
    ledger = Target.ledger
    monkeypatch.setattr(
        Target, "ledger", lambda *args: {**ledger(*args), "completion_tokens": 10_000}
    )
    [wrong] = [step for step in smoke.steps_of(target, wait=0) if not step.good]
    assert (wrong.name, "10000" in wrong.seen) == ("metered", True)
