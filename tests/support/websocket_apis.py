"""WebSocket APIs for tests of the local cloud: one in CloudFormation's form, and a data plane."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
from aiohttp import web

from local.apigateway.server import Gateways
from local.faults.plan import Plan
from local.iam.policy import Need
from local.limits import Limits
from tests.support.sockets import web_sockets

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:socket"
URI = f"arn:aws:apigateway:us-east-1:lambda:path/2015-03-31/functions/{FUNCTION}/invocations"
POLICY = json.dumps(
    {
        "Statement": {
            "Effect": "Allow",
            "Principal": {"Service": "apigateway.amazonaws.com"},
            "Action": "lambda:InvokeFunction",
            "Resource": "*",
            "Condition": {
                "ArnLike": {"AWS:SourceArn": "arn:aws:execute-api:us-east-1:123456789012:api1/*"}
            },
        }
    }
)
EVENT = {
    "IntegrationType": "AWS",
    "IntegrationMethod": "POST",
    "IntegrationUri": URI,
    "RequestParameters": {"integration.request.header.X-Amz-Invocation-Type": "'Event'"},
    "TemplateSelectionExpression": "\\$default",
    "RequestTemplates": {
        "$default": '{"id": "$context.connectionId", "type": "$context.eventType",'
        ' "body": "$util.base64Encode($input.body)"}'
    },
}
PROXY = {"IntegrationType": "AWS_PROXY", "IntegrationUri": URI}


def api(**stage: Any) -> dict[str, Any]:
    """Return an API with a stage `prod`; `stage` has further properties of it."""
    routes = {"$connect": "one", "$default": "two", "$disconnect": "two", "sync": "one"}
    return {
        "id": "api1",
        "account": "123456789012",
        "region": "us-east-1",
        "properties": {"RouteSelectionExpression": "$request.body.action"},
        "integrations": {"one": PROXY, "two": EVENT},
        "routes": {
            key: {"RouteKey": key, "Target": f"integrations/{to}"} for key, to in routes.items()
        },
        "stages": {"prod": {"StageName": "prod", "AutoDeploy": True, **stage}},
        "deployments": {},
    }


class Functions:
    """A stand-in for Lambda. `answer` makes the result of a synchronous invocation."""

    def __init__(self) -> None:
        """Accept every connection."""
        self.answer: Callable[[dict[str, Any]], Any] = lambda _event: {"statusCode": 200}
        self.invoked: list[dict[str, Any]] = []
        self.later_invoked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._policy = POLICY

    def policy(self, arn: str) -> str | None:
        """Return the policy of the one function."""
        return self._policy if arn == FUNCTION else None

    async def result(self, _arn: str, event: bytes) -> bytes | None:
        """Return what `answer` makes of the event."""
        self.invoked.append(json.loads(event))
        result = self.answer(self.invoked[-1])
        if asyncio.iscoroutine(result):
            result = await result
        if result is None or isinstance(result, bytes):
            return result
        return json.dumps(result).encode()

    def later(self, _arn: str, event: bytes) -> None:
        """Keep the event of an asynchronous invocation."""
        self.later_invoked.put_nowait(json.loads(event))

    def permit(self, api: str) -> None:
        """Allow the API with an id to invoke the function, and no other."""
        self._policy = POLICY.replace("api1", api)


class Shipped:
    """Takes what the data plane tells CloudWatch."""

    def __init__(self) -> None:
        """Nothing has come."""
        self.items: list[dict[str, Any]] = []

    def add(self, item: dict[str, Any]) -> None:
        """Keep an item."""
        self.items.append(item)

    async def flush(self) -> None:
        """Do nothing."""


class Plane:
    """A data plane with one API, and a client of it. `now` is its clock."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        """Make the data plane."""
        self.now = 1000.0
        self.functions = Functions()
        self.faults = Plan()
        self.shipped = Shipped()
        self.denied: web.Response | None = None
        self.needs: list[Need] = []
        self._session = session
        shipper: Any = self.shipped
        self.gateways = Gateways(
            self.functions,
            self._permit,
            self.faults,
            limits=Limits(),
            shipper=shipper,
            clock=lambda: self.now,
        )

    async def _permit(self, _request: web.Request, service: str, need: Need) -> web.Response | None:
        assert service == "execute-api"
        self.needs.append(need)
        return self.denied

    @property
    def url(self) -> str:
        """The address of the API's stage over HTTP."""
        endpoint: str = self.gateways.observe()["api1"]["endpoint"]
        return f"{endpoint.replace('ws://', 'http://')}/prod"

    async def connect(self, query: str = "", **options: Any) -> aiohttp.ClientWebSocketResponse:
        """Open a connection."""
        opened: aiohttp.ClientWebSocketResponse = await self._session.ws_connect(
            f"{self.url}{query}", **options
        )
        return opened

    async def call(self, method: str, key: str, data: bytes = b"") -> tuple[int, str]:
        """Call `@connections`; return the status and the kind of error, which may be empty."""
        url = f"{self.url}/@connections/{key.replace('=', '%3D')}"
        async with self._session.request(method, url, data=data or None) as response:
            await response.read()
            return response.status, response.headers.get("x-amzn-ErrorType", "")

    async def event(self) -> dict[str, Any]:
        """Return the next event of an asynchronous invocation."""
        async with asyncio.timeout(60):
            return await self.functions.later_invoked.get()


@contextlib.asynccontextmanager
async def started(content: dict[str, Any] | None = None) -> AsyncIterator[Plane]:
    """Yield a data plane with one API deployed."""
    async with web_sockets() as session:
        plane = Plane(session)
        await plane.gateways.start()
        try:
            await plane.gateways.apply((content or api(),))
            yield plane
        finally:
            await plane.gateways.stop()
