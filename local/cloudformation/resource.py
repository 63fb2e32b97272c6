"""The interface of resources to the engine, and three classes for types without a module."""

import re
import secrets
import string
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from local.moto import kept

Properties = dict[str, Any]
_KEPT = {"AWS::DynamoDB::GlobalTable": "tables", "AWS::SecretsManager::Secret": "secrets"}


class DeployError(Exception):
    """A resource could not be created, updated or deleted.

    The message is the reason in its event.
    """


@dataclass(frozen=True)
class Context:
    """The account, region and stack of a resource, and its type."""

    account: str
    region: str
    stack_name: str
    stack_id: str
    logical_id: str
    type: str


class Resource(ABC):
    """One deployed resource.

    `physical_id` is the value of Ref. `update_policy` is that of the template, while the resource
    is updated; in a rollback it is empty. A change of a property in `replaced_by` makes a new
    resource; the old one is deleted after the whole stack is updated, as in CloudFormation.
    """

    type: ClassVar[str]
    name_property: ClassVar[str] = ""
    replaced_by: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, context: Context, properties: Properties) -> None:
        """`properties` are resolved. Nothing is created yet."""
        self.context = context
        self.properties = properties
        self.update_policy: Properties = {}
        self.name: str = properties.get(self.name_property) or generated_name(context)
        self.physical_id = self.name

    @abstractmethod
    def create(self) -> None:
        """Create the resource. Set `physical_id` if it is not the name."""

    def update(self, properties: Properties) -> None:  # noqa: B027 - resources that are only stored need no update
        """Apply changed properties. `self.properties` still has the old ones."""

    @abstractmethod
    def delete(self) -> None:
        """Delete the resource. One that is already gone is no error."""

    def attribute(self, name: str) -> Any:
        """Return the value of Fn::GetAtt."""
        raise DeployError(f"{self.context.type} has no attribute {name} in the local cloud")


class Kept(Resource):
    """A resource that is only stored.

    Nothing reads it, or it has no effect in CloudFormation either.
    """

    def create(self) -> None:
        """Do nothing."""

    def delete(self) -> None:
        """Do nothing."""


class Unhandled(Kept):
    """A resource of a type that is not handled.

    The stack deploys, and the status lists the resource.
    """

    def attribute(self, name: str) -> Any:
        """Return a placeholder that names the resource.

        For Arn it is an ARN, because policies may contain it.
        """
        if name == "Arn":
            kind = self.context.type.replace("::", "-")
            return f"arn:aws:unhandled:{self.context.region}:{self.context.account}:{kind}/{self.context.logical_id}"
        return f"unhandled:{self.context.type}:{self.context.logical_id}.{name}"


class MotoResource(Resource):
    """A resource of a type that moto's CloudFormation handles with a model class."""

    def __init__(self, context: Context, properties: Properties, model: Any) -> None:
        """`model` is the CloudFormationModel of the type."""
        self.model = model
        self.name_property = model.cloudformation_name_type() or ""  # type: ignore[misc] # differs with the model
        super().__init__(context, properties)
        if context.type in {"AWS::ECR::Repository", "AWS::S3::Bucket"}:
            self.name = self.name.lower()
        self.instance: Any = None

    def _json(self, properties: Properties) -> Properties:
        return {"Type": self.context.type, "Properties": properties}

    def _take(self, instance: Any) -> None:
        self.instance = instance
        instance.logical_resource_id = self.context.logical_id
        instance.cf_resource_type = self.context.type
        self.physical_id = getattr(instance, "physical_resource_id", None) or self.name

    def create(self) -> None:
        """Create the resource with the model class."""
        self._take(
            self.model.create_from_cloudformation_json(
                self.name,
                self._json(self.properties),
                self.context.account,
                self.context.region,
                LogicalId=self.context.logical_id,
                StackId=self.context.stack_id,
                ResourceType=self.context.type,
            )
        )

    def update(self, properties: Properties) -> None:
        """Update the resource with the model class.

        If the class cannot update, the resource is deleted and created again.
        """
        method = self.model.update_from_cloudformation_json
        if getattr(method, "__isabstractmethod__", False):
            self.delete()
            self.properties = properties
            self.create()
            return
        self._take(
            method(
                original_resource=self.instance,
                new_resource_name=properties.get(self.name_property) or self.name,
                cloudformation_json=self._json(properties),
                account_id=self.context.account,
                region_name=self.context.region,
            )
        )

    def delete(self) -> None:
        """Delete the resource by `delete` or by the CloudFormation method, as the class has it."""
        own = getattr(self.instance, "delete", None)
        if own is not None:
            try:
                own(self.context.account, self.context.region)
                return
            except TypeError:
                pass  # a method of the same name with another meaning
        method = self.model.delete_from_cloudformation_json
        if not getattr(method, "__isabstractmethod__", False):
            method(
                self.physical_id,
                self._json(self.properties),
                self.context.account,
                self.context.region,
            )

    def attribute(self, name: str) -> Any:
        """Return the model's attribute, or the property of that name.

        Raises DeployError if there is neither.
        """
        ask = getattr(self.instance, "get_cfn_attribute", None)
        if ask is None:
            return self.properties[name] if name in self.properties else super().attribute(name)
        value = ask(name)
        if self.context.type == "AWS::Logs::LogGroup" and name == "Arn":
            # The end `:*` stands for all streams of the group, and policies rely on it.
            value = value.removesuffix(":*") + ":*"
        return value


def generated_name(context: Context, limit: int = 63) -> str:
    """Return a name in CloudFormation's form: stack-logicalid-RANDOM.

    It has at most `limit` characters. The default is the shortest limit of the services used. A
    resource that an earlier local cloud kept has the name that it had there.
    """
    end = "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(kept.RANDOM))
    stack = re.sub(r"[^A-Za-z0-9-]", "-", context.stack_name)
    room = limit - len(end) - 2
    logical = context.logical_id[: max(room - len(stack), room // 2)]
    start = f"{stack[: room - len(logical)]}-{logical}-"
    kind = _KEPT.get(context.type)
    return (kept.name(kind, context.region, start) if kind else None) or start + end
