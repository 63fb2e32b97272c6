"""Alarms, scaling and schedules: one API call creates such a resource, and another deletes it.

moto stores them. Schedules fire (`local.lambda_.schedules`), and alarms are evaluated
(`local.moto.alarms`).
"""

from typing import Any, ClassVar

from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import Properties, Resource


class _Call(Resource):
    """A resource whose properties are the members of the call that creates it."""

    service: ClassVar[str]
    make: ClassVar[str]
    change: ClassVar[str]
    remove: ClassVar[str]
    keys: ClassVar[tuple[str, ...]]

    def parameters(self, properties: Properties) -> Properties:
        """Return the members of the call."""
        named = {self.name_property: self.name} if self.name_property else {}
        return {**properties, **named}

    def create(self) -> None:
        """Create the resource."""
        self._created(
            call(self.service, self.context.region, self.make, **self.parameters(self.properties))
        )

    def update(self, properties: Properties) -> None:
        """Change the resource."""
        call(self.service, self.context.region, self.change, **self.parameters(properties))

    def _created(self, response: Properties) -> None:
        """Set the physical id from the response."""

    def delete(self) -> None:
        """Delete the resource."""
        members = self.parameters(self.properties)
        call_quietly(
            self.service,
            self.context.region,
            self.remove,
            **{key: members[key] for key in self.keys},
        )


class Alarm(_Call):
    """A metric alarm. Ref is its name."""

    type = "AWS::CloudWatch::Alarm"
    name_property = "AlarmName"
    service, make, change, remove, keys = (
        "cloudwatch",
        "put_metric_alarm",
        "put_metric_alarm",
        "delete_alarms",
        (),
    )

    def delete(self) -> None:
        """Delete the alarm; the call takes a list of names."""
        call_quietly(self.service, self.context.region, self.remove, AlarmNames=[self.name])

    def attribute(self, name: str) -> Any:
        """Return Arn."""
        if name == "Arn":
            return (
                f"arn:aws:cloudwatch:{self.context.region}:{self.context.account}:alarm:{self.name}"
            )
        return super().attribute(name)


class CompositeAlarm(Alarm):
    """An alarm over the states of other alarms. Ref is its name."""

    type = "AWS::CloudWatch::CompositeAlarm"
    make = change = "put_composite_alarm"


class Dashboard(_Call):
    """A dashboard. Ref is its name."""

    type = "AWS::CloudWatch::Dashboard"
    name_property = "DashboardName"
    service, make, change = "cloudwatch", "put_dashboard", "put_dashboard"
    replaced_by = frozenset({"DashboardName"})

    def delete(self) -> None:
        """Delete the dashboard; the call takes a list of names."""
        call_quietly(
            self.service, self.context.region, "delete_dashboards", DashboardNames=[self.name]
        )


class InsightRule(_Call):
    """A rule of Contributor Insights. Ref is its ARN."""

    type = "AWS::CloudWatch::InsightRule"
    name_property = "RuleName"
    service, make, change = "cloudwatch", "put_insight_rule", "put_insight_rule"
    replaced_by = frozenset({"RuleName"})

    def parameters(self, properties: Properties) -> Properties:
        """Return the members of the call, which has another name for the rule's text."""
        members = super().parameters(properties)
        return {**members, "RuleDefinition": members.pop("RuleBody")}

    def _created(self, response: Properties) -> None:
        self.physical_id = self.attribute("Arn")

    def delete(self) -> None:
        """Delete the rule; the call takes a list of names."""
        call_quietly(
            self.service, self.context.region, "delete_insight_rules", RuleNames=[self.name]
        )

    def attribute(self, name: str) -> Any:
        """Return Arn or RuleName."""
        region, account = self.context.region, self.context.account
        values = {
            "Arn": f"arn:aws:cloudwatch:{region}:{account}:insight-rule/{self.name}",
            "RuleName": self.name,
        }
        return values[name] if name in values else super().attribute(name)


class ScalableTarget(_Call):
    """A target of Application Auto Scaling. Ref is `ResourceId|Dimension|Namespace`."""

    type = "AWS::ApplicationAutoScaling::ScalableTarget"
    service = "application-autoscaling"
    make, change, remove = (
        "register_scalable_target",
        "register_scalable_target",
        "deregister_scalable_target",
    )
    keys = ("ServiceNamespace", "ResourceId", "ScalableDimension")
    replaced_by = frozenset(keys)

    def parameters(self, properties: Properties) -> Properties:
        """Return the members of the call, which takes tags as an object."""
        members = super().parameters(properties)
        if "Tags" in members:
            members["Tags"] = {tag["Key"]: tag["Value"] for tag in members["Tags"]}
        return members

    def _created(self, response: Properties) -> None:
        parts = (
            self.properties[key] for key in ("ResourceId", "ScalableDimension", "ServiceNamespace")
        )
        self.physical_id = "|".join(parts)
        self._act(self.properties)

    def update(self, properties: Properties) -> None:
        """Change the target and its scheduled actions."""
        super().update(properties)
        remaining = {item["ScheduledActionName"] for item in properties.get("ScheduledActions", ())}
        for item in self.properties.get("ScheduledActions", ()):
            if item["ScheduledActionName"] not in remaining:
                self._scheduled("delete_scheduled_action", item)
        self._act(properties)

    def delete(self) -> None:
        """Delete the target and its scheduled actions."""
        for item in self.properties.get("ScheduledActions", ()):
            self._scheduled("delete_scheduled_action", item)
        super().delete()

    def _act(self, properties: Properties) -> None:
        for item in properties.get("ScheduledActions", ()):
            self._scheduled("put_scheduled_action", item)

    def _scheduled(self, operation: str, item: Properties) -> None:
        target = {key: self.properties[key] for key in self.keys}
        call(self.service, self.context.region, operation, **target, **item)


class ScalingPolicy(_Call):
    """A scaling policy. Ref is its ARN."""

    type = "AWS::ApplicationAutoScaling::ScalingPolicy"
    name_property = "PolicyName"
    service = "application-autoscaling"
    make, change, remove = "put_scaling_policy", "put_scaling_policy", "delete_scaling_policy"
    keys = ("PolicyName", "ServiceNamespace", "ResourceId", "ScalableDimension")
    replaced_by = frozenset(
        {"ScalingTargetId", "ResourceId", "ScalableDimension", "ServiceNamespace"}
    )

    def parameters(self, properties: Properties) -> Properties:
        """Return the members of the call. CloudFormation may name the target by one id."""
        members = super().parameters(properties)
        if "ScalingTargetId" in members:
            resource, dimension, namespace = members["ScalingTargetId"].split("|")
            members |= {
                "ResourceId": resource,
                "ScalableDimension": dimension,
                "ServiceNamespace": namespace,
            }
        return members

    def _created(self, response: Properties) -> None:
        self.physical_id = response["PolicyARN"]

    def attribute(self, name: str) -> Any:
        """Return Arn or PolicyName."""
        return {"Arn": self.physical_id, "PolicyName": self.name}.get(name) or super().attribute(
            name
        )


class Schedule(_Call):
    """A schedule of EventBridge Scheduler. Ref is its name."""

    type = "AWS::Scheduler::Schedule"
    name_property = "Name"
    service, make, change, remove = (
        "scheduler",
        "create_schedule",
        "update_schedule",
        "delete_schedule",
    )
    keys = ("Name",)
    replaced_by = frozenset({"GroupName"})

    def delete(self) -> None:
        """Delete the schedule from its group."""
        group = self.properties.get("GroupName")
        call_quietly(
            self.service, self.context.region, self.remove, Name=self.name, GroupName=group
        )

    def attribute(self, name: str) -> Any:
        """Return Arn."""
        if name == "Arn":
            group = self.properties.get("GroupName", "default")
            return f"arn:aws:scheduler:{self.context.region}:{self.context.account}:schedule/{group}/{self.name}"
        return super().attribute(name)


class ScheduleGroup(_Call):
    """A group of schedules. Ref is its name."""

    type = "AWS::Scheduler::ScheduleGroup"
    name_property = "Name"
    service, make, remove = "scheduler", "create_schedule_group", "delete_schedule_group"
    keys = ("Name",)

    def update(self, properties: Properties) -> None:
        """Do nothing: only tags can change."""


class MetricFilter(_Call):
    """A metric made from log lines. Ref is its name."""

    type = "AWS::Logs::MetricFilter"
    name_property = "FilterName"
    service, make, change, remove = (
        "logs",
        "put_metric_filter",
        "put_metric_filter",
        "delete_metric_filter",
    )
    keys = ("FilterName", "LogGroupName")
    replaced_by = frozenset({"LogGroupName"})

    def parameters(self, properties: Properties) -> Properties:
        """Return the members of the call, whose names begin with small letters."""
        members = super().parameters(properties)
        rules = [
            {_small(key): value for key, value in rule.items()}
            for rule in members["MetricTransformations"]
        ]
        return {_small(key): value for key, value in members.items()} | {
            "metricTransformations": rules
        }

    def update(self, properties: Properties) -> None:
        """Replace the filter; moto would keep both."""
        self.delete()
        super().update(properties)

    def delete(self) -> None:
        """Delete the filter."""
        group = self.properties["LogGroupName"]
        call_quietly(
            self.service, self.context.region, self.remove, filterName=self.name, logGroupName=group
        )


def _small(name: str) -> str:
    return name[0].lower() + name[1:]


RESOURCES: list[type[Resource]] = [
    Alarm,
    CompositeAlarm,
    Dashboard,
    InsightRule,
    ScalableTarget,
    ScalingPolicy,
    Schedule,
    ScheduleGroup,
    MetricFilter,
]
