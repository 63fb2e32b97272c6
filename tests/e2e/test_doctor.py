"""`sluice doctor` over a deployed stack."""

from argparse import Namespace
from dataclasses import replace

import pytest

from cli.commands import doctor
from cli.lib.project import CommandError
from infra.limits import LIMITS
from local.cloud import LocalCloud
from tests.support.deployments import Deployment, options

pytestmark = pytest.mark.e2e


@pytest.fixture
def deployed(
    cloud: LocalCloud, demo: Deployment, monkeypatch: pytest.MonkeyPatch
) -> doctor.Deployed:
    """Return what AWS reports about the deployed stacks."""
    monkeypatch.setattr(doctor, "aws_options", lambda _stage: options(cloud))
    return doctor.read("local", demo.name)


def test_figures_are_those_that_are_deployed(deployed: doctor.Deployed, demo: Deployment) -> None:
    """Each figure is the deployed one. The figures agree, and each bound has a tightest limit."""
    assert deployed.read_timeout == LIMITS.cloudfront_read
    assert deployed.lambda_timeout == LIMITS.lambda_timeout
    assert deployed.endpoint == demo.outputs["EndpointName"]
    assert deployed.concurrency == 256
    assert doctor.contradictions(deployed) == []
    least = {
        bound: {row.hop for row in found}
        for bound, found in doctor.tightest(doctor.rows(deployed)).items()
    }
    assert least == {
        "first byte": {"CloudFront", "SageMaker"},
        "gap": {"CloudFront"},
        "duration": {"function"},
        "request size": {"function"},
        "answer size": {"Lambda"},
    }


def test_contradictions_fail_and_are_named(
    deployed: doctor.Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If limits contradict each other, the command fails and names every such pair."""
    container = replace(deployed.container, context_tokens=512)
    wrong = replace(
        deployed, read_timeout=20, lambda_timeout=300, container=container, endpoint="other"
    )
    monkeypatch.setattr(doctor, "read", lambda _stage, _name: wrong)
    with pytest.raises(CommandError) as caught:
        doctor.run(Namespace(stage="local", stack_name="sluice", json=False))
    for part in ("heartbeat", "cloudfront_read", "lambda_timeout", "context", "endpoint"):
        assert part in str(caught.value)


def test_no_such_stack(deployed: doctor.Deployed) -> None:
    """For a stack that does not exist, the error is one line without a traceback."""
    with pytest.raises(CommandError, match="none-local-service"):
        doctor.read("local", "none")
