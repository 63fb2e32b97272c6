"""The objects that SageMaker may read for a model, with the model's role."""

from typing import Any

import pytest

from local.iam.roles import Roles
from local.sagemaker.reader import RoleReader
from local.sagemaker.weights import WeightsError
from local.state import Role

ROLE = "arn:aws:iam::123456789012:role/model"


class Objects:
    """A bucket that has every object."""

    async def get(self, path: str, **query: str) -> bytes:
        """Return the bytes of any object."""
        return b"weights"

    async def get_json(self, path: str, **query: str) -> list[dict[str, str]]:
        """Return a listing of one object."""
        return [{"key": "one/model.gguf"}]


def reader(prefix: str) -> RoleReader:
    """Return a reader whose role may list the bucket `models` below `prefix`."""
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": "arn:aws:s3:::models",
        "Condition": {"StringLike": {"s3:prefix": prefix}},
    }
    roles = Roles()
    roles.apply(
        (Role(arn=ROLE, policies=({"Statement": [statement]},), boundary=None, trust={}),), {}
    )
    return RoleReader(Objects(), roles, "us-east-1")


@pytest.mark.parametrize("uri", ["s3://models/one/model.gguf", "s3://models/one/"])
async def test_a_bucket_is_listed_where_the_role_may(uri: str) -> None:
    """The condition s3:prefix is compared with the key or prefix of the request."""
    assert await reader("one/*").get_json("objects", uri=uri, role=ROLE)
    with pytest.raises(WeightsError, match="s3:ListBucket"):
        await reader("two/*").get_json("objects", uri=uri, role=ROLE)


async def test_an_object_is_read_where_the_role_may() -> None:
    """A role that may only list a bucket may not read its objects."""
    with pytest.raises(WeightsError, match="s3:GetObject"):
        await reader("one/*").get("object", bucket="models", key="one/model.gguf", role=ROLE)
