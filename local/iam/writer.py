"""Writes log lines, metrics and traces as a role, and drops those that the role may not write.

Lambda writes a function's log and traces as the function's role, SageMaker a container's log and
metrics as the execution role. An item names its `role` and `session`; its other members are those
of `local.moto.telemetry`. Sources: the Lambda developer guide, "Sending Lambda function logs to
CloudWatch Logs" and "Visualize Lambda function invocations using AWS X-Ray"; the SageMaker
developer guide, "CreateModel API: Execution Role Permissions". What a service counts itself has no
role.
"""

import logging
from collections.abc import Iterator
from typing import Any, Protocol

from local.iam.policy import Need
from local.iam.roles import Caller, Roles

log = logging.getLogger("local.iam")

Item = dict[str, Any]


class Control(Protocol):
    """Requests to the control plane."""

    async def get_json(self, path: str, **query: str) -> Any:
        """Return whether a log group exists."""

    async def post(self, path: str, value: object) -> None:
        """Send items."""


class Writer:
    """Passes on the items that roles may write. Each refusal is a line in the local cloud's log."""

    def __init__(self, control: Control, roles: Roles) -> None:
        """`roles` are the deployed roles."""
        self._control = control
        self._roles = roles
        self._groups: set[tuple[str, str]] = set()
        self._streams: set[tuple[str, str, str]] = set()

    async def send(self, items: list[Item]) -> None:
        """Send the items that their roles may write, and log a refusal of the others."""
        refusals: dict[str, None] = {}
        allowed = []
        for item in items:
            refused = await self._refusal(item)
            if refused is None:
                allowed.append(item)
            else:
                refusals[refused] = None
        for refused in refusals:
            log.warning("AccessDenied: %s", refused)
        if allowed:
            await self._control.post("telemetry", allowed)

    async def _refusal(self, item: Item) -> str | None:
        if "role" not in item:
            return None
        caller, region = Caller(item["role"], item["session"]), item["region"]
        if "message" in item:
            return await self._log(item, caller)
        for need in _needs(item):
            if refused := self._roles.refusal(caller, need, region):
                return refused
        return None

    async def _log(self, item: Item, caller: Caller) -> str | None:
        region, group, stream = item["region"], item["group"], item["stream"]

        def refusal(action: str, stream: str = "") -> str | None:
            resource = (
                f"arn:aws:logs:{region}:{caller.account}:log-group:{group}:log-stream:{stream}"
            )
            return self._roles.refusal(caller, Need(f"logs:{action}", resource), region)

        if (region, group) not in self._groups:
            exists = await self._control.get_json("log_group", name=group, region=region)
            if not exists and (refused := refusal("CreateLogGroup")):
                return refused
        if (region, group, stream) not in self._streams:
            if item.get("looks_first") and (refused := refusal("DescribeLogStreams")):
                return refused
            if refused := refusal("CreateLogStream", stream):
                return refused
        self._groups.add((region, group))
        self._streams.add((region, group, stream))
        return refusal("PutLogEvents", stream)


def _needs(item: Item) -> Iterator[Need]:
    if "namespace" in item:
        yield Need(
            "cloudwatch:PutMetricData", "*", (("cloudwatch:namespace", (item["namespace"],)),)
        )
    elif "segment" in item:
        yield Need("xray:PutTraceSegments", "*")
    else:
        yield Need("xray:PutTelemetryRecords", "*")
