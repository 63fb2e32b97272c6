"""Which class makes a resource of which type.

Order: our own classes, then moto's models, then the notice that nobody handles the type.
"""

from importlib import import_module
from typing import Any

from local.cloudformation.resource import Context, Kept, MotoResource, Properties, Resource, Unhandled

# Types that CloudFormation makes nothing of, or of which nothing can be noticed here.
_KEPT = {"AWS::CDK::Metadata", "AWS::CloudFormation::WaitConditionHandle"}

_MODULES = ("cloudfront", "components", "database", "functions", "identity", "inference", "monitoring", "storage")


# What will not work without them; of any other type that nobody handles, whatever depends on it.
_EFFECTS = {
    "AWS::CertificateManager::Certificate": "none is issued; `sluice up --tls` brings one of its own",
    "AWS::CloudFront::Function": "its code does not run at the edge",
    "AWS::CloudFront::KeyValueStore": "functions at the edge have no such store",
    "AWS::CloudWatch::AnomalyDetector": "nothing is detected",
    "AWS::CloudWatch::CompositeAlarm": "it never changes its state",
    "AWS::EC2::VPCEndpoint": "there is no network that it could be in",
    "AWS::IAM::ServiceLinkedRole": "the service acts without it",
    "AWS::Lambda::CapacityProvider": "functions run on this machine, as many at once as it says elsewhere",
    "AWS::Logs::QueryDefinition": "the query is not saved",
    "AWS::Route53::RecordSet": "the name leads nowhere; use the address that is printed",
    "AWS::SNS::Subscription": "nobody is told",
    "AWS::SNS::TopicPolicy": "the topic takes messages from everybody",
    "AWS::SQS::QueuePolicy": "the queue takes messages from everybody",
    "AWS::SecretsManager::ResourcePolicy": "only the roles' own policies count",
    "AWS::SecretsManager::RotationSchedule": "the secret is never rotated",
    "AWS::WAFv2::WebACL": "no request is looked at or blocked by it",
    "AWS::WAFv2::WebACLAssociation": "no request is looked at or blocked by it",
}


def effect(kind: str) -> str:
    """What will not work because nobody handles a type."""
    if kind.startswith("Custom::") or kind == "AWS::CloudFormation::CustomResource":
        return "its function is not called, and its attributes are placeholders"
    return _EFFECTS.get(kind, "what depends on it will not work")


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
        if context.type in self.moto and context.type not in _EFFECTS:  # moto keeps them, but nothing comes of it
            return MotoResource(context, properties, self.moto[context.type])
        return Unhandled(context, properties)
