"""The table of limits. Each row has a test that reaches it.

The tests of the endpoints' times are here.
"""

import ast
import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import aiohttp
import boto3
import pytest
from aiohttp import web
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

from local import listeners
from local.faults.plan import Plan
from local.limits import TABLE, Limits
from local.sagemaker.invoke import invoke
from local.state import Endpoint, Variant

if TYPE_CHECKING:
    from local.sagemaker.serving import Serving

# The test of each row.
TRIPPED_BY = {
    "sagemaker_body": "sagemaker/test_serving.py::test_unknown_endpoint_and_too_much",
    "sagemaker_first_byte": "test_limits.py::test_a_container_that_does_not_answer",
    "sagemaker_total": "test_limits.py::test_a_stream_that_does_not_end",
    "sagemaker_environment_key": "moto/test_quotas.py::test_environments_of_models",
    "sagemaker_environment_value": "moto/test_quotas.py::test_environments_of_models",
    "sagemaker_environment_entries": "moto/test_quotas.py::test_environments_of_models",
    "lambda_request": "lambda_/test_url.py::test_other_refusals",
    "lambda_event": "lambda_/test_api.py::test_too_large",
    "lambda_buffered_response": "lambda_/test_environment.py::test_buffered_response_over_6_mb",
    "lambda_streamed_response": "lambda_/test_environment.py::test_streamed_response_over_200_mb",
    "lambda_stream_burst": "lambda_/test_url.py::test_bandwidth_after_the_first_6_mb",
    "lambda_stream_rate": "lambda_/test_url.py::test_bandwidth_after_the_first_6_mb",
    "lambda_timeout": "lambda_/test_environment.py::test_deadline",
    "lambda_memory": "lambda_/test_environment.py::test_memory",
    "lambda_reserved_concurrency": "lambda_/test_pool.py::test_reserved_concurrency",
    "lambda_account_concurrency": "lambda_/test_pool.py::test_account_concurrency",
    "lambda_unreserved": "moto/test_quotas.py::test_reserved_concurrency",
    "sagemaker_endpoint_instances": "moto/test_quotas.py::test_instances_of_endpoints",
    "codedeploy_minute": "cloudformation/test_codedeploy.py::test_a_canary_moves_the_alias",
    "lambda_init": "lambda_/test_environment.py::test_slow_initialisation_is_made_again",
    "lambda_environment": "moto/test_quotas.py::test_environments_of_functions",
    "cloudfront_read": "cloudfront/test_proxy.py::test_timeout_to_the_first_byte",
    "cloudfront_gap": "cloudfront/test_proxy.py::test_broken_within_the_answer",
    "cloudfront_custom_headers": "cloudfront/test_behaviours.py::test_origins_over_the_limits",
    "cloudfront_read_most": "cloudfront/test_behaviours.py::test_origins_over_the_limits",
    "cloudfront_methods": "cloudfront/test_proxy.py::test_methods",
    "cloudfront_url": "cloudfront/test_admission.py::test_lengths",
    "cloudfront_request": "cloudfront/test_admission.py::test_lengths",
    "cloudfront_get_body": "cloudfront/test_admission.py::test_lengths",
    "request_body": "test_listeners.py::test_a_body_that_does_not_come",
    "cloudfront_response_headers": "cloudfront/test_admission.py::test_lengths",
    "cloudfront_header_name": "cloudfront/test_behaviours.py::test_origins_over_the_limits",
    "cloudfront_header_value": "cloudfront/test_behaviours.py::test_origins_over_the_limits",
    "apigateway_frame": "apigateway/test_server.py::test_too_long",
    "apigateway_message": "apigateway/test_server.py::test_too_long",
    "apigateway_connects": "apigateway/test_server.py::test_handshakes_a_second",
    "apigateway_rate": "apigateway/test_server.py::test_requests_a_second",
    "apigateway_burst": "apigateway/test_server.py::test_requests_a_second",
    "apigateway_idle": "apigateway/test_server.py::test_idle_and_total_time",
    "apigateway_connection": "apigateway/test_server.py::test_idle_and_total_time",
    "apigateway_integration": "apigateway/test_server.py::test_a_slow_function",
    "idle_connection": "lambda_/test_environment.py::test_peers_drop_the_idle_connections_of_a_frozen_environment",
}


@pytest.mark.parametrize("row", sorted({*TABLE, *TRIPPED_BY}))
def test_each_row_has_a_test(row: str) -> None:
    """A row of the table names an existing test and its source. Every named test has a row."""
    assert TABLE[row].source
    file, _, name = TRIPPED_BY[row].partition("::")
    tree = ast.parse((Path(__file__).parent / file).read_text())
    names = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert name in names


def test_the_documentation_has_the_table() -> None:
    """The documentation has this table, row by row."""
    text = (Path(__file__).parents[2] / "docs" / "reference" / "local-cloud.md").read_text()
    rows = {
        line.split("`")[1]: line
        for line in text.splitlines()
        if line.startswith("| `") and "::" in line
    }
    assert rows.keys() == TABLE.keys()
    for name, limit in TABLE.items():
        unit = limit.unit
        figure = (
            f"set by the stack ({unit})" if limit.value is None else f"{limit.value:,.10g} {unit}"
        )
        assert rows[name] == f"| `{name}` | {figure} | {limit.over} | `{TRIPPED_BY[name]}` |"


class _Instance:
    """A container that runs already."""

    def __init__(self, port: int) -> None:
        """Take the port on which it listens."""
        self.port, self.outstanding, self.headers = port, 0, dict[str, str]()
        self.variant = Variant("v", "image", {}, None, 1, None, "role")
        self.log = Path("container.log")

    def kill(self) -> None:
        """Do nothing: only faults kill."""


class _Serving:
    """An endpoint of one container, which listens on `port`."""

    def __init__(self, port: int) -> None:
        """Take the container's port."""
        self.endpoint = Endpoint("123456789012", "us-east-1", "e", "c", ())
        self._instance = _Instance(port)

    def least_busy(self) -> _Instance:
        """Return the only instance."""
        return self._instance

    def invoked(self, variant: Variant, status: int, seconds: float) -> None:
        """Do nothing."""


async def _container(request: web.Request) -> web.StreamResponse:
    if await request.read() == b"silent":
        await asyncio.sleep(30)
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.05)


class _Scaled(Limits):
    """The table with one of its times scaled. The test never reaches the others."""

    def __init__(self, name: str) -> None:
        """Scale the time of a row."""
        super().__init__()
        self._name = name

    def seconds(self, name: str) -> float:
        """Return a limit in seconds. For the scaled row, two minutes become a second."""
        return super().seconds(name) / (120 if name == self._name else 1)


@pytest.fixture
async def runtime(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    """Yield a stock client of an endpoint with one scaled time limit, the parameter.

    Its time passes 120 times as fast.
    """
    app = web.Application()
    app.router.add_post("/invocations", _container)
    sock = listeners.bind([0])
    container = await listeners.serve(app, sock, cancel=True)
    async with aiohttp.ClientSession() as session:
        serving = cast("Serving", _Serving(sock.getsockname()[1]))
        api = web.Application()

        async def answer(call: web.Request) -> web.StreamResponse:
            return await invoke(call, serving, session, Plan(), _Scaled(request.param))

        api.router.add_post("/endpoints/{name}/invocations-response-stream", answer)
        front = listeners.bind([0])
        runner = await listeners.serve(api, front, cancel=True)
        client = boto3.client(
            "sagemaker-runtime",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{front.getsockname()[1]}",
            aws_access_key_id="test",
            aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}),
        )
        yield client
        client.close()
        await runner.cleanup()
    await container.cleanup()


@pytest.mark.parametrize("runtime", ["sagemaker_first_byte"], indirect=True)
async def test_a_container_that_does_not_answer(runtime: Any) -> None:
    """A container that is silent for 60 s is a ModelError with the original status 0."""

    def call() -> None:
        runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=b"silent")

    with pytest.raises(
        runtime.exceptions.ModelError, match="timed out while waiting for a response"
    ) as caught:
        await asyncio.to_thread(call)
    assert cast("ClientError", caught.value).response["OriginalStatusCode"] == 0


@pytest.mark.parametrize("runtime", ["sagemaker_total"], indirect=True)
async def test_a_stream_that_does_not_end(runtime: Any) -> None:
    """After eight minutes a stream ends with ModelStreamError.

    The parts before that have arrived.
    """
    parts = []

    def call() -> None:
        response = runtime.invoke_endpoint_with_response_stream(EndpointName="e", Body=b"endless")
        with contextlib.closing(response["Body"]) as events:
            for event in events:
                parts.append(event["PayloadPart"]["Bytes"])  # noqa: PERF401 - they are kept when it raises

    with pytest.raises(EventStreamError, match=r"ModelStreamError.*in the allotted time"):
        await asyncio.to_thread(call)
    assert set(b"".join(parts)) == set(b"x")
