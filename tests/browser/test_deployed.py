"""The playground in a real Chromium, as a deployment in the whole local cloud serves it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from cli.lib import cdk
from local.cloud import LocalCloud
from tests.support import chromium
from tests.support.deployments import Deployment, deployed, options, quiet
from tests.support.playwright import run

pytestmark = pytest.mark.browser

# A person can read along, and a test can stop an answer before its end.
RATE = "8"


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a running local cloud with CDK's bootstrap stack."""
    if shutil.which(chromium.NAME) is None:
        pytest.fail(chromium.INSTALL)
    folder = tmp_path_factory.mktemp("cloud")
    cloud = LocalCloud.start(folder)
    aws = cloud.aws_environment()
    target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
    cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=folder / "bootstrap.log", detail=quiet)
    yield cloud
    cloud.stop()


@pytest.fixture(scope="module")
def page(cloud: LocalCloud) -> Deployment:
    """Return a deployment of the demo model at a slow pace."""
    return deployed(cloud, "page", {"tokens_per_second": RATE, "websocket": "true"})


def test_it(cloud: LocalCloud, page: Deployment) -> None:
    """`deployed.spec.ts`: streaming, stop, a lost network, deletion, usage and keys.

    No log has the key.
    """
    secrets = boto3.client("secretsmanager", **options(cloud))
    arn = page.outputs["AdminSecretArn"]
    run(
        "deployed.spec",
        SLUICE_ORIGIN=page.origin,
        SLUICE_KEY=page.key,
        SLUICE_ADMIN=secrets.get_secret_value(SecretId=arn)["SecretString"],
    )
    assert page.key not in _logs(cloud.directory / "logs")


def test_sockets(cloud: LocalCloud, page: Deployment) -> None:
    """`sockets.spec.ts`: a page streams two answers over one socket and stops one of them."""
    containers = [
        (f"http://127.0.0.1:{container['port']}/metrics", container["headers"])
        for endpoint in cloud.ask("status")["endpoints"]
        for container in endpoint["containers"]
    ]
    run(
        "sockets.spec",
        SLUICE_ORIGIN=page.origin,
        SLUICE_KEY=page.key,
        SLUICE_MODEL=page.model,
        SLUICE_METRICS=json.dumps(containers),
    )


def _logs(folder: Path) -> str:
    return "".join(path.read_text(errors="replace") for path in folder.glob("*.log"))
