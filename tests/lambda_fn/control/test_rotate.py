"""The rotation of the admin secret, on moto."""

from typing import Any

import pytest

from lambda_fn.aws.secretsmanager import SecretsManager
from lambda_fn.control.rotate import RotationRefused, rotate
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS


async def test_a_rotation_may_be_taken_up_at_any_step(
    moto_url: str, http: Client, stored: tuple[Any, str]
) -> None:
    """Each step can be repeated. A version without a value, and an unknown step, are errors."""
    arn = stored[1]
    reader = SecretsManager(http, url=moto_url, region="eu-west-1", credentials=lambda: CREDENTIALS)
    event = {"SecretId": arn, "ClientRequestToken": "t" * 32}
    with pytest.raises(RotationRefused, match="no value"):
        await rotate(reader, {**event, "Step": "testSecret"})
    for step in (
        "createSecret",
        "createSecret",
        "setSecret",
        "testSecret",
        "finishSecret",
        "finishSecret",
    ):
        await rotate(reader, {**event, "Step": step})
    previous, current = [
        await reader.version(arn, stage) for stage in ("AWSPREVIOUS", "AWSCURRENT")
    ]
    assert previous is not None
    assert previous[1] == "one"
    assert current is not None
    assert len(current[1]) == 48
    with pytest.raises(RotationRefused, match="no step"):
        await rotate(reader, {"SecretId": arn, "ClientRequestToken": "u" * 32, "Step": "dance"})
