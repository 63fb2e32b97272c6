"""The data plane of Lambda functions: their environments at the desired state, and the listener of their URLs."""

import asyncio
import logging
import time
import zipfile
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from local import listeners
from local.faults.plan import Plan
from local.functions.code import Codes, unpack
from local.functions.environment import Launch, unsupported
from local.functions.pool import Pool, same_environment
from local.functions.response import FunctionError
from local.functions.url import handler
from local.state import Function

log = logging.getLogger("local.functions")

# Credentials are fetched anew so long before they expire.
_REFRESH_S = 600.0


class Control(Codes, Protocol):
    """Reads code and credentials through the control plane."""

    async def get_json(self, what: str, **query: str) -> dict[str, Any]:
        """Credentials."""


class Functions:
    """All functions."""

    def __init__(self, directory: Path, endpoint_url: str, control: Control, faults: Plan) -> None:
        """`endpoint_url` is what the functions use for AWS."""
        self._faults = faults
        self._directory = directory
        self._endpoint_url = endpoint_url
        self._control = control
        self._pools: dict[str, Pool] = {}
        self._hosts: dict[str, Pool] = {}
        self._retired: list[Pool] = []
        self._credentials: dict[str, tuple[float, dict[str, str]]] = {}
        self._unpacking = asyncio.Lock()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def start(self) -> None:
        """Listen."""
        app = web.Application(client_max_size=0)
        app.router.add_route("*", "/{path:.*}", handler(self._hosts.get, self._faults))  # type: ignore[arg-type] # returns a coroutine
        sock = listeners.bind([0])
        self._port = int(sock.getsockname()[1])
        # A client that goes away does not end its invocation: see url._send.
        self._runner = await listeners.serve(app, sock, cancel=False)

    async def stop(self) -> None:
        """Stop all environments and the listener."""
        await asyncio.gather(*(pool.stop() for pool in (*self._pools.values(), *self._retired)))
        if self._runner is not None:
            await self._runner.cleanup()

    def port(self) -> int:
        """Where the URLs are served."""
        return self._port

    async def apply(self, wanted: tuple[Function, ...]) -> None:
        """Take over what is deployed: changed functions get new environments, deleted ones lose theirs."""
        by_arn = {function.arn: function for function in wanted}
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
                self._pools[arn] = Pool(function, self._launch)
                if reason := unsupported(function):
                    log.warning("%s", reason)
        self._hosts.clear()
        self._hosts.update({pool.function.host: pool for pool in self._pools.values() if pool.function.host})

    def status(self) -> list[dict[str, Any]]:
        """For `/_local/status`."""
        return [
            {"name": pool.function.name, "url": pool.function.url, "environments": len(pool)}
            for pool in self._pools.values()
        ]

    async def _launch(self, function: Function) -> Launch:
        try:
            async with self._unpacking:
                code = await unpack(self._control, function, self._directory)
            credentials = await self._role(function)
        except (OSError, zipfile.BadZipFile, RuntimeError) as error:
            raise FunctionError("Runtime.InvalidCode", str(error)) from error
        log_file = self._directory / "logs" / f"function-{function.name}.log"
        return Launch(function, code, log_file, self._endpoint_url, credentials)

    async def _role(self, function: Function) -> dict[str, str]:
        expires, found = self._credentials.get(function.role, (0.0, {}))
        if expires - time.time() < _REFRESH_S:
            got = await self._control.get_json("credentials", role=function.role, session=function.name)
            found = {
                "AWS_ACCESS_KEY_ID": got["AccessKeyId"],
                "AWS_SECRET_ACCESS_KEY": got["SecretAccessKey"],
                "AWS_SESSION_TOKEN": got["SessionToken"],
            }
            self._credentials[function.role] = (float(got["Expiration"]), found)
        return found
