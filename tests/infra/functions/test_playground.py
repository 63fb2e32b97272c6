"""The custom resource that copies the playground's files, over moto's S3."""

import io
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.s3.models import s3_backends

from infra.functions.playground import handler
from tests.support.cloudformation import Answers, event

FILES = {"index.html": "<!doctype html>", "assets/a-1.js": "1", "assets/a-1.css": "a{}"}


@pytest.fixture(autouse=True)
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run moto with the two buckets."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        client = boto3.client("s3")
        for bucket in ("site", "assets"):
            client.create_bucket(Bucket=bucket)
        yield client


def deploy(s3: Any, files: dict[str, str], request_type: str = "Create") -> None:
    """Put an archive of `files` where CDK puts it, and invoke the function."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        for name, text in files.items():
            zipped.writestr(name, text)
    s3.put_object(Bucket="assets", Key="x.zip", Body=archive.getvalue())
    properties = {"Bucket": "site", "SourceBucket": "assets", "SourceKey": "x.zip"}
    handler(event(request_type, **properties), None)


def keys(s3: Any) -> set[str]:
    """Return the keys in the site's bucket."""
    return {it["Key"] for it in s3.list_objects_v2(Bucket="site").get("Contents", [])}


def test_every_file_has_its_type_and_its_time(s3: Any, answers: Answers) -> None:
    """The page is asked for each time; what has its content in its name is kept for a year."""
    deploy(s3, FILES)
    assert [it["Status"] for it in answers] == ["SUCCESS"]
    heads = {key: s3.head_object(Bucket="site", Key=key) for key in FILES}
    assert {key: head["ContentType"] for key, head in heads.items()} == {
        "index.html": "text/html; charset=utf-8",
        "assets/a-1.js": "text/javascript",
        "assets/a-1.css": "text/css",
    }
    assert heads["index.html"]["CacheControl"] == "no-cache"
    assert "immutable" in heads["assets/a-1.js"]["CacheControl"]


def test_files_of_open_pages_stay_for_a_month(s3: Any, answers: Answers) -> None:
    """A page that is open loads files of its own version later. Older ones are removed."""
    deploy(s3, FILES)
    deploy(s3, {"index.html": "2", "assets/a-2.js": "2"}, "Update")
    assert keys(s3) == {*FILES, "assets/a-2.js"}
    for item in s3_backends["123456789012"]["aws"].buckets["site"].keys.values():
        item.last_modified = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=31)
    deploy(s3, {"index.html": "3", "assets/a-3.js": "3"}, "Update")
    assert keys(s3) == {"index.html", "assets/a-3.js"}
    assert {it["Status"] for it in answers} == {"SUCCESS"}


def test_a_deleted_stack_leaves_an_empty_bucket(s3: Any, answers: Answers) -> None:
    """CloudFormation deletes only empty buckets."""
    deploy(s3, FILES)
    deploy(s3, FILES, "Delete")
    assert keys(s3) == set()
    assert answers[-1]["Status"] == "SUCCESS"


def test_a_missing_archive_fails_the_deployment(answers: Answers) -> None:
    """The reason names what is missing."""
    properties = {"Bucket": "site", "SourceBucket": "assets", "SourceKey": "none.zip"}
    handler(event("Create", **properties), None)
    assert answers[-1]["Status"] == "FAILED"
    assert "does not exist" in answers[-1]["Reason"]
