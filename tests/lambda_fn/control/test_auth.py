"""The admin secret: which versions are accepted, how often it is looked up, and how it is rotated."""

import uuid
from typing import Any

import boto3
import pytest

from lambda_fn.aws.secretsmanager import SecretError, SecretsManager
from lambda_fn.control.auth import DOUBT, FRESH, INVOKED, STALE, AdminSecret, Gate
from lambda_fn.control.invocation import as_url_event
from lambda_fn.control.rotate import RotationRefused, rotate
from lambda_fn.errors import AuthenticationFailed, PermissionDenied, Unavailable
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


async def test_current_and_previous_are_accepted(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """After a rotation both are good, after another the oldest is not; what is fresh is not read again."""
    api, arn = stored
    now = 0.0
    reader = manager(moto_url, http)
    secret = AdminSecret(reader, arn, clock=lambda: now)
    assert await secret.accepts("one")
    assert not await secret.accepts("two")
    reads = reader.reads
    assert await secret.accepts("one")
    assert reader.reads == reads
    api.put_secret_value(SecretId=arn, SecretString="two", ClientRequestToken="2" * 32)
    assert not await secret.accepts("two")  # it was looked up a moment ago
    now += DOUBT + 1
    assert await secret.accepts("two")
    assert await secret.accepts("one")
    api.put_secret_value(SecretId=arn, SecretString="three", ClientRequestToken="3" * 32)
    now += FRESH + 1
    assert [await secret.accepts(it) for it in ("one", "two", "three")] == [None, "2" * 32, "3" * 32]


async def test_a_secrets_manager_that_is_away(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """What was read before holds for an hour, without asking at each request; who read nothing yet lets nobody in."""
    now = 0.0
    secret = AdminSecret(manager(moto_url, http), stored[1], clock=lambda: now)
    assert await secret.accepts("one")
    away = manager("http://127.0.0.1:9", http)
    secret._manager = away
    now += FRESH + 1
    assert await secret.accepts("one")
    assert not await secret.accepts("guess")
    assert away.reads == 1
    now = STALE
    assert await secret.accepts("one")
    now = STALE + 1
    with pytest.raises(Unavailable):
        await secret.accepts("one")
    with pytest.raises(Unavailable):
        await AdminSecret(away, stored[1]).accepts("one")


async def test_access_that_was_taken_away(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """When Secrets Manager refuses, what was read before is good no more; given back, the secret is read again."""
    now = 0.0
    secret = AdminSecret(manager(moto_url, http), stored[1], clock=lambda: now)
    assert await secret.accepts("one")

    class Refusing(Counting):
        async def call(self, operation: str, **members: Any) -> dict[str, Any]:
            raise SecretError("AccessDeniedException")

    allowed, secret._manager = secret._manager, Refusing(http, url="", region="", credentials=lambda: CREDENTIALS)
    now += FRESH + 1
    for _ in range(2):
        with pytest.raises(Unavailable):
            await secret.accepts("one")
    secret._manager = allowed
    now += DOUBT + 1
    assert await secret.accepts("one")


async def test_the_gate(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """By URL both secrets are needed; by IAM none; where there is no admin secret, only IAM leads in."""
    gate = Gate(AdminSecret(manager(moto_url, http), stored[1]), ("origin",))
    url: dict[str, Any] = {"requestContext": {}}
    with pytest.raises(PermissionDenied):
        gate.check_origin(url, {"authorization": "Bearer one"})
    gate.check_origin(url, {"x-sluice-origin-secret": "origin"})
    for wrong in ({}, {"authorization": "one"}, {"authorization": "Bearer "}, {"authorization": "Bearer " + "x" * 600}):
        with pytest.raises(AuthenticationFailed):
            await gate.check_admin(url, wrong)
    current = stored[0].get_secret_value(SecretId=stored[1])["VersionId"]
    assert await gate.check_admin(url, {"authorization": "bearer one"}) == f"secret:{current}"
    invoked = as_url_event({"path": "/admin/v1/keys"})
    gate.check_origin(invoked, {})
    with pytest.raises(PermissionDenied, match="AdminFunctionName"):
        await gate.check_admin(invoked, {})
    closed = Gate(None, (), "usage")
    with pytest.raises(PermissionDenied, match="IAM"):
        await closed.check_admin(url, {"authorization": "Bearer one"})
    assert await closed.check_admin({INVOKED: True}, {}) == "iam:usage"


async def test_a_rotation_may_be_taken_up_at_any_step(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """Each step may be repeated; another version's value, or an unknown step, is refused."""
    arn = stored[1]
    reader = manager(moto_url, http)
    event = {"SecretId": arn, "ClientRequestToken": "t" * 32}
    with pytest.raises(RotationRefused, match="no value"):
        await rotate(reader, {**event, "Step": "testSecret"})
    for step in ("createSecret", "createSecret", "setSecret", "testSecret", "finishSecret", "finishSecret"):
        await rotate(reader, {**event, "Step": step})
    assert await reader.value(arn, "AWSPREVIOUS") == "one"
    current = await reader.value(arn, "AWSCURRENT")
    assert current is not None
    assert len(current) == 48
    with pytest.raises(RotationRefused, match="no step"):
        await rotate(reader, {"SecretId": arn, "ClientRequestToken": "u" * 32, "Step": "dance"})
