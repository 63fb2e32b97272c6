"""`sluice model push`, against moto's S3."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from cli.commands import model
from cli.lib.project import CommandError

BUCKET = "models"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield boto3's S3 with an empty bucket. Parts are small."""
    monkeypatch.setattr(model, "PART", 5 * 2**20)  # S3's minimum
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("s3", region_name="us-east-1")
        client.create_bucket(Bucket=BUCKET)
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a model of two files, one of three parts, and leftovers of tools."""
    source = tmp_path / "llama"
    (source / "original").mkdir(parents=True)
    (source / ".cache").mkdir()
    (source / "config.json").write_text("{}")
    (source / "original" / "weights.safetensors").write_bytes(bytes(range(256)) * 45_056)  # 11 MiB
    (source / ".cache" / "lock").write_text("x")
    (source / "empty").touch()
    return source


def push(s3: Any, source: Path, progress: Any = lambda size: None) -> model.Pushed:
    """Push into the bucket, below `m/`."""
    return model.push(s3, source, bucket=BUCKET, prefix="m/", kms_key=None, progress=progress)


def test_a_folder_is_there_as_it_was(s3: Any, folder: Path) -> None:
    """Every file is below the prefix with its bytes. The setting names the prefix."""
    progress: list[int] = []
    pushed = push(s3, folder, progress.append)
    assert pushed.weights == f"s3://{BUCKET}/m/"
    keys = {item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert keys == {"m/config.json", "m/empty", "m/original/weights.safetensors"}
    body = s3.get_object(Bucket=BUCKET, Key="m/original/weights.safetensors")["Body"].read()
    assert body == (folder / "original" / "weights.safetensors").read_bytes()
    assert sum(progress) == pushed.sent == 2 + len(body)


def test_what_is_there_is_not_sent_again(s3: Any, folder: Path) -> None:
    """A second push sends nothing.

    If one file has changed and kept its size, that file is sent.
    """
    push(s3, folder)
    assert push(s3, folder).sent == 0
    (folder / "config.json").write_text("[]")
    assert push(s3, folder).sent == 2
    assert s3.get_object(Bucket=BUCKET, Key="m/config.json")["Body"].read() == b"[]"


def test_a_push_that_broke_off_goes_on(
    s3: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an interrupted push, the parts that S3 has are not sent again."""
    real = s3.upload_part
    monkeypatch.setattr(model, "_THREADS", 1)

    def broken(**call: Any) -> Any:
        if call["PartNumber"] == 3:
            raise ClientError({"Error": {"Code": "SlowDown", "Message": "later"}}, "UploadPart")
        return real(**call)

    monkeypatch.setattr(s3, "upload_part", broken)
    (folder / "config.json").unlink()
    (folder / "empty").unlink()
    with pytest.raises(ClientError):
        push(s3, folder)
    sizes: list[int] = []

    def noted(**call: Any) -> Any:
        sizes.append(call["PartNumber"])
        return real(**call)

    monkeypatch.setattr(s3, "upload_part", noted)
    pushed = push(s3, folder)
    assert sizes == [3]
    assert (pushed.sent, pushed.kept) == (2**20, 10 * 2**20)
    body = s3.get_object(Bucket=BUCKET, Key="m/original/weights.safetensors")["Body"].read()
    assert body == (folder / "original" / "weights.safetensors").read_bytes()


def test_each_part_is_sent_with_its_checksum(
    s3: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every part is sent with its SHA-256, which S3 checks."""
    real = s3.upload_part
    correct: list[bool] = []

    def noted(**call: Any) -> Any:
        correct.append(
            call["ChecksumSHA256"]
            == base64.b64encode(hashlib.sha256(call["Body"]).digest()).decode()
        )
        return real(**call)

    monkeypatch.setattr(s3, "upload_part", noted)
    push(s3, folder)
    assert correct == [True] * 5


def test_one_file_is_named_by_its_key(s3: Any, folder: Path) -> None:
    """For one file, the setting names its object."""
    assert push(s3, folder / "config.json").weights == f"s3://{BUCKET}/m/config.json"


def test_a_gguf_file_has_a_checksum_to_deploy_it_with(s3: Any, folder: Path) -> None:
    """The result of one GGUF file has its SHA-256, which the container checks.

    The result of a folder has none.
    """
    file = folder / "model.gguf"
    file.write_bytes(b"GGUF" * 9)
    assert push(s3, file).sha256 == hashlib.sha256(b"GGUF" * 9).hexdigest()
    assert push(s3, folder).sha256 is None


def test_an_empty_folder_is_refused(s3: Any, tmp_path: Path) -> None:
    """An empty folder is an error."""
    with pytest.raises(CommandError, match="there is nothing to upload"):
        push(s3, tmp_path)


def test_a_cache_of_links(s3: Any, tmp_path: Path) -> None:
    """Of a cache of Hugging Face, the files of the snapshot are pushed, once."""
    cache = tmp_path / "models--o--n"
    for name in ("blobs", "refs", "snapshots/9a"):
        (cache / name).mkdir(parents=True)
    (cache / "blobs" / "4f").write_bytes(b"GGUF" * 9)
    (cache / "refs" / "main").write_text("9a")
    (cache / "snapshots" / "9a" / "a.gguf").symlink_to("../../blobs/4f")
    push(s3, cache)
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]]
    assert keys == ["m/snapshots/9a/a.gguf"]
    (cache / "blobs" / "4f").unlink()
    with pytest.raises(CommandError, match="the link leads to a file that is not there"):
        push(s3, cache)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.gguf", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.GGUF", b"", "the file is empty"),
        ("a.gguf", b"<html>", "a web page"),
    ],
)
def test_what_is_no_weights(s3: Any, folder: Path, name: str, content: bytes, said: str) -> None:
    """A file that no container could load is refused before anything is sent."""
    (folder / name).write_bytes(content)
    with pytest.raises(CommandError, match=said):
        push(s3, folder)
    assert "Contents" not in s3.list_objects_v2(Bucket=BUCKET)


def test_a_part_alone_is_refused(s3: Any, folder: Path) -> None:
    """One part of a split model is pushed with the others only."""
    part = folder / "a-00001-of-00003.gguf"
    part.write_bytes(b"GGUF")
    with pytest.raises(CommandError, match="Push the folder with all its parts"):
        push(s3, part)


def test_the_accounts_bucket_is_private(s3: Any) -> None:
    """Without an address, the account's bucket is created once, closed to the public."""
    sts = boto3.client("sts", region_name="us-east-1")
    name = model._own_bucket(s3, sts)
    assert name == model._own_bucket(s3, sts) == "sluice-models-123456789012-us-east-1"
    block = s3.get_public_access_block(Bucket=name)["PublicAccessBlockConfiguration"]
    assert all(block.values())


@pytest.mark.parametrize("address", ["models/one", "s3://", "https://models/one"])
def test_an_invalid_address_is_refused(address: str) -> None:
    """Only s3://bucket/... is accepted."""
    with pytest.raises(CommandError, match="must be s3://bucket/prefix/"):
        model._bucket_and_prefix(address)
