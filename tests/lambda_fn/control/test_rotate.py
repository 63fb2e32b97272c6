"""The rotation of the admin secret, on moto."""

import uuid
from typing import Any

import boto3
import pytest

from lambda_fn.aws.secretsmanager import SecretsManager
from lambda_fn.control.rotate import RotationRefused, rotate
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS


class Counting(SecretsManager):
    """Secrets Manager, with a count of what was read of it."""

    reads = 0

    async def version(self, secret: str, stage: str) -> tuple[str, str] | None:
        """Count, and read."""
        self.reads += 1
        return await super().version(secret, stage)


@pytest.fixture
def stored(moto_url: str) -> tuple[Any, str]:
    """Give stock boto3, and the ARN of a secret."""
    api = boto3.client(
        "secretsmanager",
        endpoint_url=moto_url,
        region_name="eu-west-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
    )
    return api, api.create_secret(Name=f"admin-{uuid.uuid4()}", SecretString="one")["ARN"]


def manager(url: str, http: Client) -> Counting:
    """Give the function's own client."""
    return Counting(http, url=url, region="eu-west-1", credentials=lambda: CREDENTIALS)


async def test_a_rotation_may_be_taken_up_at_any_step(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """Each step may be repeated; another version's value, or an unknown step, is refused."""
    arn = stored[1]
    reader = manager(moto_url, http)
    event = {"SecretId": arn, "ClientRequestToken": "t" * 32}
    with pytest.raises(RotationRefused, match="no value"):
        await rotate(reader, {**event, "Step": "testSecret"})
    for step in ("createSecret", "createSecret", "setSecret", "testSecret", "finishSecret", "finishSecret"):
        await rotate(reader, {**event, "Step": step})
    previous, current = [await reader.version(arn, stage) for stage in ("AWSPREVIOUS", "AWSCURRENT")]
    assert previous is not None
    assert previous[1] == "one"
    assert current is not None
    assert len(current[1]) == 48
    with pytest.raises(RotationRefused, match="no step"):
        await rotate(reader, {"SecretId": arn, "ClientRequestToken": "u" * 32, "Step": "dance"})
