"""The log and the metrics of an endpoint, which SageMaker writes as the execution role.

The log is the containers' output, in the group /aws/sagemaker/Endpoints/NAME with a stream for each
instance. The metrics are those of invocations, in AWS/SageMaker by endpoint and variant. Sources:
the SageMaker developer guide, "Log groups and streams that Amazon SageMaker AI logs" and "SageMaker
AI endpoint invocation metrics".
"""

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from local.state import Endpoint, Variant

# Interval in seconds at which the file that a container writes to is read.
_EVERY_S = 0.25
# A longer line is cut, as CloudWatch Logs cuts an event of over 256 KB.
_LONGEST = 256 * 1024

Add = Callable[[dict[str, Any]], None]


def _common(endpoint: Endpoint, variant: Variant) -> dict[str, Any]:
    return {"role": variant.role, "session": "SageMaker", "region": endpoint.region}


def invocation(
    endpoint: Endpoint, variant: Variant, status: int, seconds: float, running: int
) -> dict[str, Any]:
    """Return the metrics of one invocation.

    `status` is the container's, and `seconds` is the time until its response began. `running` is
    the number of invocations at that time.
    """
    dimensions = [
        {"Name": "EndpointName", "Value": endpoint.name},
        {"Name": "VariantName", "Value": variant.name},
    ]
    if endpoint.component:
        dimensions = [{"Name": "InferenceComponentName", "Value": endpoint.component}]
    values = {
        f"ConcurrentRequestsPer{'Copy' if endpoint.component else 'Model'}": (
            float(running),
            "Count",
        ),
        "Invocations": (1.0, "None"),
        "Invocation4XXErrors": (float(400 <= status < 500), "None"),
        "Invocation5XXErrors": (float(status >= 500 or status == 0), "None"),
        "ModelLatency": (seconds * 1e6, "Microseconds"),
    }
    data = [
        {"MetricName": name, "Value": value, "Unit": unit, "Dimensions": dimensions}
        for name, (value, unit) in values.items()
    ]
    return {**_common(endpoint, variant), "namespace": "AWS/SageMaker", "data": data}


class Tail:
    """Sends the lines that a container adds to its log file."""

    def __init__(
        self, endpoint: Endpoint, variant: Variant, number: int, file: Path, add: Add
    ) -> None:
        """Begin at the present end of the file."""
        self._add = add
        self._file = file
        self._read = file.stat().st_size if file.exists() else 0
        self._rest = b""
        self._common = {
            **_common(endpoint, variant),
            "group": f"/aws/sagemaker/{'InferenceComponents' if endpoint.component else 'Endpoints'}/"
            f"{endpoint.component or endpoint.name}",
            "stream": f"{variant.name}/i-{number:01x}{secrets.token_hex(8)}",
            "looks_first": True,
        }
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Send the remaining lines, and end."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._take()
        if self._rest:
            self._line(self._rest)

    async def _follow(self) -> None:
        while True:
            self._take()
            await asyncio.sleep(_EVERY_S)

    def _take(self) -> None:
        with contextlib.suppress(OSError), self._file.open("rb") as file:
            file.seek(self._read)
            while data := file.read(_LONGEST):
                self._read += len(data)
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._line(line)
                if len(self._rest) > _LONGEST:
                    self._line(self._rest)
                    self._rest = b""

    def _line(self, line: bytes) -> None:
        if line.strip():
            message = line[:_LONGEST].decode(errors="replace")
            self._add(
                {**self._common, "timestamp": time.time_ns() // 1_000_000, "message": message}
            )
