"""The data plane of Lambda: the functions' environments, and the listener of their URLs."""

import asyncio
import contextlib
import logging
import zipfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from local import listeners, trust
from local.faults.plan import Plan
from local.lambda_.aliases import AddressBook, Target
from local.lambda_.api import Invoker, result
from local.lambda_.code import Codes, unpack
from local.lambda_.custom_resources import CustomResources
from local.lambda_.launch import Launch, unsupported
from local.lambda_.pool import Pool, Throttled, same_environment
from local.lambda_.response import FunctionError
from local.lambda_.schedules import Schedules
from local.lambda_.telemetry import resident_by_group
from local.lambda_.url import failed, handler
from local.limits import Limits
from local.shipper import Shipper
from local.state import Alias, Function, Schedule

log = logging.getLogger("local.lambda_")

# Interval in seconds at which the memory of environments is checked.
_MEMORY_S = 0.25
# In bytes, the same as at a distribution.
_LONGEST_HEAD = 65_536


class Control(Codes, Protocol):
    """Requests to the control plane."""

    async def get_json(self, path: str, **query: str) -> dict[str, Any]:
        """Return credentials."""

    async def post(self, path: str, value: object) -> None:
        """Send log lines."""


class Functions:
    """All functions."""

    def __init__(
        self,
        directory: Path,
        endpoint_url: str,
        control: Control,
        faults: Plan,
        *,
        limits: Limits | None = None,
        concurrency: int = 1,
        permitted: Callable[[Schedule, str], str | None] = lambda _schedule, _policy: None,
        refused: Callable[[str, str], str | None] = lambda _role, _function: None,
        send: Callable[[list[dict[str, Any]]], Awaitable[None]] | None = None,
    ) -> None:
        """`endpoint_url` is the address of AWS for the functions.

        `concurrency` is how many invocations one environment takes at once; more than one is as on
        Managed Instances. `permitted` returns the reason why a schedule may not invoke a function
        with a policy (JSON), or None; `refused` the one why a role may not invoke a function.
        `send` takes log lines and traces.
        """
        # By this secret, URLs know requests that came through the edge.
        self.hop = trust.token()
        self._faults = faults
        self._limits = limits or Limits()
        self._concurrency = concurrency
        self._shipper = Shipper(send or self._send_lines)
        self._memory: asyncio.Task[None] | None = None
        self._directory = directory
        self._endpoint_url = endpoint_url
        self._control = control
        self._pools: dict[str, Pool] = {}
        self._addresses = AddressBook()
        self._invoker = Invoker(self._addresses.named, faults, self._limits, refused)
        self._permitted = permitted
        self._schedules = Schedules(self._fire, self._limits)
        self._retired: list[Pool] = []
        self._aliases: tuple[Alias, ...] = ()
        self._unpacking = asyncio.Lock()
        self._runner: web.ServerRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen for requests to function URLs."""
        handle = handler(self._addresses.at, self._faults, self._limits, self.hop, self._count)
        sock = listeners.bind([0])
        self._port = int(sock.getsockname()[1])
        # A client that disconnects does not end its invocation: see url._send.
        self._runner = await listeners.serve_plane(
            handle,
            sock,
            fail=failed,
            cancel=False,
            longest_head=_LONGEST_HEAD,
            body_s=self._limits.seconds("request_body"),
        )
        self._memory = asyncio.create_task(self._watch_memory())

    async def rest(self, seconds: float) -> None:
        """Return when no invocation is in progress, or after so many seconds.

        No schedule begins one any more.
        """
        await self._schedules.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(pool.at_rest for pool in self._all):
                    await asyncio.gather(*(pool.rest() for pool in self._all))

    async def stop(self) -> None:
        """Stop all environments and the listener."""
        await self._schedules.stop()
        await self._invoker.stop()
        if self._memory is not None:
            self._memory.cancel()
            await asyncio.gather(self._memory, return_exceptions=True)
        await asyncio.gather(*(pool.stop() for pool in self._all))
        await self._shipper.flush()
        if self._runner is not None:
            await self._runner.cleanup()

    def port(self) -> int:
        """Return the port of the function URLs."""
        return self._port

    def custom_resources(self, keys: trust.Keys) -> CustomResources:
        """Return what invokes the functions of custom resources. `keys` are the developer's."""
        return CustomResources(
            self._invoker.target,
            self._invoker.later,
            endpoint_url=self._endpoint_url,
            keys=keys,
        )

    @property
    def invoke(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The handler of lambda:Invoke."""
        return self._invoker.handle

    def kill(self, access_key: str) -> bool:
        """Send SIGKILL to the environment with an access key; return whether there is one."""
        return any(pool.kill(access_key) for pool in self._all)

    def schedule(self, schedules: tuple[Schedule, ...]) -> None:
        """Use the deployed schedules."""
        self._schedules.apply(schedules)

    async def _fire(self, schedule: Schedule, event: bytes) -> None:
        target = self._invoker.target(schedule.target)
        if reason := self._permitted(schedule, target.function.policy):
            log.warning("AccessDenied: %s", reason)
            return
        self._invoker.later(schedule.target, event)

    def policy(self, arn: str) -> str | None:
        """Return the policy of the function with an ARN as JSON, None if there is none."""
        try:
            return self._invoker.target(arn).function.policy
        except FunctionError:
            return None

    async def result(self, arn: str, event: bytes) -> bytes | None:
        """Invoke a function for another service; return its result, None if it failed."""
        try:
            return await result(self._invoker.target(arn), event)
        except (FunctionError, Throttled) as error:
            log.warning("function %s: %r", arn, error)
            return None

    def later(self, arn: str, event: bytes) -> None:
        """Invoke a function for another service, asynchronously."""
        self._invoker.later(arn, event)

    async def apply(self, functions: tuple[Function, ...], aliases: tuple[Alias, ...] = ()) -> None:
        """Use the deployed functions.

        A changed function gets new environments, and a deleted function loses its own.
        """
        by_arn = {function.arn: function for function in functions}
        self._retired = [pool for pool in self._retired if len(pool)]
        for arn, pool in list(self._pools.items()):
            if arn not in by_arn:
                log.info("function %s: deleted", pool.function.name)
                await self._pools.pop(arn).stop()
            elif not same_environment(pool.function, by_arn[arn]):
                log.info("function %s: changed, new environments", pool.function.name)
                self._retired.append(self._pools.pop(arn))
                await pool.retire()
        for arn, function in by_arn.items():
            if arn in self._pools:
                self._pools[arn].set_concurrency(function)
            else:
                self._pools[arn] = Pool(
                    function,
                    self._launch,
                    function.concurrency or self._concurrency,
                    partial(self._invocations_of_others, arn, function.name),
                )
                if reason := unsupported(function):
                    log.warning("%s", reason)
        self._aliases = aliases
        self._addresses.update(self._pools.values(), aliases)
        led_to = {(alias.function, version) for alias in aliases for version in alias.weights}
        for pool in list(self._pools.values()):
            function = pool.function
            if function.version != "$LATEST":
                await pool.use((function.name, function.version) in led_to)

    def status(self) -> list[dict[str, Any]]:
        """Return the functions for `/_local/status`; `versions` are those with environments."""
        urls = {alias.function: alias.url for alias in self._aliases if alias.url}
        return [
            {
                "name": pool.function.name,
                "url": pool.function.url or urls.get(pool.function.name),
                "environments": sum(len(one) for one in self._of(pool.function.name)),
                "versions": [
                    one.function.version for one in self._of(pool.function.name) if len(one)
                ],
            }
            for pool in self._pools.values()
            if pool.function.version == "$LATEST"
        ]

    @property
    def _all(self) -> list[Pool]:
        return [*self._pools.values(), *self._retired]

    def _of(self, name: str) -> list[Pool]:
        return [pool for pool in self._pools.values() if pool.function.name == name]

    def _invocations_of_others(self, arn: str, name: str) -> int:
        return sum(pool.invocations for pool in self._of(name) if pool.function.arn != arn)

    def _count(self, target: Target, metric: str, value: float = 1.0) -> None:
        """Send a metric to CloudWatch, as Lambda itself does: no role is needed.

        Each environment counts the errors of its function by name alone.
        """
        function = target.function
        by_name = [{"Name": "FunctionName", "Value": function.name}]
        by_resource = [*by_name, {"Name": "Resource", "Value": target.resource}]
        sets = [by_resource] if metric == "Errors" else [by_name, by_resource]
        if target.resource != function.name:
            version = {"Name": "ExecutedVersion", "Value": function.version}
            sets.append([*by_resource, version])
        data = [
            {"MetricName": metric, "Dimensions": one, "Value": value, "Unit": "Count"}
            for one in sets
        ]
        self._shipper.add({"region": function.region, "namespace": "AWS/Lambda", "data": data})

    async def _launch(self, function: Function) -> Launch:
        try:
            async with self._unpacking:
                code = await unpack(self._control, function, self._directory)
            credentials = await self._role(function)
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise FunctionError("Runtime.InvalidCode", str(error)) from error
        log_file = self._directory / "logs" / f"function-{function.name}.log"
        return Launch(
            function,
            code,
            log_file,
            self._endpoint_url,
            credentials,
            self._shipper,
            self._limits,
            function.concurrency or self._concurrency,
        )

    async def _send_lines(self, lines: list[dict[str, Any]]) -> None:
        await self._control.post("telemetry", lines)

    async def _watch_memory(self) -> None:
        while True:
            await asyncio.sleep(_MEMORY_S)
            pools = [pool for pool in self._all if pool.at_work]
            used = resident_by_group() if pools else {}
            for pool in pools:
                pool.check_memory(used)

    async def _role(self, function: Function) -> dict[str, str]:
        # As on AWS, each environment has its own credentials, which identify the environment that
        # made a call.
        credentials = await self._control.get_json(
            "credentials", role=function.role, session=function.name
        )
        return {
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }
