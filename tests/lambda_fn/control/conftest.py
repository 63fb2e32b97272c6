"""A secret on moto."""

import uuid
from typing import Any

import boto3
import pytest

from tests.support.function import BOTO


@pytest.fixture
def stored(moto_url: str) -> tuple[Any, str]:
    """Return stock boto3 and the ARN of a secret."""
    api = boto3.client("secretsmanager", endpoint_url=moto_url, **BOTO)
    return api, api.create_secret(Name=f"admin-{uuid.uuid4()}", SecretString="one")["ARN"]
