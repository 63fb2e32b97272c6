"""Functions killed at any stage of a request, over the whole local cloud.

After a sweep all records are exact. `make chaos` does the same with 280 requests and more kinds of
failure: `tests.chaos`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import boto3
import pytest

from cli.lib import local_keys
from local.cloud import LocalCloud
from tests.chaos import parts
from tests.chaos.deployment import ChaosDeployment
from tests.chaos.stages import LONG, SHORT, STAGES
from tests.support.deployments import SCRIPTED_MODEL, Deployment, options
from tests.support.versions import change_function

pytestmark = pytest.mark.e2e

OVERDUE = 9


@contextmanager
def overdue(cloud: LocalCloud, deployment: Deployment, seconds: int) -> Iterator[None]:
    """Set the time after which a request counts as lost.

    It is set in the functions' environment, as an operator would.
    """
    client = boto3.client("lambda", **options(cloud))
    names = [deployment.outputs[name] for name in ("FunctionName", "SweeperName")]
    before = {
        name: client.get_function_configuration(FunctionName=name)["Environment"] for name in names
    }
    for name, environment in before.items():
        variables = {**environment["Variables"], "SLUICE_OVERDUE_SECONDS": str(seconds)}
        change_function(client, name, Environment={"Variables": variables})
    try:
        yield
    finally:
        for name, environment in before.items():
            change_function(client, name, Environment=environment)


async def test_killed_at_every_stage(
    cloud: LocalCloud, scripted: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a sweep nothing is OPEN or in flight.

    Accounts, ledger and rollups agree with each other, and with the container to the token.
    """
    deployment = ChaosDeployment(cloud, scripted.outputs, SCRIPTED_MODEL, OVERDUE)
    deployment.keys = [local_keys.create(scripted.table, name="chaos") for _ in range(2)]
    waves = parts.Waves()
    # one long stream is enough here, of a little more than a checkpoint
    stages = [stage for stage in STAGES if stage.script["count"] == SHORT["count"]]
    stages += [
        replace(one, script={**LONG, "count": 150})
        for one in STAGES
        if one.name == "after a checkpoint"
    ]
    with overdue(cloud, scripted, OVERDUE):
        wrong = await parts.kills(
            deployment, stages, waves, print, requests=2 * len(stages), at_once=2, seed=1
        )
        wrong += await parts.sweep_all(deployment, print)
        wrong += await parts.prove(deployment, waves, print)
        wrong += await parts.sweep_twice(deployment, print)
    assert wrong == []
