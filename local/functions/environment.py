"""One execution environment: a process of the deployed code and its Runtime API."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local import processes
from local.functions.response import FunctionError, Invocation
from local.functions.runtime_api import RuntimeApi
from local.state import Function

# The interpreter of the machine, not of our virtual environment: what the package lacks is missing, as on AWS.
INTERPRETER: str = getattr(sys, "_base_executable", sys.executable)
# What AWS gives a wrapper after the interpreter's path.
_BOOTSTRAP = "/var/runtime/bootstrap.py"
TASK_ROOT = "/var/task"
# AWS starts an initialisation that takes 10 s again within the invocation's own time; here it simply goes on.
_INIT_S = 10.0


@dataclass(frozen=True)
class Launch:
    """All that a new environment of a function needs."""

    function: Function
    code: Path
    log: Path
    endpoint_url: str
    credentials: dict[str, str]


def unsupported(function: Function) -> str | None:
    """Why the function cannot be run here, or None."""
    if "AWS_LAMBDA_EXEC_WRAPPER" not in function.environment:
        return (
            f"the local cloud cannot run {function.name}: it runs functions with AWS_LAMBDA_EXEC_WRAPPER only, "
            f"not the managed {function.runtime or 'image'} runtime's own loop"
        )
    return None


def variables(launch: Launch, runtime_api: str) -> dict[str, str]:
    """The environment of the process: the deployed variables and AWS's own, nothing of ours."""
    function = launch.function
    deployed = {name: _mapped(value, launch.code) for name, value in function.environment.items()}
    return {
        "PATH": f"{Path(INTERPRETER).parent}:/usr/local/bin:/usr/bin:/bin",
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "PYTHONNOUSERSITE": "1",
        **deployed,
        "AWS_ENDPOINT_URL": launch.endpoint_url,
        "AWS_REGION": function.region,
        "AWS_DEFAULT_REGION": function.region,
        **launch.credentials,
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d')}/[$LATEST]{os.urandom(16).hex()}",
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "AWS_EXECUTION_ENV": f"AWS_Lambda_{function.runtime}",
        "LAMBDA_TASK_ROOT": str(launch.code),
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "_HANDLER": function.handler,
    }


def _mapped(value: str, code: Path) -> str:
    if value == TASK_ROOT or value.startswith(TASK_ROOT + "/"):
        return str(code) + value.removeprefix(TASK_ROOT)
    return value


class Environment:
    """One environment, for one invocation at a time.

    `on_idle` is called when it asks for an invocation, `on_end` once when its process is gone.
    """

    def __init__(
        self, launch: Launch, on_idle: Callable[["Environment"], None], on_end: Callable[["Environment"], None]
    ) -> None:
        """Nothing runs yet."""
        self.function = launch.function
        self._launch = launch
        self._on_idle = on_idle
        self._on_end = on_end
        self._api = RuntimeApi(self._asked, self._init_failed)
        self._process: asyncio.subprocess.Process | None = None
        self._asked_once = asyncio.Event()
        self._init_error: str | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._invocation: Invocation | None = None
        self.idle_since = 0.0

    @property
    def finishing(self) -> bool:
        """Whether the answer is complete, but the next invocation has not been asked for yet."""
        return self._invocation is not None and self._invocation.response.over

    async def start(self) -> None:
        """Start the process and wait until it asks for its first invocation. Raises FunctionError."""
        port = await self._api.start()
        environment = variables(self._launch, f"127.0.0.1:{port}")
        command = [environment["AWS_LAMBDA_EXEC_WRAPPER"], INTERPRETER, _BOOTSTRAP]
        try:
            with self._launch.log.open("ab") as output:
                self._process = await processes.start(
                    command, environment=environment, directory=self._launch.code, output=output
                )
        except OSError as error:
            self._api.stop()
            raise FunctionError("Runtime.InvalidEntrypoint", f"{command[0]}: {error}") from error
        self._watcher = asyncio.create_task(self._watch(self._process))
        asked = asyncio.create_task(self._asked_once.wait())
        await asyncio.wait(
            [asked, self._watcher],
            timeout=max(_INIT_S, self.function.timeout),
            return_when=asyncio.FIRST_COMPLETED,
        )
        asked.cancel()
        if self._init_error is not None or not self._asked_once.is_set():
            ended = self._watcher.done()
            await self.stop()
            if self._init_error is not None:
                raise FunctionError("Runtime.InitError", self._init_error)
            if ended:
                lines = processes.last_lines(self._launch.log, 2)
                raise FunctionError("Runtime.ExitError", f"{self._exit()} during initialisation: {lines}")
            raise FunctionError("Sandbox.Timedout", "the initialisation took too long")

    def invoke(self, invocation: Invocation) -> None:
        """Hand over an invocation; only while it is idle."""
        remaining = invocation.deadline / 1000 - time.time()
        self._timer = asyncio.get_running_loop().call_later(max(0.0, remaining), self._timed_out)
        self._invocation = invocation
        invocation.response.taken(self._kill)
        self._api.offer(invocation)

    async def stop(self) -> None:
        """Kill the process: a Lambda function without extensions is given no time either."""
        self._clear_timer()
        if self._process is not None:
            await processes.stop(self._process, grace=0)
        if self._watcher is not None:
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._api.stop()

    def _asked(self) -> None:
        self._clear_timer()
        self._invocation = None
        self.idle_since = asyncio.get_running_loop().time()
        first = not self._asked_once.is_set()
        self._asked_once.set()
        if not first:
            self._on_idle(self)

    def _init_failed(self, reason: str) -> None:
        self._init_error = reason
        self._asked_once.set()

    def _timed_out(self) -> None:
        self._api.fail(FunctionError("Sandbox.Timedout", f"Task timed out after {self.function.timeout:.2f} seconds"))
        self._kill()

    def _kill(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _clear_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._clear_timer()
        self._api.fail(FunctionError("Runtime.ExitError", self._exit()))
        self._api.stop()
        if self._asked_once.is_set():
            self._on_end(self)

    def _exit(self) -> str:
        status = self._process.returncode if self._process is not None else None
        return f"the runtime exited with status {status}"
