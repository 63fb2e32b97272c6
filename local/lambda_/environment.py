"""One execution environment: a process of the deployed code and its Runtime API.

An environment without an invocation is frozen: every process of its group is stopped (SIGSTOP)
until the next invocation.
"""

import asyncio
import contextlib
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from local import processes
from local.lambda_.launch import Launch, command, variables
from local.lambda_.response import FunctionError, Invocation
from local.lambda_.runtime_api import RuntimeApi
from local.lambda_.telemetry import LogStream, Report, peak

# Seconds for which an invocation's REPORT line waits for output that is still in the pipe.
_REPORT_AFTER_S = 0.02
# Seconds for which the output of an ended process is read on. A process that it started may keep
# the pipe open.
_OUTPUT_S = 0.5


@dataclass
class _Running:
    """An invocation that the process is handling."""

    invocation: Invocation
    began: float
    timer: asyncio.TimerHandle
    initialised: float | None


class Environment:
    """One environment, for `launch.concurrency` invocations at a time.

    `on_idle` is called whenever the process asks for a further invocation, `on_end` once when it
    has ended.
    """

    def __init__(
        self,
        launch: Launch,
        on_idle: Callable[["Environment"], None],
        on_end: Callable[["Environment"], None],
    ) -> None:
        """Nothing runs yet."""
        self.function = launch.function
        self.access_key = launch.credentials.get("AWS_ACCESS_KEY_ID", "")
        self._launch = launch
        self._on_idle = on_idle
        self._on_end = on_end
        self._log = LogStream(launch.function, launch.log, launch.shipper)
        self._api = RuntimeApi(self._on_next, self._init_failed, launch.concurrency)
        self._process: asyncio.subprocess.Process | None = None
        self._output: asyncio.Task[None] | None = None
        self._first_request = asyncio.Event()
        self._init_error: str | None = None
        self._initialised: float | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._running: dict[str, _Running] = {}
        self._reports: list[tuple[asyncio.TimerHandle, Callable[[], None]]] = []
        self._killed_for: FunctionError | None = None
        self._peak = 0
        self.frozen = False
        self.idle_since = 0.0

    @property
    def busy(self) -> int:
        """The number of invocations whose response is not complete."""
        return sum(not running.invocation.response.over for running in self._running.values())

    @property
    def finishing(self) -> bool:
        """Whether a response is complete, but the process has not asked for the next invocation."""
        return any(running.invocation.response.over for running in self._running.values())

    @property
    def at_rest(self) -> bool:
        """Whether no invocation is in progress."""
        return not self._running

    async def start(self) -> None:
        """Start the process and wait until it asks for its first invocation.

        An initialisation that takes too long is repeated once, within the function's own timeout.

        Raises FunctionError.
        """
        limits = self._launch.limits
        if await self._initialise(limits.seconds("lambda_init")):
            return
        self._log.initialisation_timed_out(limits.seconds("lambda_init"))
        self._api = RuntimeApi(self._on_next, self._init_failed, self._launch.concurrency)
        if not await self._initialise(limits.real(self.function.timeout)):
            raise FunctionError("Sandbox.Timedout", "the initialisation took too long")

    async def _initialise(self, seconds: float) -> bool:
        began = time.monotonic()
        port = await self._api.start()
        environment = variables(self._launch, f"127.0.0.1:{port}", self._log.group, self._log.name)
        argv = command(environment)
        try:
            process = await processes.start(
                argv,
                environment=environment,
                directory=self._launch.code,
                output=asyncio.subprocess.STDOUT,
                stdout=asyncio.subprocess.PIPE,
            )
        except OSError as error:
            self._api.stop()
            raise FunctionError("Runtime.InvalidEntrypoint", f"{argv[0]}: {error}") from error
        assert process.stdout is not None  # noqa: S101 - it was asked for
        self._process = process
        self._output = asyncio.create_task(self._log.copy(process.stdout))
        self._watcher = asyncio.create_task(self._watch(process))
        first_request = asyncio.create_task(self._first_request.wait())
        await asyncio.wait(
            [first_request, self._watcher], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
        )
        first_request.cancel()
        if self._init_error is None and self._first_request.is_set():
            self._initialised = time.monotonic() - began
            return True
        ended = self._watcher.done()
        await self.stop()
        if self._init_error is not None:
            raise FunctionError("Runtime.InitError", self._init_error)
        if ended:
            lines = processes.last_lines(self._launch.log, 2)
            raise FunctionError(
                "Runtime.ExitError", f"{self._exit()} during initialisation: {lines}"
            )
        return False

    def invoke(self, invocation: Invocation) -> None:
        """Pass an invocation to the process, which must be waiting for one.

        The function's timeout counts from here.
        """
        self._write_reports()
        timeout = self._launch.limits.real(self.function.timeout)
        invocation.deadline = int((time.time() + timeout) * 1000)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(timeout, self._timed_out, invocation.id)
        self._running[invocation.id] = _Running(
            invocation, time.monotonic(), timer, self._initialised
        )
        self._initialised = None
        self._log.started(invocation.id)
        if self.frozen:
            self._signal(signal.SIGCONT)
            self.frozen = False
        invocation.response.taken(self.kill)
        self._api.offer(invocation)

    def kill(self) -> None:
        """Send SIGKILL to the process, even during an invocation."""
        self._signal(signal.SIGKILL)

    def freeze(self) -> None:
        """Stop all processes of the environment until the next invocation.

        An environment for several invocations is never frozen.
        """
        if self._launch.concurrency == 1 and not self.frozen:
            self._signal(signal.SIGSTOP)
            self.frozen = True

    def check_memory(self, used: Mapping[int, int]) -> None:
        """Kill the environment if its processes together exceed the function's memory.

        `used` is the memory in bytes by process group.
        """
        if self._process is None or self.frozen:
            return
        now = used.get(self._process.pid, 0)
        self._peak = max(self._peak, now)
        if now > self.function.memory * 2**20:
            self._kill(
                FunctionError("Runtime.OutOfMemory", "Runtime exited with error: signal: killed")
            )

    async def stop(self) -> None:
        """Kill the process at once, as Lambda does with a function without extensions."""
        for running in self._running.values():
            running.timer.cancel()
        if self._process is not None:
            await processes.stop(self._process, grace=0)
        if self._watcher is not None:
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._api.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def _on_next(self) -> None:
        for running in [
            running for running in self._running.values() if running.invocation.response.over
        ]:
            self._finish(running, None)
        self.idle_since = asyncio.get_running_loop().time()
        is_first = not self._first_request.is_set()
        self._first_request.set()
        if not is_first:
            self._on_idle(self)

    def _finish(self, running: _Running, error: FunctionError | None) -> None:
        """Write the end of an invocation; `error` is set if the process was killed or died."""
        running.timer.cancel()
        del self._running[running.invocation.id]
        error = error or running.invocation.response.error
        kind = error.kind if error else None
        status = (
            "success" if error is None else "timeout" if kind == "Sandbox.Timedout" else "error"
        )
        memory = (
            math.ceil(max(self._peak, peak(self._process.pid)) / 2**20)
            if self._process is not None
            else 0
        )
        if kind == "Runtime.OutOfMemory":
            memory = self.function.memory
        duration = time.monotonic() - running.began
        report = Report(
            duration, status, memory, running.initialised, kind if status == "error" else None
        )

        def write() -> None:
            self._log.ended(running.invocation.id, report)

        self._log.traced(
            running.invocation.trace_id, running.invocation.id, duration, failed=error is not None
        )
        handle = asyncio.get_running_loop().call_later(_REPORT_AFTER_S, self._write_reports)
        self._reports.append((handle, write))

    def _write_reports(self) -> None:
        reports, self._reports = self._reports, []
        for handle, write in reports:
            handle.cancel()
            write()

    def _init_failed(self, reason: str) -> None:
        self._init_error = reason
        self._first_request.set()

    def _timed_out(self, request_id: str) -> None:
        error = FunctionError(
            "Sandbox.Timedout", f"Task timed out after {self.function.timeout:.2f} seconds"
        )
        self._log.timed_out(request_id, self.function.timeout)
        if self._launch.concurrency > 1:
            # AWS does not document what happens to the process's other invocations. Here they go
            # on.
            self._running[request_id].invocation.response.fail(error)
            return
        self._signal(signal.SIGSTOP)
        self._kill(error)

    def _kill(self, error: FunctionError) -> None:
        self._killed_for = error
        self._api.fail(error)
        self._signal(signal.SIGKILL)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        error = self._killed_for or FunctionError("Runtime.ExitError", self._exit())
        self._api.fail(error)
        self._api.stop()
        if self._output is not None:
            await asyncio.wait([self._output], timeout=_OUTPUT_S)
            self._output.cancel()
        for running in list(self._running.values()):
            self._finish(running, error)
        self._write_reports()
        if self._first_request.is_set():
            self._on_end(self)

    def _exit(self) -> str:
        status = self._process.returncode if self._process is not None else None
        if status is not None and status < 0:
            return f"Runtime exited with error: signal: {signal.Signals(-status).name}"
        return f"Runtime exited with error: exit status {status}"
