"""A secret on moto."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import boto3
import pytest

from tests.support.function import BOTO


@pytest.fixture
def stored(moto_url: str) -> Iterator[tuple[Any, str]]:
    """Yield stock boto3 and the ARN of a secret."""
    with closing(boto3.client("secretsmanager", endpoint_url=moto_url, **BOTO)) as api:
        yield api, api.create_secret(Name=f"admin-{uuid.uuid4()}", SecretString="one")["ARN"]
