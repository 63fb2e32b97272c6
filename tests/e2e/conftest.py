"""Fixtures: the whole local cloud and its deployments, once a session.

A session is a process of `make test`. `CLOUDS` of tests/conftest.py divides the files.
"""

from collections.abc import Iterator

import boto3
import pytest

from cli.lib import cdk
from local.cloud import LocalCloud
from tests.support.deployments import (
    DEMO_RATE,
    SCRIPTED_MODEL,
    Deployment,
    deployed,
    options,
    quiet,
)
from tests.support.webhook import Receiver, receiving


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """Yield a running local cloud with CDK's bootstrap stack."""
    folder = tmp_path_factory.mktemp("cloud")
    cloud = LocalCloud.start(folder)
    try:
        aws = cloud.aws_environment()
        target = f"aws://{aws['CDK_DEFAULT_ACCOUNT']}/{aws['AWS_REGION']}"
        log = folder / "bootstrap.log"
        cdk.cdk(["bootstrap", target, "--app", ""], aws=aws, log=log, detail=quiet)
        yield cloud
    finally:
        cloud.stop()


@pytest.fixture(scope="session")
def demo(cloud: LocalCloud) -> Iterator[Deployment]:
    """Yield the deployment of the demo model, at `DEMO_RATE` tokens a second."""
    slow = {"tokens_per_second": str(DEMO_RATE)}
    # Only requests whose caller samples them are traced.
    traced = {"traces": "cloudwatch", "trace_ratio": "0", "trace_callers": "true"}
    found = deployed(cloud, "demo", {**slow, **traced}, by_app=True)
    yield found
    found.client.close()


@pytest.fixture(scope="session")
def scripted(cloud: LocalCloud) -> Iterator[Deployment]:
    """Yield the deployment of the scripted engine, which has a webhook."""
    settings = {
        "engine": "scripted",
        "model_name": SCRIPTED_MODEL,
        "tokens_per_second": "0",
        "parallel": "256",
        "alarm_topic": boto3.client("sns", **options(cloud)).create_topic(Name="people")[
            "TopicArn"
        ],
    }
    with receiving() as receiver:
        found = deployed(cloud, "scripted", {**settings, "webhook_url": receiver.url})
        yield found
        found.client.close()


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """Yield the webhook of `sleeper`."""
    with receiving() as found:
        yield found


@pytest.fixture(scope="session")
def sleeper(cloud: LocalCloud, receiver: Receiver) -> Iterator[Deployment]:
    """Yield a deployment with sockets and a webhook, whose model can be scaled to zero.

    Its background responses have invocations of their own.
    """
    settings = {
        "engine": "scripted",
        "model_name": SCRIPTED_MODEL,
        "tokens_per_second": "0",
        "parallel": "64",
        "context_tokens": "16384",
        "scale_to_zero": "true",
        "websocket": "true",
        "websocket_concurrency": "64",
        "background": "invoke",
        "background_per_key": "3",
        "webhook_url": receiver.url,
        "reserved_concurrency": "16",
        "recall_concurrency": "8",
    }
    found = deployed(cloud, "sleeper", settings)
    yield found
    found.client.close()
