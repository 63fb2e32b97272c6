"""Requests with wrong keys, times or bodies, as stock boto3 sends them."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch

import boto3
import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from local.cloud import REGION, LocalCloud


@pytest.fixture
def clients() -> Iterator[list[Any]]:
    """Yield a list. The clients in it are closed after the test."""
    clients: list[Any] = []
    yield clients
    for client in clients:
        client.close()


def client_of(cloud: LocalCloud, clients: list[Any], service: str, **keys: str) -> Any:
    """Return a stock client with other keys than the cloud's."""
    options = {
        "aws_access_key_id": cloud.keys.access_key,
        "aws_secret_access_key": cloud.keys.secret_key,
        **keys,
    }
    once = Config(
        signature_version="v4" if service != "s3" else "s3v4",
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
    )
    clients.append(
        boto3.client(
            service, region_name=REGION, endpoint_url=cloud.endpoint_url, config=once, **options
        )
    )
    return clients[-1]


CALLS = {
    "dynamodb": ("list_tables", {}),
    "sts": ("get_caller_identity", {}),
    "s3": ("list_buckets", {}),
    "lambda": ("list_functions", {}),
    "sagemaker-runtime": ("invoke_endpoint", {"EndpointName": "e", "Body": b"{}"}),
    "cloudwatch": ("list_metrics", {}),
}


JSON, QUERY, S3 = 0, 1, 2


CODES = {
    "dynamodb": JSON,
    "cloudwatch": JSON,
    "lambda": JSON,
    "sagemaker-runtime": JSON,
    "sts": QUERY,
    "s3": S3,
}


SAYS = {
    "secret": ("InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch"),
    "key": ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId"),
    "token": ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidToken"),
}


WRONG = {
    "secret": {"aws_secret_access_key": "local"},
    "key": {"aws_access_key_id": "local", "aws_secret_access_key": "local"},
    "token": {"aws_session_token": "guessed"},
}


@pytest.mark.parametrize("service", sorted(CALLS))
@pytest.mark.parametrize("wrong", sorted(WRONG))
def test_wrong_keys_in_each_protocol(
    cloud: LocalCloud, clients: list[Any], service: str, wrong: str
) -> None:
    """boto3 reads a wrong secret, key or token as AWS's own error, in every protocol."""
    method, members = CALLS[service]
    with pytest.raises(ClientError) as caught:
        getattr(client_of(cloud, clients, service, **WRONG[wrong]), method)(**members)
    assert caught.value.response["Error"]["Code"] == SAYS[wrong][CODES[service]]


@pytest.mark.parametrize(
    ("service", "hours", "code"),
    [("dynamodb", -1, "InvalidSignatureException"), ("dynamodb", 1, "InvalidSignatureException")],
)
def test_clocks(cloud: LocalCloud, clients: list[Any], service: str, hours: int, code: str) -> None:
    """A signature of another hour, past or future, is rejected."""
    moment = datetime.now(UTC) + timedelta(hours=hours)
    with (
        patch("botocore.auth.get_current_datetime", lambda **_: moment.replace(tzinfo=None)),
        pytest.raises(ClientError) as caught,
    ):
        client_of(cloud, clients, service).list_tables()
    assert caught.value.response["Error"]["Code"] == code


def test_s3_bodies(cloud: LocalCloud, clients: list[Any]) -> None:
    """S3's presigned addresses work until they expire. A body that was not signed is rejected."""
    s3 = client_of(cloud, clients, "s3")
    s3.create_bucket(Bucket="signed")
    s3.put_object(Bucket="signed", Key="a key+", Body=b"text")
    address = s3.generate_presigned_url(
        "get_object", Params={"Bucket": "signed", "Key": "a key+"}, ExpiresIn=60
    )
    with urllib.request.urlopen(address) as response:  # noqa: S310 - loopback
        assert response.read() == b"text"
    upload = s3.generate_presigned_url(
        "put_object", Params={"Bucket": "signed", "Key": "up"}, ExpiresIn=60
    )
    kind = {"Content-Type": "application/octet-stream"}
    with urllib.request.urlopen(urllib.request.Request(upload, b"sent", kind, method="PUT")):  # noqa: S310 - loopback
        pass
    assert s3.get_object(Bucket="signed", Key="up")["Body"].read() == b"sent"
    for wrong in (
        address.replace("a%20key", "b%20key"),
        address.replace("Expires=60", "Expires=61"),
    ):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(wrong)  # noqa: S310 - loopback
    with patch(
        "botocore.auth.get_current_datetime", lambda **_: datetime.now(UTC) - timedelta(hours=2)
    ):
        old = s3.generate_presigned_url(
            "get_object", Params={"Bucket": "signed", "Key": "a key+"}, ExpiresIn=60
        )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(old)  # noqa: S310 - loopback
    with caught.value as refused:
        assert b"Request has expired" in refused.read()
    keys = Credentials(cloud.keys.access_key, cloud.keys.secret_key)
    request = AWSRequest("PUT", f"{cloud.endpoint_url}/signed/up", data=b"signed", headers={})
    S3SigV4Auth(keys, "s3", REGION).add_auth(request)
    headers = dict(request.headers.items())
    other = urllib.request.Request(request.url, b"other!", headers, method="PUT")  # noqa: S310
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(other)  # noqa: S310 - loopback
    with caught.value as refused:
        assert b"XAmzContentSHA256Mismatch" in refused.read()


def test_who_is_not_known(cloud: LocalCloud) -> None:
    """A temporary key that was never issued, and a request without a signature, are rejected."""
    options = {
        "region_name": REGION,
        "endpoint_url": cloud.endpoint_url,
        "aws_secret_access_key": "x",
    }
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        boto3.client("dynamodb", aws_access_key_id="ASIAUNKNOWN", **options).list_tables()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{cloud.endpoint_url}/bucket/key")  # noqa: S310 - loopback
