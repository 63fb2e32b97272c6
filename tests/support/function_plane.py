"""The data plane of functions with a small package deployed, and a client of its URL."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from local.faults.plan import Plan
from local.lambda_.environment import Environment
from local.lambda_.server import Functions
from local.state import Function
from tests.support import function_code

HOST = "abc.lambda-url.us-east-1.on.aws"
FUNCTION = Function(
    account="123456789012",
    region="us-east-1",
    name="small",
    arn="arn:aws:lambda:us-east-1:123456789012:function:small",
    role="arn:aws:iam::123456789012:role/r",
    handler="a.b",
    runtime="python3.14",
    environment={"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/bootstrap", "OWN": "value"},
    timeout=20,
    memory=256,
    reserved_concurrency=None,
    code_sha256="hash",
    url=f"https://{HOST}/",
    invoke_mode="RESPONSE_STREAM",
    auth_type="NONE",
    policy=(
        '{"Statement": {"Effect": "Allow", "Principal": "*", "Action": "lambda:InvokeFunction*", '
        '"Resource": "*"}}'
    ),
)


def with_variables(**environment: str) -> Function:
    """Return the function with further environment variables."""
    return replace(FUNCTION, environment={**FUNCTION.environment, **environment})


class Control:
    """A stand-in control plane that serves the package and keeps log lines."""

    def __init__(self) -> None:
        """Begin without log lines."""
        self.lines: list[dict[str, Any]] = []
        self.metrics: list[dict[str, Any]] = []

    async def post(self, path: str, value: Any) -> None:
        """Keep log lines, and metrics apart from them."""
        assert path == "telemetry"
        for item in value:
            (self.metrics if "namespace" in item else self.lines).append(item)

    async def get(self, path: str, **query: str) -> bytes:
        """Return the zip."""
        version = query.pop("version")
        assert version == "$LATEST" or version.isdecimal()
        assert (path, query) == ("code", {"function": "small", "region": "us-east-1"})
        return function_code.zipped()

    async def get_json(self, path: str, **query: str) -> dict[str, Any]:
        """Return credentials of the role."""
        assert (path, query["role"]) == ("credentials", FUNCTION.role)
        return {
            "AccessKeyId": "AK",
            "SecretAccessKey": "SK",
            "SessionToken": "ST",
            "Expiration": 1e12,
        }


class Plane:
    """The data plane and a client of it."""

    def __init__(
        self,
        functions: Functions,
        session: aiohttp.ClientSession,
        directory: Path,
        control: Control,
    ) -> None:
        """Take a data plane that has started."""
        self.functions, self.session, self.directory, self.control = (
            functions,
            session,
            directory,
            control,
        )

    def call(self, path: str, **options: Any) -> Any:
        """Return a request to the function's URL, as a context manager."""
        headers = {"Host": HOST, **options.pop("headers", {})}
        method = options.pop("method", "GET")
        return self.session.request(
            method, f"http://127.0.0.1:{self.functions.port()}{path}", headers=headers, **options
        )

    @property
    def environments(self) -> list[Environment]:
        """The execution environments of the function."""
        (found,) = self.functions._pools.values()
        return list(found._environments)

    async def at_rest(self) -> None:
        """Wait until no environment has work."""
        async with asyncio.timeout(60):
            while not all(one.at_rest for one in self.environments):  # noqa: ASYNC110 - other processes' work
                await asyncio.sleep(0.005)

    async def held(self, mark: Path, count: int = 1) -> None:
        """Wait until `count` calls of `/held` have begun.

        They end when the file `mark` exists. The function has its path as the variable MARK.
        """
        begun = mark.with_name(f"{mark.name}.begun")
        async with asyncio.timeout(60):
            while not begun.exists() or begun.stat().st_size < count:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.005)

    async def text(self, path: str, **options: Any) -> tuple[int, str]:
        """Call the URL. Return status and body."""
        async with self.call(path, **options) as answer:
            return answer.status, await answer.text()


@contextlib.asynccontextmanager
async def started(
    directory: Path, function: Function = FUNCTION, **options: Any
) -> AsyncIterator[Plane]:
    """Yield a data plane with one function deployed. `options` are the plane's."""
    (directory / "logs").mkdir()
    control = Control()
    functions = Functions(directory, "http://localhost:1", control, Plan(), **options)
    await functions.start()
    try:
        await functions.apply((function,))
        async with aiohttp.ClientSession() as session:
            yield Plane(functions, session, directory, control)
    finally:
        await functions.stop()
