"""Fixtures: the built image, and a local cloud that runs it."""

from collections.abc import Iterator

import boto3
import pytest

from cli.lib import cdk, container, local_keys
from local.cloud import LocalCloud
from tests.support.image import Deployed, Engine, quiet


@pytest.fixture(scope="session")
def engine() -> Engine:
    """Return the container engine that answers."""
    return Engine(container.engine())


@pytest.fixture(scope="session")
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of the image, built from model/Dockerfile."""
    return container.build(
        engine.name, log=tmp_path_factory.mktemp("image") / "build.log", detail=quiet
    )


@pytest.fixture(scope="session")
def cloud(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a local cloud that runs containers. At the end it must leave none behind."""
    folder = tmp_path_factory.mktemp("cloud")
    cloud = LocalCloud.start(folder, engine=engine.name)
    yield cloud
    cloud.stop()
    assert engine.containers(folder) == []


@pytest.fixture(scope="session")
def aws(cloud: LocalCloud) -> dict[str, str]:
    """Return the arguments of boto3's clients for the local cloud."""
    environment = cloud.aws_environment()
    return {
        "endpoint_url": cloud.endpoint_url,
        "region_name": environment["AWS_REGION"],
        "aws_access_key_id": environment["AWS_ACCESS_KEY_ID"],
        "aws_secret_access_key": environment["AWS_SECRET_ACCESS_KEY"],
    }


@pytest.fixture(scope="session")
def deployed(cloud: LocalCloud, aws: dict[str, str], image: str) -> Deployed:
    """Deploy the stacks of the stage `local` with that image, and return them."""
    environment = cloud.aws_environment()
    target = f"aws://{environment['CDK_DEFAULT_ACCOUNT']}/{environment['AWS_REGION']}"
    log = cloud.directory / "deploy.log"
    cdk.cdk(["bootstrap", target, "--app", ""], aws=environment, log=log, detail=quiet)
    outputs = cdk.deploy(
        context={"stage": "local", "image_uri": image},
        aws=environment,
        outputs=cloud.directory / "outputs.json",
        log=log,
        detail=quiet,
    )
    table = boto3.resource("dynamodb", **aws).Table(outputs["UsageTableName"])
    return Deployed(cloud, outputs, local_keys.create(table, name="test"))
