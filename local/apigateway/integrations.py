"""Invokes the Lambda function of a route, as API Gateway does.

The function's policy must let `apigateway.amazonaws.com` invoke it for the route's ARN. Source:
"Set up a Lambda function's permissions" and "Set up asynchronous integrations" of the API Gateway
developer guide.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from local.apigateway import templates
from local.apigateway.config import Api, Integration
from local.faults.plan import Plan, Strike
from local.iam.policy import Need, Principal, Verdict, evaluate, parse
from local.limits import Limits

log = logging.getLogger("local.apigateway")

PRINCIPAL = "apigateway.amazonaws.com"


class Failed(Exception):
    """The integration failed. `status` and `message` are what API Gateway says of it."""

    def __init__(self, status: int, message: str) -> None:
        """Set what the client is told. The function's own error is in the log only, as on AWS."""
        super().__init__(message)
        self.status, self.message = status, message


class Invoker(Protocol):
    """Lambda's data plane. Functions are named by their ARN."""

    def policy(self, arn: str) -> str | None:
        """Return a function's policy as JSON, or None if there is no such function."""
        ...

    async def result(self, arn: str, event: bytes) -> bytes | None:
        """Invoke a function and return its result, None if it failed or was throttled."""
        ...

    def later(self, arn: str, event: bytes) -> None:
        """Invoke a function asynchronously."""
        ...


class Integrations:
    """Invokes the functions of routes, and does what faults on demand want."""

    def __init__(self, functions: Invoker, faults: Plan, limits: Limits) -> None:
        """Take `faults`, which may drop, delay, repeat and swap the invocations of routes."""
        self._functions = functions
        self._faults = faults
        self._limits = limits
        self._held: dict[str, list[Callable[[], Awaitable[object]]]] = {}

    async def invoke(
        self, api: Api, stage: str, route: str, to: Integration, event: dict[str, Any]
    ) -> bytes | None:
        """Invoke a route's function for an event; return its result, None if nothing waits for it.

        Raises Failed.
        """
        context = event["requestContext"]

        async def run() -> bytes | None:
            return await self._run(api, stage, route, to, event)

        strike = self._faults.strike("route", route)
        held = self._held.pop(context["connectionId"], [])
        try:
            if strike is None:
                return await run()
            strike.landed()
            return await self._struck(strike, context["connectionId"], run)
        finally:
            for other in held:
                await _quietly(other)

    async def _struck(
        self, strike: Strike, key: str, run: Callable[[], Awaitable[bytes | None]]
    ) -> bytes | None:
        if strike.kind == "message-dropped":
            return None
        if strike.kind == "message-swapped":
            self._held.setdefault(key, []).append(run)
            return None
        if strike.kind == "message-late":
            await asyncio.sleep(strike.fault.seconds)
            return await run()
        result = await run()  # message-repeated
        await _quietly(run)
        return result

    async def _run(
        self, api: Api, stage: str, route: str, to: Integration, event: dict[str, Any]
    ) -> bytes | None:
        policy = self._functions.policy(to.target)
        if policy is None:
            log.warning("route %s of %s: there is no function %s", route, api.id, to.target)
            raise Failed(500, "Internal server error")
        if reason := refusal(api, stage, route, to.target, policy):
            log.warning("AccessDenied: %s", reason)
            raise Failed(500, "Internal server error")
        data = (
            json.dumps(event)
            if to.template is None
            else templates.render(to.template, event["requestContext"], event.get("body", ""))
        )
        if to.is_event:
            self._functions.later(to.target, data.encode())
            return None
        seconds = min(to.timeout_s, self._limits.seconds("apigateway_integration"))
        try:
            async with asyncio.timeout(seconds):
                result = await self._functions.result(to.target, data.encode())
        except TimeoutError:
            log.warning("route %s of %s: no result within %g s", route, api.id, to.timeout_s)
            raise Failed(504, "Endpoint request timed out") from None
        if result is None:
            raise Failed(502, "Internal server error")
        return result

    def forget(self, key: str) -> None:
        """Drop the events that are held back for a connection."""
        self._held.pop(key, None)


async def _quietly(run: Callable[[], Awaitable[object]]) -> None:
    try:
        await run()
    except Failed as error:
        log.warning("an invocation by a fault failed: %s", error)


def refusal(api: Api, stage: str, route: str, function: str, policy: str) -> str | None:
    """Return the reason why an API may not invoke a function with a policy (JSON), or None."""
    source = (
        ("aws:SourceArn", (api.source(stage, route),)),
        ("aws:SourceAccount", (api.account,)),
    )
    need = Need("lambda:InvokeFunction", function, source)
    if evaluate(parse(policy), need, {}, Principal((PRINCIPAL,))) is Verdict.ALLOWED:
        return None
    return (
        f"{PRINCIPAL} is not authorized to perform: {need.action} on resource: {need.resource} "
        f"because no resource-based policy allows it for {api.source(stage, route)}"
    )
