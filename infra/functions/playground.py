"""Custom resource: copy the playground's files from CDK's archive into its bucket.

The page comes last, so that it never names a file that is not there. Files of earlier versions stay
for 30 days, for pages that are still open. When the stack is deleted, the bucket is emptied.
"""

import io
import json
import mimetypes
import urllib.request
import zipfile
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3

PAGE = "index.html"
OLD = timedelta(days=30)
ONE_YEAR = "public, max-age=31536000, immutable"
# What the runtime's table of types may lack.
TYPES = {".js": "text/javascript", ".svg": "image/svg+xml", ".html": "text/html; charset=utf-8"}


def handler(event: dict[str, Any], _context: object) -> None:
    """Copy or remove the files, and answer CloudFormation."""
    reason = None
    try:
        properties = event["ResourceProperties"]
        if event["RequestType"] == "Delete":
            remove(properties["Bucket"], older_than=timedelta(0), but=set())
        else:
            publish(properties["Bucket"], properties["SourceBucket"], properties["SourceKey"])
    except Exception as error:
        reason = f"The playground's files could not be copied: {error}"
    names = ("StackId", "RequestId", "LogicalResourceId")
    answer = {name: event[name] for name in names} | {
        "Status": "FAILED" if reason else "SUCCESS",
        "Reason": reason or "The playground's files are in its bucket",
        "PhysicalResourceId": "playground",
    }
    request = urllib.request.Request(
        event["ResponseURL"], json.dumps(answer).encode(), {"content-type": ""}, method="PUT"
    )
    urllib.request.urlopen(request).read()


def publish(bucket: str, source_bucket: str, source_key: str) -> None:
    """Put the files of an archive into the bucket, then remove old ones that it does not have."""
    s3 = boto3.client("s3")
    archive = s3.get_object(Bucket=source_bucket, Key=source_key)["Body"].read()
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        names = [name for name in files.namelist() if not name.endswith("/")]
        for name in sorted(names, key=lambda name: name == PAGE):
            ending = name[name.rfind(".") :]
            kind = TYPES.get(ending) or mimetypes.guess_type(name)[0] or "application/octet-stream"
            s3.put_object(
                Bucket=bucket,
                Key=name,
                Body=files.read(name),
                ContentType=kind,
                CacheControl="no-cache" if name == PAGE else ONE_YEAR,
            )
    remove(bucket, older_than=OLD, but=set(names))


def remove(bucket: str, *, older_than: timedelta, but: set[str]) -> None:
    """Delete the objects that are older, except those with the keys `but`."""
    s3 = boto3.client("s3")
    before = datetime.now(UTC) - older_than
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for item in page.get("Contents", []):
            if item["Key"] not in but and item["LastModified"] <= before:
                s3.delete_object(Bucket=bucket, Key=item["Key"])
