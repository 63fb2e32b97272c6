"""Fixtures: the whole local cloud, deployed once a session."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cli.lib import cdk
from local.cloud import LocalCloud
from tests.support.deployments import DEMO_RATE, SCRIPTED_MODEL, Deployment, deployed, quiet


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a running local cloud with CDK's bootstrap stack."""
    folder = tmp_path_factory.mktemp("cloud")
    cloud = LocalCloud.start(folder)
    aws = cloud.aws_environment()
    target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
    cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=folder / "bootstrap.log", detail=quiet)
    yield cloud
    cloud.stop()


@pytest.fixture(scope="session")
def deployments(cloud: LocalCloud) -> Iterator[dict[str, Deployment]]:
    """Deploy both pairs of stacks side by side, and return them."""
    scripted = {
        "engine": "scripted",
        "model_name": SCRIPTED_MODEL,
        "tokens_per_second": "0",
        "parallel": "256",
    }
    with ThreadPoolExecutor() as pool:
        slow = {"tokens_per_second": str(DEMO_RATE)}
        # Only requests whose caller samples them are traced.
        traced = {"traces": "cloudwatch", "trace_ratio": "0"}
        demo = pool.submit(deployed, cloud, "demo", {**slow, **traced})
        found = {"scripted": deployed(cloud, "scripted", scripted), "demo": demo.result()}
    yield found
    for deployment in found.values():
        deployment.client.close()


@pytest.fixture(scope="session")
def demo(deployments: dict[str, Deployment]) -> Deployment:
    """Return the deployment of the demo model, at `DEMO_RATE` tokens a second."""
    return deployments["demo"]


@pytest.fixture(scope="session")
def scripted(deployments: dict[str, Deployment]) -> Deployment:
    """Return the deployment of the scripted engine."""
    return deployments["scripted"]
