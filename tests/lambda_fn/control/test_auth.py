"""The admin secret: the versions that are accepted, and how often they are read."""

from typing import Any

import pytest

from lambda_fn.aws.secretsmanager import SecretError, SecretsManager
from lambda_fn.control.auth import DOUBT, FRESH, INVOKED, STALE, AdminSecret, Gate
from lambda_fn.control.invocation import as_url_event
from lambda_fn.errors import AuthenticationFailed, PermissionDenied, Unavailable
from lambda_fn.http.client import Client
from tests.support.function import CREDENTIALS


class Counting(SecretsManager):
    """Secrets Manager with a count of its reads."""

    reads = 0

    async def version(self, secret: str, stage: str) -> tuple[str, str] | None:
        """Count the read, and return the version."""
        self.reads += 1
        return await super().version(secret, stage)


def manager(url: str, http: Client) -> Counting:
    """Return a client that counts reads."""
    return Counting(http, url=url, region="eu-west-1", credentials=lambda: CREDENTIALS)


async def test_current_and_previous_are_accepted(
    moto_url: str, http: Client, stored: tuple[Any, str]
) -> None:
    """After a rotation both versions are valid. After another one the oldest is not.

    Versions that were just read are not read again.
    """
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
    assert [await secret.accepts(it) for it in ("one", "two", "three")] == [
        None,
        "2" * 32,
        "3" * 32,
    ]


async def test_a_secrets_manager_that_is_away(
    moto_url: str, http: Client, stored: tuple[Any, str]
) -> None:
    """While Secrets Manager does not answer, versions that were read hold for an hour.

    They are not read at each request meanwhile. Without any, all secrets are rejected.
    """
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


async def test_access_that_was_taken_away(
    moto_url: str, http: Client, stored: tuple[Any, str]
) -> None:
    """If Secrets Manager denies access, versions that were read are not valid any more.

    Once access is granted, they are read again.
    """
    now = 0.0
    secret = AdminSecret(manager(moto_url, http), stored[1], clock=lambda: now)
    assert await secret.accepts("one")

    class Refusing(Counting):
        async def call(self, operation: str, **members: Any) -> dict[str, Any]:
            raise SecretError("AccessDeniedException")

    allowed, secret._manager = (
        secret._manager,
        Refusing(http, url="", region="", credentials=lambda: CREDENTIALS),
    )
    now += FRESH + 1
    for _ in range(2):
        with pytest.raises(Unavailable):
            await secret.accepts("one")
    secret._manager = allowed
    now += DOUBT + 1
    assert await secret.accepts("one")


async def test_the_gate(moto_url: str, http: Client, stored: tuple[Any, str]) -> None:
    """A caller by URL needs both secrets, and a caller through IAM needs none.

    Without an admin secret, only callers through IAM are accepted.
    """
    gate = Gate(AdminSecret(manager(moto_url, http), stored[1]), ("origin",))
    url: dict[str, Any] = {"requestContext": {}}
    with pytest.raises(PermissionDenied):
        gate.check_origin(url, {"authorization": "Bearer one"})
    gate.check_origin(url, {"x-sluice-origin-secret": "origin"})
    for wrong in (
        {},
        {"authorization": "one"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer " + "x" * 600},
    ):
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
