"""The model's image, built once, and a local cloud that runs it, with the stacks deployed by the real CDK CLI."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli.lib import cdk, container, local_keys
from local.cloud import LocalCloud
from local.sagemaker.engine import LABEL


@dataclass(frozen=True)
class Engine:
    """The container engine, asked directly."""

    name: str

    def ask(self, *arguments: str) -> str:
        """What a command of it prints."""
        return subprocess.run([self.name, *arguments], capture_output=True, text=True, check=True).stdout

    def containers(self, directory: Path) -> list[dict[str, Any]]:
        """All containers that a local cloud in a folder has started."""
        found = self.ask("ps", "--all", "--quiet", "--filter", f"label={LABEL}={directory}").split()
        return list(json.loads(self.ask("inspect", *found))) if found else []


@dataclass(frozen=True)
class Deployed:
    """The stacks in the local cloud."""

    cloud: LocalCloud
    outputs: dict[str, str]
    key: str


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The engine that answers."""
    return Engine(container.engine())


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, built from model/Dockerfile."""
    return container.build(engine.name, log=tmp_path_factory.mktemp("image") / "build.log", detail=_quiet)


@pytest.fixture(scope="session")
def cloud(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """A local cloud that runs containers, and leaves none behind."""
    folder = tmp_path_factory.mktemp("cloud")
    cloud = LocalCloud.start(folder, engine=engine.name)
    yield cloud
    cloud.stop()
    assert engine.containers(folder) == []


@pytest.fixture(scope="session")
def aws(cloud: LocalCloud) -> dict[str, str]:
    """The arguments that lead boto3 to it."""
    environment = cloud.aws_environment()
    return {
        "endpoint_url": cloud.endpoint_url,
        "region_name": environment["AWS_REGION"],
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
    }


@pytest.fixture(scope="session")
def deployed(cloud: LocalCloud, aws: dict[str, str], image: str) -> Deployed:
    """The stacks of the stage `local`, with that image."""
    environment = cloud.aws_environment()
    target = f"aws://{environment['CDK_DEFAULT_ACCOUNT']}/{environment['AWS_REGION']}"
    log = cloud.directory / "deploy.log"
    cdk.cdk(["bootstrap", target, "--app", ""], aws=environment, log=log, detail=_quiet)
    outputs = cdk.deploy(
        context={"stage": "local", "image_uri": image},
        aws=environment,
        outputs=cloud.directory / "outputs.json",
        log=log,
        detail=_quiet,
    )
    table = boto3.resource("dynamodb", **aws).Table(outputs["UsageTableName"])
    return Deployed(cloud, outputs, local_keys.create(table, name="test"))


def _quiet(_line: str) -> None:
    """Take a line of progress that nobody watches."""
