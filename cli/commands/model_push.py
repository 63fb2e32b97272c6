"""`sluice model push`: uploads a model's files to S3, as SageMaker lays them under /opt/ml/model.

In parts of 64 MiB, each sent with its SHA-256, which S3 checks before it takes the part. Broken off, it goes on where
it was: parts that S3 has with the same checksum, and objects that are whole, are not sent again. The SageMaker SDK's
S3Uploader can neither go on nor name a checksum, and installs a gigabyte.
"""

import base64
import hashlib
import shlex
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.lib.project import CommandError

PART = 64 * 2**20
MOST_PARTS = 10_000
"""S3's limit, which makes 640 GB the largest file."""
CHECKSUM = "sluice-sha256"
"""The object's metadata: the SHA-256 of its parts' SHA-256s, and the size of a part."""
_THREADS = 8
_IGNORED = {".git", ".cache", "__pycache__", ".DS_Store"}

Progress = Callable[[int], None]


@dataclass(frozen=True)
class File:
    """One file to send, and where to."""

    path: Path
    key: str
    size: int


@dataclass(frozen=True)
class Pushed:
    """What came of it: bytes that were sent, bytes that were there already, and the setting that names the model.

    `sha256` is that of a single GGUF file, which the container checks; a folder has none.
    """

    sent: int
    kept: int
    weights: str
    sha256: str | None


def files(source: Path, prefix: str) -> list[File]:
    """The files of a model, a folder's or the one, with the keys they get below `prefix`.

    Raises CommandError if there are none, or one is too large. What tools leave in a folder is passed over.
    """
    found = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    listed = []
    for path in found:
        relative = Path(path.name) if source.is_file() else path.relative_to(source)
        if not _IGNORED & set(relative.parts):
            listed.append(File(path, f"{prefix}{relative.as_posix()}", path.stat().st_size))
    if not listed:
        raise CommandError(f"{source}: there is nothing to upload.")
    for file in listed:
        if file.size > PART * MOST_PARTS:
            raise CommandError(f"{file.path}: is larger than {PART * MOST_PARTS // 2**30} GiB.")
    return listed


def push(s3: Any, source: Path, *, bucket: str, prefix: str, kms_key: str | None, progress: Progress) -> Pushed:
    """Upload a folder or a file.

    Args:
        s3: boto3's client.
        source: The folder, or one file.
        bucket: Where to.
        prefix: Of the keys; empty or ending in a slash.
        kms_key: The ARN of the key that encrypts the objects, None for the bucket's own way.
        progress: Is told bytes as they are done.

    Raises:
        CommandError: there is nothing to upload, or a file changed meanwhile.
        botocore's errors: S3 refused.

    """
    listed = files(source, prefix)
    sent = kept = 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for file in listed:
            done = _send(s3, pool, file, bucket=bucket, kms_key=kms_key, progress=progress)
            sent, kept = sent + done, kept + file.size - done
    weights = f"s3://{bucket}/{listed[0].key if source.is_file() else prefix}"
    return Pushed(sent, kept, weights, _sha256(source) if source.suffix == ".gguf" and source.is_file() else None)


def _sha256(path: Path) -> str:
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def _send(
    s3: Any, pool: ThreadPoolExecutor, file: File, *, bucket: str, kms_key: str | None, progress: Progress
) -> int:
    """Upload one file; how many bytes had to be sent."""
    digests = list(pool.map(lambda number: hashlib.sha256(_part(file, number)).digest(), _numbers(file)))
    whole = f"{hashlib.sha256(b''.join(digests)).hexdigest()}-{PART}"
    if _is_there(s3, bucket, file, whole):
        progress(file.size)
        return 0
    upload, there = _begun(s3, bucket, file.key)
    if upload is None:
        encryption = {} if kms_key is None else {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": kms_key}
        upload = s3.create_multipart_upload(
            Bucket=bucket, Key=file.key, ChecksumAlgorithm="SHA256", Metadata={CHECKSUM: whole}, **encryption
        )["UploadId"]

    def send(number: int) -> tuple[dict[str, Any], int]:
        data = _part(file, number)
        checksum = base64.b64encode(digests[number - 1]).decode()
        tag, size = _tag(there.get(number), checksum, data), 0
        if tag is None:
            size = len(data)
            tag = s3.upload_part(
                Bucket=bucket, Key=file.key, UploadId=upload, PartNumber=number, Body=data, ChecksumSHA256=checksum
            )["ETag"]
        progress(len(data))
        return {"PartNumber": number, "ETag": tag, "ChecksumSHA256": checksum}, size

    results = list(pool.map(send, _numbers(file)))
    s3.complete_multipart_upload(
        Bucket=bucket, Key=file.key, UploadId=upload, MultipartUpload={"Parts": [part for part, _ in results]}
    )
    if not _is_there(s3, bucket, file, whole):
        raise CommandError(
            f"{file.path}: changed while it was uploaded, or an older upload was in the way. Again, please."
        )
    return sum(size for _, size in results)


def _numbers(file: File) -> range:
    return range(1, max(1, -(-file.size // PART)) + 1)


def _part(file: File, number: int) -> bytes:
    with file.path.open("rb") as data:
        data.seek((number - 1) * PART)
        return data.read(PART)


def _is_there(s3: Any, bucket: str, file: File, whole: str) -> bool:
    from botocore.exceptions import ClientError

    try:
        head = s3.head_object(Bucket=bucket, Key=file.key)
    except ClientError as error:
        if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
            return False
        raise
    return bool(head["ContentLength"] == file.size and head["Metadata"].get(CHECKSUM) == whole)


def _tag(part: dict[str, Any] | None, checksum: str, data: bytes) -> str | None:
    """The tag of a part that is there and the same; one without a checksum of its own is held against its MD5."""
    if part is None:
        return None
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest
    same = part["ChecksumSHA256"] == checksum if "ChecksumSHA256" in part else part["ETag"].strip('"') == md5()
    return str(part["ETag"]) if same else None


def _begun(s3: Any, bucket: str, key: str) -> tuple[str | None, dict[int, dict[str, Any]]]:
    """The newest upload of a key that was broken off, and its parts by their number."""
    found = s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    mine = sorted((it for it in found if it["Key"] == key), key=lambda it: str(it.get("Initiated", "")))
    if not mine:
        return None, {}
    upload = mine[-1]["UploadId"]
    return upload, {part["PartNumber"]: part for part in _parts(s3, bucket, key, upload)}


def _parts(s3: Any, bucket: str, key: str, upload: str) -> Iterator[dict[str, Any]]:
    for page in s3.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=upload):
        yield from page.get("Parts", [])


def run(source: Path, *, to: str | None, stage: str, kms_key: str | None) -> None:
    """Upload with a progress bar, and print the setting to use. Raises CommandError."""
    import boto3
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    from cli.lib.stack import aws_options, unasked
    from cli.lib.terminal import console

    options = aws_options(stage)
    if not source.exists():
        raise CommandError(f"{source}: there is no such file or folder.")
    try:
        s3 = boto3.client("s3", **options)
        bucket, prefix = _place(to) if to else (_own_bucket(s3, boto3.client("sts", **options)), f"{source.name}/")
        console.print(f"To s3://{bucket}/{prefix}")
        total = sum(file.size for file in files(source, prefix))
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(source.name, total=total)
            done = push(
                s3, source, bucket=bucket, prefix=prefix, kms_key=kms_key, progress=lambda size: bar.advance(task, size)
            )
    except (Boto3Error, BotoCoreError, ClientError) as error:
        if isinstance(error, NoCredentialsError | NoRegionError):
            raise unasked(stage, error) from None  # nothing had begun
        reason = str(error).rstrip(".")
        raise CommandError(f"The upload broke off: {reason}. The same command goes on where it was.") from None
    console.print(f"[green]✓[/green] {done.sent:,} bytes sent, {done.kept:,} were there; all checksums agree.")
    console.print("\nThe setting to deploy it with:\n")
    checked = "" if done.sha256 is None else f" -c weights_sha256={done.sha256}"
    console.print(f"  -c {shlex.quote(f'weights={done.weights}')}{checked}", markup=False)


def _place(address: str) -> tuple[str, str]:
    bucket, _, prefix = address.removeprefix("s3://").partition("/")
    if not address.startswith("s3://") or not bucket:
        raise CommandError(f"--to {address}: must be s3://bucket/prefix/")
    return bucket, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


def _own_bucket(s3: Any, sts: Any) -> str:
    """The bucket for models of this account and region, made when it is not there. It is private and encrypted."""
    from botocore.exceptions import ClientError

    account, region = sts.get_caller_identity()["Account"], s3.meta.region_name
    name = f"sluice-models-{account}-{region}"
    try:
        s3.head_bucket(Bucket=name, ExpectedBucketOwner=account)
    except ClientError as error:
        if error.response["Error"]["Code"] not in {"404", "NoSuchBucket"}:
            raise
        where = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **where)
        blocked = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=dict.fromkeys(blocked, True))
    return str(name)
