"""SageMaker endpoints, deployed by CloudFormation, run as processes, and read by stock boto3."""

import concurrent.futures
import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, EventStreamError

from tests.support.endpoint_templates import OUTPUTS, WEIGHTS, template
from tests.support.local_cloud import Client, Stacks


@pytest.fixture(scope="module")
def endpoint(client: Client) -> Iterator[str]:
    """Yield the name of an endpoint in service, with weights from S3."""
    s3 = client("s3")
    s3.create_bucket(Bucket=WEIGHTS)
    s3.put_object(Bucket=WEIGHTS, Key="m/a.gguf", Body=b"weights")
    s3.put_object(Bucket=WEIGHTS, Key="m/sub/b", Body=b"more")
    source = {
        "S3DataSource": {
            "S3Uri": f"s3://{WEIGHTS}/m/",
            "S3DataType": "S3Prefix",
            "CompressionType": "None",
        }
    }
    stacks = Stacks(client)
    stack = stacks.create(template({"OWN": "value"}, ModelDataSource=source), OUTPUTS)
    assert stacks.status(stack) == "CREATE_COMPLETE", stacks.reasons(stack)
    yield stacks.outputs(stack)["Name"]
    stacks.delete(stack)


def _stream(client: Client, endpoint: str, **fields: Any) -> list[bytes]:
    response = client("sagemaker-runtime").invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=json.dumps(fields).encode(), ContentType="application/json"
    )
    assert response["ContentType"] == "application/jsonlines"
    assert response["InvokedProductionVariant"] == "v"
    with contextlib.closing(response["Body"]) as events:
        return [event["PayloadPart"]["Bytes"] for event in events]


def test_stream(client: Client, endpoint: str) -> None:
    """boto3 reads the container's bytes whole and in order.

    The parts are not the container's chunks.
    """
    chunks = [f'{{"n": {number}, "text": "ä€😀"}}\n' for number in range(50)]
    parts = _stream(client, endpoint, chunks=chunks, gap_s=0.002)
    assert b"".join(parts).decode() == "".join(chunks)
    assert parts != [chunk.encode() for chunk in chunks]


def test_parts_arrive_as_they_are_written(client: Client, endpoint: str) -> None:
    """A part reaches the caller before the container sends the next one."""
    runtime = client("sagemaker-runtime")
    response = runtime.invoke_endpoint_with_response_stream(
        EndpointName=endpoint, Body=json.dumps({"chunks": ["first", "HOLD", "second"]})
    )
    parts = (event["PayloadPart"]["Bytes"] for event in response["Body"])
    received = b""
    while received != b"first":
        received += next(parts)
    runtime.invoke_endpoint(EndpointName=endpoint, Body=b"release")
    assert b"".join(parts) == b"second"


def test_whole_answers(client: Client, endpoint: str) -> None:
    """InvokeEndpoint returns the whole body.

    The container has only the model's environment and weights.
    """
    response = client("sagemaker-runtime").invoke_endpoint(
        EndpointName=endpoint, Body=b"environment"
    )
    body = json.loads(response["Body"].read())
    assert body["environment"]["OWN"] == "value"
    assert "VIRTUAL_ENV" not in body["environment"]
    expected = {
        "PATH",
        "LANG",
        "LC_CTYPE",
        "HOME",
        "SAGEMAKER_BIND_TO_PORT",
        "SLUICE_HOST",
        "SLUICE_MODEL_DIR",
    }
    expected.add("SLUICE_CALLER_TOKEN")
    assert set(body["environment"]) <= {"OWN", *expected}
    assert body["files"] == ["a.gguf", "sub"]


@pytest.mark.parametrize("status", [400, 429, 500, 503])
def test_errors_of_the_container(client: Client, endpoint: str, status: int) -> None:
    """A 4xx or 5xx of the container is a ModelError with the original status and message."""
    with pytest.raises(client("sagemaker-runtime").exceptions.ModelError) as caught:
        _stream(client, endpoint, status=status, text='{"error": 1}')
    response: Any = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == status
    assert response["OriginalMessage"] == '{"error": 1}'
    assert response["LogStreamArn"].startswith("arn:aws:logs:")
    assert f"({status})" in response["Error"]["Message"]


def test_unknown_endpoint_and_too_much(client: Client, endpoint: str) -> None:
    """An unknown endpoint is a ValidationError, and a body over 6 MB a 413."""
    with pytest.raises(ClientError, match="ValidationError"):
        _stream(client, "unknown", chunks=[])
    with pytest.raises(ClientError) as caught:
        client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=bytes(6_291_457))
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_the_caller_leaving_closes_the_containers_request(client: Client, endpoint: str) -> None:
    """If a caller closes the stream, the container's request ends."""
    runtime = client("sagemaker-runtime")
    body = json.dumps({"chunks": ["x"] * 2000, "gap_s": 0.01})
    response = runtime.invoke_endpoint_with_response_stream(EndpointName=endpoint, Body=body)
    next(iter(response["Body"]))
    response["Body"].close()
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        if json.loads(
            runtime.invoke_endpoint(EndpointName=endpoint, Body=b"closed")["Body"].read()
        ):
            return
    pytest.fail("the container's request is still open")


def _until_in_service(client: Client, endpoint: str) -> None:
    ends = time.monotonic() + 60
    while time.monotonic() < ends:
        try:
            client("sagemaker-runtime").invoke_endpoint(EndpointName=endpoint, Body=b"closed")
        except ClientError:
            continue
        return
    pytest.fail("the container was not started again")


def test_death_of_the_container(client: Client, endpoint: str) -> None:
    """If the container dies, a stream raises; before the response it is a ModelError.

    The container is started again.
    """
    with pytest.raises(EventStreamError, match="ModelStreamError"):
        _stream(client, endpoint, chunks=["one", "two"], die=True)
    _until_in_service(client, endpoint)
    with pytest.raises(client("sagemaker-runtime").exceptions.ModelError):
        _stream(client, endpoint, silent=True)
    _until_in_service(client, endpoint)
    assert _stream(client, endpoint, chunks=["again"])


def test_hundred_streams_at_once(client: Client, endpoint: str) -> None:
    """A hundred concurrent streams are each whole and in order."""
    chunks = [f"{number}\n" for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        streams = list(
            threads.map(lambda _: b"".join(_stream(client, endpoint, chunks=chunks)), range(100))
        )
    assert set(streams) == {"".join(chunks).encode()}
