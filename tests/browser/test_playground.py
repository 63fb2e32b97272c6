"""The playground in a real Chromium, by Playwright: `*.spec.ts`.

`scripted.spec.ts` has a server whose answers the tests write, `deployed.spec.ts` a deployment in
the whole local cloud. `sockets.spec.ts` has a page of examples/ over the same deployment.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from cli.lib import cdk
from cli.lib.project import ROOT
from infra.packaging.web import build
from local.cloud import LocalCloud
from tests.support import chromium
from tests.support.deployments import Deployment, deployed, options, quiet

pytestmark = pytest.mark.browser

# A person can read along, and a test can stop an answer before its end.
RATE = "8"
_LONGEST_S = 480


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


def run(*arguments: str, **variables: str) -> None:
    """Run Playwright; fail with what it printed."""
    program = ROOT / "node_modules/@playwright/test/cli.js"
    node = ROOT / ".venv/bin/node"
    config = ROOT / "tests/browser/playwright.config.ts"
    command = [str(node), str(program), "test", "-c", str(config), *arguments]
    environment = {
        **os.environ,
        "CHROMIUM": shutil.which(chromium.NAME) or "",
        "NO_PROXY": "localhost,127.0.0.1",
        **variables,
    }
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-12_000:] + done.stderr[-2_000:]


def test_over_a_scripted_api() -> None:
    """Hostile, long, cut and refused answers, accessibility, and the figures of a long answer."""
    if shutil.which(chromium.NAME) is None:
        pytest.fail(chromium.INSTALL)
    run("scripted.spec", SLUICE_WEB=str(build(root=ROOT)))


def test_over_a_deployment(cloud: LocalCloud, page: Deployment) -> None:
    """Streaming, stop, reload, a lost network, two tabs, deletion, usage and keys."""
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
    """A page streams two answers over one socket and stops one of them."""
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
