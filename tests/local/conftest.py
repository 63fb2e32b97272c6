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
    running = LocalCloud.start(
        tmp_path_factory.mktemp("cloud"),
        container=CONTAINER,
        options=["--limit=codedeploy_minute=0.1"],
    )
    try:
        quotas = boto3.client(
            "service-quotas",
            region_name=REGION,
            endpoint_url=running.endpoint_url,
            aws_access_key_id=running.keys.access_key,
            aws_secret_access_key=running.keys.secret_key,
        )
        quotas.request_service_quota_increase(  # a new account has no GPUs
            ServiceCode="sagemaker", QuotaCode="L-MLG612XLARGE", DesiredValue=8
        )
        yield running
    finally:
        running.stop()


@pytest.fixture(scope="session")
def client(cloud: LocalCloud) -> Iterator[Client]:
    """Return a function that makes stock boto3 clients of the local cloud."""
    clients: dict[str, Any] = {}

    def make(service: str) -> Any:
        if service not in clients:
            clients[service] = boto3.client(
                service,
                region_name=REGION,
                endpoint_url=cloud.endpoint_url,
                aws_access_key_id=cloud.keys.access_key,
                aws_secret_access_key=cloud.keys.secret_key,
                config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
            )
        return clients[service]

    yield make
    for opened in clients.values():
        opened.close()


@pytest.fixture
def stacks(client: Client) -> Iterator[Stacks]:
    """Yield stacks that are deleted after the test."""
    helper = Stacks(client)
    yield helper
    for name in list(helper.names):
        helper.delete(name)


@pytest.fixture
async def plane(tmp_path: Path) -> AsyncIterator[Plane]:
    """Yield the data plane of functions, with the small function deployed."""
    async with started(tmp_path) as started_plane:
        yield started_plane
