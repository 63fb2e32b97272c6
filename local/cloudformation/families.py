"""Which class makes a resource of which type.

Order: our own classes, then moto's models, then the notice that nobody handles the type.
"""

from importlib import import_module
from typing import Any

from local.cloudformation.resource import Context, Kept, MotoResource, Properties, Resource, Unhandled

# Types that CloudFormation makes nothing of, or of which nothing can be noticed here.
_KEPT = {"AWS::CDK::Metadata", "AWS::CloudFormation::WaitConditionHandle"}

_MODULES = ("cloudfront", "database", "functions", "identity", "inference", "monitoring", "storage")


class Families:
    """The types this local cloud handles, and the resources of types it does not."""

    def __init__(self) -> None:
        """Collect the classes. Importing moto's models takes about two seconds."""
        from moto.cloudformation.parsing import get_model_map

        self.moto: dict[str, Any] = get_model_map()
        self.own: dict[str, type[Resource]] = {}
        for name in _MODULES:
            module = import_module(f"local.cloudformation.{name}")
            self.own.update({cls.type: cls for cls in module.RESOURCES})

    def make(self, context: Context, properties: Properties) -> Resource:
        """The resource, not created yet."""
        if context.type in _KEPT:
            return Kept(context, properties)
        if context.type in self.own:
            return self.own[context.type](context, properties)
        if context.type in self.moto:
            return MotoResource(context, properties, self.moto[context.type])
        return Unhandled(context, properties)
