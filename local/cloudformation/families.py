"""The registry of resource types: which class makes a resource of a type.

Classes of this package come first, then moto's models. For any other type the resource is stored
and reported as not handled.
"""

from importlib import import_module
from typing import Any

from local.cloudformation.resource import (
    Context,
    Kept,
    MotoResource,
    Properties,
    Resource,
    Unhandled,
)

# CloudFormation creates nothing for these types, or they have no visible effect here.
_KEPT = {"AWS::CDK::Metadata", "AWS::CloudFormation::WaitConditionHandle"}

CUSTOM = "AWS::CloudFormation::CustomResource"

_MODULES = (
    "cloudfront",
    "components",
    "custom",
    "database",
    "functions",
    "gateways",
    "identity",
    "inference",
    "monitoring",
    "storage",
)


# The effect that a missing type has, for the status. `effect` describes all other types that are
# not handled.
_EFFECTS = {
    CUSTOM: "a topic's subscribers are not asked to make it",
    "AWS::CertificateManager::Certificate": "no certificate is issued; `sluice up --tls` makes one for the local cloud",
    "AWS::CloudFront::Function": "its code does not run at the edge",
    "AWS::CloudFront::KeyValueStore": "functions at the edge have no key value store",
    "AWS::CloudWatch::AnomalyDetector": "no anomaly is detected",
    "AWS::EC2::VPCEndpoint": "the local cloud has no network to put it in",
    "AWS::IAM::ServiceLinkedRole": "the service works without it",
    "AWS::Lambda::CapacityProvider": "functions run on this machine; their own settings limit how many run at once",
    "AWS::Logs::QueryDefinition": "the query is not saved",
    "AWS::Route53::RecordSet": "the name is not resolved; use the address that `sluice up` prints",
    "AWS::SNS::Subscription": "no message is sent",
    "AWS::SNS::TopicPolicy": "the topic accepts messages from every caller",
    "AWS::SQS::QueuePolicy": "the queue accepts messages from every caller",
    "AWS::SecretsManager::ResourcePolicy": "only the policies of roles are evaluated",
    "AWS::SecretsManager::RotationSchedule": "the secret is never rotated",
    "AWS::WAFv2::WebACL": "it inspects and blocks no request",
    "AWS::WAFv2::WebACLAssociation": "it inspects and blocks no request",
}


def effect(kind: str) -> str:
    """Return a sentence on what does not work because a type is not handled."""
    return _EFFECTS.get(kind, "resources that depend on it will not work")


class Families:
    """The types that the local cloud handles, and stand-in resources for all others."""

    def __init__(self) -> None:
        """Collect the classes. Importing moto's models takes about two seconds."""
        from moto.cloudformation.parsing import get_model_map

        self.moto: dict[str, Any] = get_model_map()
        self.own: dict[str, type[Resource]] = {}
        for name in _MODULES:
            module = import_module(f"local.cloudformation.{name}")
            self.own.update({cls.type: cls for cls in module.RESOURCES})

    def make(self, context: Context, properties: Properties) -> Resource:
        """Return a resource that is not created yet."""
        if context.type in _KEPT:
            return Kept(context, properties)
        kind = CUSTOM if context.type.startswith("Custom::") else context.type
        if kind == CUSTOM and ":function:" not in str(properties.get("ServiceToken")):
            return Unhandled(context, properties)  # a topic of SNS
        if kind in self.own:
            return self.own[kind](context, properties)
        # moto would store the types in _EFFECTS without any effect.
        if context.type in self.moto and context.type not in _EFFECTS:
            return MotoResource(context, properties, self.moto[context.type])
        return Unhandled(context, properties)
