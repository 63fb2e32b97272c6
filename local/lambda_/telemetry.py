"""The log of an execution environment: the output of its process, and Lambda's own lines.

Log group and stream, START, END and REPORT lines (or platform events, with the JSON log format) are
as in "Log formats" of the Lambda developer guide. Billed Duration includes the initialisation.
`Status: error` and its type are unconfirmed.
"""

import asyncio
import contextlib
import json
import math
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from local.lambda_ import tracing
from local.shipper import Shipper
from local.state import Function

# A longer line is cut, as CloudWatch Logs cuts an event of over 256 KB.
_LONGEST = 256 * 1024
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Report:
    """The end of one invocation.

    Times are in seconds, `memory` is in MB. `status` is success, error or timeout. `initialised` is
    set for the first invocation only.
    """

    duration: float
    status: str
    memory: int
    initialised: float | None = None
    kind: str | None = None


class LogStream:
    """The log stream of one environment. The same bytes also go to a file."""

    def __init__(self, function: Function, file: Path, shipper: Shipper) -> None:
        """Lines are appended to `file`."""
        self.group = function.log_group or f"/aws/lambda/{function.name}"
        day = time.strftime("%Y/%m/%d", time.gmtime())
        self.name = f"{day}/[{function.version}]{os.urandom(16).hex()}"
        self._function = function
        self._file = file
        self._shipper = shipper
        self._json = function.log_format == "JSON"

    async def copy(self, output: asyncio.StreamReader) -> None:
        """Copy the process's output line by line until it ends."""
        rest = b""
        with self._file.open("ab", buffering=0) as file:
            while data := await output.read(65536):
                file.write(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._line(line)
                if len(rest) > _LONGEST:
                    self._line(rest)
                    rest = b""
        if rest:
            self._line(rest)

    def _line(self, line: bytes) -> None:
        if line.strip():
            self.write(line[:_LONGEST].decode(errors="replace"))

    def write(self, message: str) -> None:
        """Write a line."""
        self._shipper.add(
            {
                "role": self._function.role,
                "session": self._function.name,
                "region": self._function.region,
                "group": self.group,
                "stream": self.name,
                "timestamp": time.time_ns() // 1_000_000,
                "message": message,
            }
        )

    def traced(self, trace: str, request_id: str, seconds: float, *, failed: bool) -> None:
        """Send the trace of an invocation that ended now and took `seconds`."""
        for item in tracing.items(
            self._function, trace, request_id, time.time() - seconds, failed=failed
        ):
            self._shipper.add(item)

    def started(self, request_id: str) -> None:
        """Write the line of an invocation that begins."""
        if self._json:
            version = self._function.version
            self._event("platform.start", {"requestId": request_id, "version": version})
        else:
            self.write(f"START RequestId: {request_id} Version: {self._function.version}")

    def timed_out(self, request_id: str, seconds: float) -> None:
        """Write the line of an invocation that its deadline ended."""
        self.write(f"{_now()} {request_id} Task timed out after {seconds:.2f} seconds")

    def ended(self, request_id: str, report: Report) -> None:
        """Write the lines of an invocation that ended, and send its metrics."""
        duration = report.duration * 1000
        self._measured(duration, failed=report.status != "success")
        initialised = (report.initialised or 0.0) * 1000
        billed = math.ceil(duration + initialised)
        size = self._function.memory
        if self._json:
            metrics: dict[str, Any] = {
                "durationMs": round(duration, 3),
                "billedDurationMs": billed,
                "memorySizeMB": size,
                "maxMemoryUsedMB": report.memory,
            }
            if report.initialised is not None:
                metrics["initDurationMs"] = round(initialised, 3)
            record = {"requestId": request_id, "metrics": metrics, "status": report.status}
            self._event(
                "platform.report", record | ({"errorType": report.kind} if report.kind else {})
            )
            return
        self.write(f"END RequestId: {request_id}")
        fields = [
            f"REPORT RequestId: {request_id}",
            f"Duration: {duration:.2f} ms",
            f"Billed Duration: {billed} ms",
            f"Memory Size: {size} MB",
            f"Max Memory Used: {report.memory} MB",
        ]
        if report.initialised is not None:
            fields.append(f"Init Duration: {initialised:.2f} ms")
        if report.status != "success":
            fields.append(f"Status: {report.status}")
        if report.kind:
            fields.append(f"Error Type: {report.kind}")
        self.write("\t".join(fields) + "\t")

    def _measured(self, duration: float, *, failed: bool) -> None:
        values = {"Invocations": 1.0, "Errors": float(failed), "Duration": duration}
        data = [
            {
                "MetricName": name,
                "Value": value,
                "Unit": "Milliseconds" if name == "Duration" else "Count",
                "Dimensions": [{"Name": "FunctionName", "Value": self._function.name}],
            }
            for name, value in values.items()
        ]
        self._shipper.add(
            {"region": self._function.region, "namespace": "AWS/Lambda", "data": data}
        )

    def initialisation_timed_out(self, seconds: float) -> None:
        """Write the line of an initialisation that took too long and is repeated."""
        self.write(
            f"INIT_REPORT Init Duration: {seconds * 1000:.2f} ms\tPhase: init\tStatus: timeout"
        )

    def _event(self, kind: str, record: dict[str, Any]) -> None:
        self.write(json.dumps({"time": _now(), "type": kind, "record": record}))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def resident_by_group() -> dict[int, int]:
    """Return the resident memory of each process group in bytes, by its leader's process id.

    The result is empty on a system without /proc.
    """
    totals: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # After the name in parentheses, which may have any characters, come state, parent,
            # group, and as the 22nd the resident pages.
            fields = path.read_text().rpartition(")")[2].split()
            group = int(fields[2])
            totals[group] = totals.get(group, 0) + int(fields[21]) * _PAGE
    return totals


def peak(pid: int) -> int:
    """Return the peak memory of a process in bytes, or 0 on a system without /proc."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
