"""The custom resource that checks the image's manifest, over moto's ECR."""

import json
import time
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from infra.functions import image_check
from infra.functions.image_check import DOCKER, KINDS, handler
from tests.support.cloudformation import Answers, event


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run moto. A new role is known at once."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setattr(image_check, "PROPAGATION", 0)
    with mock_aws():
        yield


def pushed(kind: str) -> str:
    """Push an image with this type of manifest. Return its name."""
    ecr = boto3.client("ecr", region_name="eu-west-1")
    uri: str = ecr.create_repository(repositoryName="some/model")["repository"]["repositoryUri"]
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": {"digest": "x"}, "layers": []}
    ecr.put_image(
        repositoryName="some/model",
        imageManifest=json.dumps(manifest),
        imageTag="v1",
        imageManifestMediaType=kind,
    )
    return f"{uri}:v1"


@pytest.mark.parametrize("kind", [it for it in KINDS if it != DOCKER])
@pytest.mark.parametrize("request_type", ["Create", "Update"])
def test_an_image_that_sagemaker_rejects_fails_the_deployment(
    answers: Answers, kind: str, request_type: str
) -> None:
    """The answer says which manifest the image has, and what to do about it in each way."""
    handler(event(request_type, Image=pushed(kind)), None)
    [answer] = answers
    assert answer["Status"] == "FAILED"
    assert kind in answer["Reason"]
    for way in ("BUILDAH_FORMAT=docker", "--output type=docker,oci-mediatypes=false", "codebuild"):
        assert way in answer["Reason"]


def test_a_docker_image_passes(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image with Docker's manifest passes. After a creation, IAM gets some seconds."""
    slept: list[float] = []
    monkeypatch.setattr(image_check, "PROPAGATION", 15)
    monkeypatch.setattr(time, "sleep", slept.append)
    image = pushed(DOCKER)
    for request_type in ("Create", "Update"):
        handler(event(request_type, Image=image), None)
    assert [it["Status"] for it in answers] == ["SUCCESS", "SUCCESS"]
    assert slept == [15]


@pytest.mark.parametrize(
    ("request_type", "image"),
    [("Delete", "x"), ("Create", "docker.io/some/image:v1"), ("Create", "no image at all")],
)
def test_nothing_is_asked_of_images_outside_ecr(
    answers: Answers, request_type: str, image: str
) -> None:
    """An image outside ECR, and a deletion, pass without a call."""
    handler(event(request_type, Image=image), None)
    assert [it["Status"] for it in answers] == ["SUCCESS"]


@pytest.mark.parametrize("name", ["none:v1", "some/model:other", "some/model@sha256:" + "0" * 64])
def test_an_image_that_is_not_there_fails_the_deployment(answers: Answers, name: str) -> None:
    """A missing repository or image is said before SageMaker says it."""
    image = pushed(DOCKER)
    handler(event("Create", Image=image.replace("some/model:v1", name)), None)
    assert [it["Status"] for it in answers] == ["FAILED"]


def test_an_image_that_may_not_be_read_passes(
    answers: Answers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another account's repository may let SageMaker read it, but not this function."""

    class Denied:
        def batch_get_image(self, **_: Any) -> Any:
            error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
            raise ClientError(error, "BatchGetImage")

    monkeypatch.setattr(boto3, "client", lambda *_, **__: Denied())
    handler(event("Create", Image="123456789012.dkr.ecr.eu-west-1.amazonaws.com/a:b"), None)
    assert [it["Status"] for it in answers] == ["SUCCESS"]
