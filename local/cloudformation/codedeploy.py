"""AWS::CodeDeploy::*: applications and groups for Lambda, and the canary of an alias.

A canary gives the new version a tenth of the invocations, waits, and then gives it all of them. It
watches the group's alarms meanwhile. The states of alarms are computed for this purpose only: a
sum over the alarm's periods, with missing data as no breach. Configurations other than canaries
move the alias at once.

Sources: "UpdatePolicy attribute" of the CloudFormation user guide; "Deployment configurations on an
AWS Lambda compute platform" and "Monitoring deployments with CloudWatch alarms" of the CodeDeploy
user guide.
"""

import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from local.cloudformation.calls import call
from local.cloudformation.resource import DeployError, Properties, Resource
from local.limits import TABLE
from local.moto.exchange import EXCHANGE

_CANARY = re.compile(r"CodeDeployDefault\.LambdaCanary(\d+)Percent(\d+)Minutes")
# Seconds between two looks at the alarms.
_POLL_S = 0.25
_groups: dict[tuple[str, str], Properties] = {}


class Application(Resource):
    """An application. Ref is its name."""

    type = "AWS::CodeDeploy::Application"
    name_property = "ApplicationName"
    replaced_by = frozenset({"ComputePlatform"})

    def create(self) -> None:
        """Do nothing: deployment groups refer to it by name."""

    def delete(self) -> None:
        """Do nothing."""


class DeploymentGroup(Resource):
    """A deployment group. Ref is its name."""

    type = "AWS::CodeDeploy::DeploymentGroup"
    name_property = "DeploymentGroupName"
    replaced_by = frozenset({"ApplicationName"})

    @property
    def _key(self) -> tuple[str, str]:
        return self.properties["ApplicationName"], self.name

    def create(self) -> None:
        """Keep the group's settings."""
        _groups[self._key] = self.properties

    def update(self, properties: Properties) -> None:
        """Replace the group's settings."""
        _groups[self._key] = properties

    def delete(self) -> None:
        """Forget the group."""
        _groups.pop(self._key, None)


def shift(
    policy: Properties,
    region: str,
    route: Callable[[str, dict[str, float]], None],
    *,
    old: str,
    new: str,
) -> None:
    """Move an alias from one version to another, as a deployment group says.

    Args:
        policy: CodeDeployLambdaAliasUpdate of the alias.
        region: The region.
        route: Points the alias to a version, with the shares of others.
        old: The version that serves now.
        new: The version to move to.

    Raises:
        DeployError: there is no such group, or one of its alarms has risen. The alias is then as it
            was.

    """
    group = _groups.get((policy["ApplicationName"], policy["DeploymentGroupName"]))
    if group is None:
        raise DeployError(f"No Deployment Group found for name: {policy['DeploymentGroupName']}")
    canary = _CANARY.fullmatch(group.get("DeploymentConfigName", ""))
    if canary is not None:
        percent, minutes = int(canary[1]), int(canary[2])
        _settled(route, old, {new: percent / 100})
        ends = time.monotonic() + minutes * float(TABLE["codedeploy_minute"].value or 0)
        while True:
            for alarm in _risen(group, region):
                _settled(route, old, {})
                raise DeployError(
                    "CodeDeploy stopped the deployment and moved the alias back to version "
                    f"{old}: the alarm {alarm} is in the state ALARM"
                )
            if time.monotonic() >= ends:
                break
            time.sleep(_POLL_S)
    _settled(route, new, {})


def _settled(
    route: Callable[[str, dict[str, float]], None], version: str, further: dict[str, float]
) -> None:
    route(version, further)
    EXCHANGE.changed()
    EXCHANGE.settle()


def _risen(group: Properties, region: str) -> Iterator[str]:
    """Yield the names of the group's alarms whose metric has reached the threshold."""
    configured = group.get("AlarmConfiguration") or {}
    names = [alarm["Name"] for alarm in configured.get("Alarms", ())]
    if not names or not configured.get("Enabled"):
        return
    for alarm in call("cloudwatch", region, "describe_alarms", AlarmNames=names)["MetricAlarms"]:
        if _sum(alarm, region) >= alarm["Threshold"]:
            call(
                "cloudwatch",
                region,
                "set_alarm_state",
                AlarmName=alarm["AlarmName"],
                StateValue="ALARM",
                StateReason="Threshold Crossed",
            )
            yield alarm["AlarmName"]


def _sum(alarm: dict[str, Any], region: str) -> float:
    now = datetime.now(UTC)
    seconds = alarm["Period"] * alarm["EvaluationPeriods"]
    points = call(
        "cloudwatch",
        region,
        "get_metric_statistics",
        Namespace=alarm["Namespace"],
        MetricName=alarm["MetricName"],
        Dimensions=alarm["Dimensions"],
        StartTime=now - timedelta(seconds=seconds),
        EndTime=now + timedelta(seconds=60),
        Period=seconds,
        Statistics=["Sum"],
    )["Datapoints"]
    return float(sum(point["Sum"] for point in points))


RESOURCES: list[type[Resource]] = [Application, DeploymentGroup]
