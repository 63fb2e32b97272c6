"""`sluice model push`: upload a model's files to S3.

SageMaker copies them from there to /opt/ml/model. Files are sent in parts of 64 MiB. S3 checks the
SHA-256 of each part before it accepts the part. An interrupted upload is resumed: complete objects,
and parts that S3 has with the same checksum, are not sent again. The SageMaker SDK's S3Uploader can
neither resume nor send a checksum, and it installs a gigabyte.
"""

import argparse
import base64
import hashlib
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.lib import values
from cli.lib.project import CommandError, UsageError
from cli.lib.stack import aws_options, no_access
from cli.lib.terminal import console, print_json

HELP = "Upload a model's weights."
PART = 64 * 2**20
MAX_PARTS = 10_000
"""S3's limit, which makes 625 GiB the largest file."""
CHECKSUM = "sluice-sha256"
"""The name of an object's metadata: the SHA-256 of its parts' SHA-256s, and the size of a part."""
_THREADS = 8
_POINTER_BYTES = 1_024  # a pointer of Git LFS has about 130
_IGNORED = {".git", ".cache", "__pycache__", ".DS_Store"}
_CACHE = {"blobs", "refs", ".no_exist", ".locks"}
"""Folders of Hugging Face's cache. Its files are below `snapshots`, as links to the blobs."""

Progress = Callable[[int], None]


@dataclass(frozen=True)
class File:
    """One file to send, and its object's key."""

    path: Path
    key: str
    size: int


@dataclass(frozen=True)
class Pushed:
    """The result of an upload: bytes sent, bytes that S3 had already, and settings for the model.

    `sha256` is the checksum of a single GGUF file, which the container verifies. It is None for a
    folder.
    """

    sent: int
    kept: int
    weights: str
    sha256: str | None


def add(parser: argparse.ArgumentParser) -> None:
    """Add `push`."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    text = (
        "Upload a model's files to S3, checked by SHA-256, and print the setting to use. Run it "
        "again to resume an interrupted upload."
    )
    push = commands.add_parser("push", help=text, description=text)
    push.add_argument("source", type=Path, metavar="DIR", help="the model's folder, or one file")
    push.add_argument(
        "--to", metavar="s3://BUCKET/PREFIX/", help="where to (a private bucket of the account)"
    )
    push.add_argument(
        "--kms-key", metavar="ARN", help="the key that encrypts the objects (the bucket's default)"
    )
    push.add_argument("--json", action="store_true", help="print the result and settings as JSON")
    values.add_stage(push, default="dev")
    push.set_defaults(run=run)


def files(source: Path, prefix: str) -> list[File]:
    """Return the files of a model (a folder or one file), with their keys below `prefix`.

    Caches and version-control folders are left out.

    Raises:
        UsageError: there are no files, or one is too large, or no container could load them.

    """
    from model.weights import is_part

    paths = [source] if source.is_file() else sorted(source.rglob("*"))
    ignored = _IGNORED | (_CACHE if (source / "snapshots").is_dir() else set())
    listed = []
    for path in paths:
        relative = Path(path.name) if source.is_file() else path.relative_to(source)
        if ignored & set(relative.parts):
            continue
        if path.is_symlink() and not path.exists():
            raise UsageError(f"{path}: the link leads to a file that is not there.")
        if path.is_file():
            listed.append(File(path, f"{prefix}{relative.as_posix()}", path.stat().st_size))
    if not listed:
        raise UsageError(f"{source}: there is nothing to upload.")
    if source.is_file() and is_part(source.name):
        raise UsageError(
            f"{source}: this is one part of a split model. Push the folder with all its parts."
        )
    for file in listed:
        if (what := _no_weights(file)) is not None:
            raise UsageError(f"{file.path}: the file is {what}.")
        if file.size > PART * MAX_PARTS:
            raise UsageError(
                f"{file.path}: the file is larger than {PART * MAX_PARTS // 2**30} GiB, which S3 does "
                "not accept."
            )
    return listed


def _no_weights(file: File) -> str | None:
    """Return the kind of a small file or a GGUF file that is not weights; None if it may be
    weights.
    """
    from model import gguf

    if file.path.suffix.lower() == ".gguf":
        with file.path.open("rb") as data:
            first = data.read(512)
        return None if first.startswith(gguf.MAGIC) else gguf.foreign(first) or "not a GGUF file"
    if file.size <= _POINTER_BYTES:
        first = file.path.read_bytes()
        return gguf.foreign(first) if first.startswith(b"version https://git-lfs") else None
    return None


def push(
    s3: Any, source: Path, *, bucket: str, prefix: str, kms_key: str | None, progress: Progress
) -> Pushed:
    """Upload a folder or a file.

    Args:
        s3: boto3's client.
        source: The folder, or one file.
        bucket: The bucket's name.
        prefix: The keys' prefix, empty or ending in a slash.
        kms_key: The ARN of the key that encrypts the objects; None: the bucket's default.
        progress: Called with the size of each part that is done.

    Raises:
        CommandError: there is nothing to upload, or a file changed meanwhile.
        botocore's errors: S3 refused.

    """
    listed = files(source, prefix)
    sent = kept = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for file in listed:
            size = _send(s3, pool, file, bucket=bucket, kms_key=kms_key, progress=progress)
            sent, kept = sent + size, kept + file.size - size
    weights = f"s3://{bucket}/{listed[0].key if source.is_file() else prefix}"
    return Pushed(
        sent,
        kept,
        weights,
        _sha256(source) if source.suffix.lower() == ".gguf" and source.is_file() else None,
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _send(
    s3: Any,
    pool: ThreadPoolExecutor,
    file: File,
    *,
    bucket: str,
    kms_key: str | None,
    progress: Progress,
) -> int:
    """Upload one file. Return the number of bytes that had to be sent."""
    digests = list(
        pool.map(lambda number: hashlib.sha256(_part(file, number)).digest(), _numbers(file))
    )
    digest = f"{hashlib.sha256(b''.join(digests)).hexdigest()}-{PART}"
    if _is_complete(s3, bucket, file, digest):
        progress(file.size)
        return 0
    upload, stored = _interrupted(s3, bucket, file.key)
    if upload is None:
        encryption = (
            {} if kms_key is None else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
        )
        upload = s3.create_multipart_upload(
            Bucket=bucket,
            Key=file.key,
            ChecksumAlgorithm="SHA256",
            Metadata={CHECKSUM: digest},
            **encryption,
        )["UploadId"]

    def send(number: int) -> tuple[dict[str, Any], int]:
        data = _part(file, number)
        checksum = base64.b64encode(digests[number - 1]).decode()
        tag, size = _tag(stored.get(number), checksum, data), 0
        if tag is None:
            size = len(data)
            tag = s3.upload_part(
                Bucket=bucket,
                Key=file.key,
                UploadId=upload,
                PartNumber=number,
                Body=data,
                ChecksumSHA256=checksum,
            )["ETag"]
        progress(len(data))
        return {"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum}, size

    results = list(pool.map(send, _numbers(file)))
    s3.complete_multipart_upload(
        Bucket=bucket,
        Key=file.key,
        UploadId=upload,
        MultipartUpload={"Parts": [part for part, _ in results]},
    )
    if not _is_complete(s3, bucket, file, digest):
        raise CommandError(
            f"{file.path}: the object in S3 differs from the file. Either the file was changed "
            "during the upload, or an older upload replaced the object. Run the same command again."
        )
    return sum(size for _, size in results)


def _numbers(file: File) -> range:
    return range(1, max(1, -(-file.size // PART)) + 1)


def _part(file: File, number: int) -> bytes:
    with file.path.open("rb") as data:
        data.seek((number - 1) * PART)
        return data.read(PART)


def _is_complete(s3: Any, bucket: str, file: File, digest: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        head = s3.head_object(Bucket=bucket, Key=file.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise
    return bool(head["ContentLength"] == file.size and head["Metadata"].get(CHECKSUM) == digest)


def _tag(part: dict[str, Any] | None, checksum: str, data: bytes) -> str | None:
    """Return the ETag of a stored part if its content is the same, else None.

    A part without a SHA-256 is compared by its MD5.
    """
    if part is None:
        return None
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest
    matches = (
        part["ChecksumSHA256"] == checksum
        if "ChecksumSHA256" in part
        else part["ETag"].strip('"') == md5()
    )
    return str(part["ETag"]) if matches else None


def _interrupted(s3: Any, bucket: str, key: str) -> tuple[str | None, dict[int, dict[str, Any]]]:
    """Return the id of the newest interrupted upload of a key, and its parts by number.

    Without one, return None and no parts.
    """
    uploads = s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    interrupted = sorted(
        (it for it in uploads if it["Key"] == key), key=lambda it: str(it.get("Initiated", ""))
    )
    if not interrupted:
        return None, {}
    upload = interrupted[-1]["UploadId"]
    return upload, {part["PartNumber"]: part for part in _parts(s3, bucket, key, upload)}


def _parts(s3: Any, bucket: str, key: str, upload: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload):
        yield from page.get("Parts", [])


def run(args: argparse.Namespace) -> None:
    """Upload with a progress bar, and print the setting to use."""
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    source: Path = args.source
    if not source.exists():
        raise UsageError(f"{source}: there is no such file or folder.")
    options = aws_options(args.stage)
    try:
        s3 = boto3.client("s3", **options)
        bucket, prefix = (
            _bucket_and_prefix(args.to)
            if args.to
            else (_own_bucket(s3, boto3.client("sts", **options)), f"{source.name}/")
        )
        if not args.json:
            console.print(f"To s3://{bucket}/{prefix}")
        total = sum(file.size for file in files(source, prefix))
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, disable=args.json) as bar:
            task = bar.add_task(source.name, total=total)
            result = push(
                s3,
                source,
                bucket=bucket,
                prefix=prefix,
                kms_key=args.kms_key,
                progress=lambda size: bar.advance(task, size),
            )
    except (Boto3Error, BotoCoreError, ClientError) as error:
        if isinstance(error, NoCredentialsError | NoRegionError):
            raise no_access(args.stage, error) from None  # nothing was sent yet
        reason = str(error).rstrip(".")
        raise CommandError(
            f"The upload broke off: {reason}. Run the same command again to resume it."
        ) from None
    if args.json:
        print_json(asdict(result))
        return
    console.print(
        f"[green]✓[/green] {result.sent:,} bytes sent, {result.kept:,} were in S3 already; all "
        "checksums agree."
    )
    console.print("\nThe setting to deploy it with:\n")
    checked = "" if result.sha256 is None else f" -c weights_sha256={result.sha256}"
    console.print(
        f"  -c {shlex.quote(f'weights={result.weights}')}{checked}", markup=False, soft_wrap=True
    )


def _bucket_and_prefix(address: str) -> tuple[str, str]:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise UsageError(f"--to {address}: must be s3://bucket/prefix/")
    return bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _own_bucket(s3: Any, sts: Any) -> str:
    """Return the name of the account's bucket for models in this region.

    If the bucket does not exist, create it private and encrypted.
    """
    from botocore.exceptions import ClientError

    account, region = sts.get_caller_identity()["Account"], s3.meta.region_name
    name = f"sluice-models-{account}-{region}"
    try:
        s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
        where = (
            {}
            if region == "us-east-1"
            else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        )
        s3.create_bucket(Bucket=name, **where)
        blocked = (
            "BlockPublicAcls",
            "IgnorePublicAcls",
            "BlockPublicPolicy",
            "RestrictPublicBuckets",
        )
        s3.put_public_access_block(
            Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True)
        )
    return str(name)
