"""Secret versions and errors, on moto's Secrets Manager."""

from contextlib import closing

import boto3
import pytest

from lambda_fn import limits
from lambda_fn.aws.secretsmanager import SecretError, SecretsManager, SecretsUnavailable
from lambda_fn.http.client import Client
from tests.support.function import BOTO, CREDENTIALS


def manager(url: str, http: Client) -> SecretsManager:
    """Return the client under test."""
    return SecretsManager(http, url=url, region="eu-west-1", credentials=lambda: CREDENTIALS)


async def test_a_version_is_found_by_its_label(moto_url: str, http: Client) -> None:
    """The current version has an id and a value. A new secret has no previous version."""
    with closing(boto3.client("secretsmanager", endpoint_url=moto_url, **BOTO)) as api:
        secret = api.create_secret(Name="versions", SecretString="one")
    version = await manager(moto_url, http).version(secret["ARN"], "AWSCURRENT")
    assert version == (secret["VersionId"], "one")
    assert await manager(moto_url, http).version(secret["ARN"], "AWSPREVIOUS") is None


async def test_an_error_has_the_name_of_aws(moto_url: str, http: Client) -> None:
    """A call that Secrets Manager rejects raises AWS's name of the error, and is not repeated."""
    with pytest.raises(SecretError, match="ResourceNotFoundException") as caught:
        await manager(moto_url, http).call("DescribeSecret", SecretId="none")
    assert not isinstance(caught.value, SecretsUnavailable)


async def test_a_service_that_is_not_there(http: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no process listens at the address, the service is unavailable."""
    monkeypatch.setattr(limits, "META_BACKOFF", 0.0)
    with pytest.raises(SecretsUnavailable):
        await manager("http://127.0.0.1:9", http).version("arn", "AWSCURRENT")
