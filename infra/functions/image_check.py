"""Custom resource: fail the deployment if SageMaker would reject the image's manifest.

SageMaker takes no OCI manifests, and says so only when the model is made. A new role is also not
known everywhere at once, so the first check ends some seconds after the role was made.
"""

import json
import re
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import boto3
from botocore.exceptions import ClientError

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
KINDS = [
    DOCKER,
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
]
ECR = re.compile(r"(\d{12})\.dkr\.ecr\.([a-z0-9-]+)\.amazonaws\.com(?:\.cn)?/([^:@]+)[:@](.+)")
PROPAGATION = 15


def handler(event: dict[str, Any], _context: object) -> None:
    """Check the image, and answer CloudFormation."""
    reason = None
    if event["RequestType"] != "Delete":
        try:
            image = event["ResourceProperties"]["Image"]
            reason = refusal(image, lambda region: boto3.client("ecr", region_name=region))
        except Exception as error:
            reason = f"The image could not be checked: {error}"
        if event["RequestType"] == "Create" and reason is None:
            time.sleep(PROPAGATION)
    names = ("StackId", "RequestId", "LogicalResourceId")
    answer = {name: event[name] for name in names} | {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason or "SageMaker takes the image",
        "PhysicalResourceId": "image",
    }
    request = urllib.request.Request(
        event["ResponseURL"], json.dumps(answer).encode(), {"content-type": ""}, method="PUT"
    )
    urllib.request.urlopen(request).read()


def refusal(image: str, client: Callable[[str], Any]) -> str | None:
    """Return why SageMaker would reject an image, or None. `client` is ECR's, by region."""
    found = ECR.fullmatch(image)
    if not found:
        return None
    account, region, repository, version = found.groups()
    by = "imageDigest" if version.startswith("sha256:") else "imageTag"
    try:
        got = client(region).batch_get_image(
            registryId=account,
            repositoryName=repository,
            imageIds=[{by: version}],
            acceptedMediaTypes=KINDS,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDeniedException":
            raise
        print(f"Not checked: {error}")  # another account's repository
        return None
    if not got["images"]:
        return f"There is no image {image}: {got['failures'][0]['failureReason']}"
    kind = got["images"][0]["imageManifestMediaType"]
    if kind == DOCKER:
        return None
    return (
        f"SageMaker rejects the image {image}: its manifest is {kind}, and must be {DOCKER}. "
        "Build it again. With podman, export BUILDAH_FORMAT=docker. With docker, docker buildx "
        "build --provenance=false --sbom=false --output type=docker,oci-mediatypes=false. "
        "Or let CodeBuild build it: -c image_build=codebuild"
    )
