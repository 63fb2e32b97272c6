"""Fixtures: a local cloud without stacks."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from local.cloud import REGION, LocalCloud
from tests.support.function_plane import Plane, started
from tests.support.local_cloud import CONTAINER, Client, Stacks


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a running local cloud."""
    running = LocalCloud.start(tmp_path_factory.mktemp("cloud"), container=CONTAINER)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def client(cloud: LocalCloud) -> Iterator[Client]:
    """Return a function that makes stock boto3 clients of the local cloud."""
    made: dict[str, Any] = {}

    def make(service: str) -> Any:
        if service not in made:
            made[service] = boto3.client(
                service,
                region_name=REGION,
                endpoint_url=cloud.endpoint_url,
                aws_access_key_id=cloud.keys.access_key,
                aws_secret_access_key=cloud.keys.secret_key,
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            )
        return made[service]

    yield make
    for one in made.values():
        one.close()


@pytest.fixture
def stacks(client: Client) -> Iterator[Stacks]:
    """Yield stacks that are deleted after the test."""
    made = Stacks(client)
    yield made
    for name in list(made.names):
        made.delete(name)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """Yield the data plane of functions, with the small function deployed."""
    async with started(tmp_path) as made:
        yield made
