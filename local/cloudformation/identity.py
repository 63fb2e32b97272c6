"""AWS::IAM::Role. moto's class forgets managed policies, and forgets every policy on an update."""

import json
from typing import Any

from local.cloudformation.calls import call, call_quietly
from local.cloudformation.resource import Properties, Resource

_DEFAULT_SESSION_S = 3600


class Role(Resource):
    """A role with its inline and managed policies and its boundary. Ref is its name."""

    type = "AWS::IAM::Role"
    name_property = "RoleName"
    replaced_by = frozenset({"RoleName", "Path"})

    def _call(self, operation: str, **parameters: Any) -> Any:
        return call("iam", self.context.region, operation, RoleName=self.name, **parameters)

    def create(self) -> None:
        """Create the role, then put and attach its policies."""
        properties = self.properties
        self._call(
            "create_role",
            AssumeRolePolicyDocument=_text(properties["AssumeRolePolicyDocument"]),
            Path=properties.get("Path"),
            Description=properties.get("Description"),
            MaxSessionDuration=properties.get("MaxSessionDuration"),
            PermissionsBoundary=properties.get("PermissionsBoundary"),
            Tags=properties.get("Tags"),
        )
        self._policies({}, properties)

    def update(self, properties: Properties) -> None:
        """Change trust, description, policies and boundary."""
        old = self.properties
        self._call(
            "update_assume_role_policy",
            PolicyDocument=_text(properties["AssumeRolePolicyDocument"]),
        )
        self._call(
            "update_role",
            Description=properties.get("Description", ""),
            MaxSessionDuration=properties.get("MaxSessionDuration", _DEFAULT_SESSION_S),
        )
        boundary = properties.get("PermissionsBoundary")
        if boundary:
            self._call("put_role_permissions_boundary", PermissionsBoundary=boundary)
        elif old.get("PermissionsBoundary"):
            self._call("delete_role_permissions_boundary")
        self._policies(old, properties)

    def _policies(self, old: Properties, new: Properties) -> None:
        before, after = _inline(old), _inline(new)
        for name in before.keys() - after.keys():
            self._call("delete_role_policy", PolicyName=name)
        for name, document in after.items():
            self._call("put_role_policy", PolicyName=name, PolicyDocument=document)
        attached, desired = (
            set(old.get("ManagedPolicyArns", ())),
            set(new.get("ManagedPolicyArns", ())),
        )
        for arn in sorted(attached - desired):
            self._call("detach_role_policy", PolicyArn=arn)
        for arn in sorted(desired - attached):
            self._call("attach_role_policy", PolicyArn=arn)

    def delete(self) -> None:
        """Delete the role with its policies."""
        region = self.context.region
        for name in _inline(self.properties):
            call_quietly("iam", region, "delete_role_policy", RoleName=self.name, PolicyName=name)
        for arn in self.properties.get("ManagedPolicyArns", ()):
            call_quietly("iam", region, "detach_role_policy", RoleName=self.name, PolicyArn=arn)
        call_quietly("iam", region, "delete_role", RoleName=self.name)

    def attribute(self, name: str) -> Any:
        """Return Arn or RoleId."""
        if name in {"Arn", "RoleId"}:
            return self._call("get_role")["Role"][name]
        return super().attribute(name)


def _inline(properties: Properties) -> dict[str, str]:
    return {
        policy["PolicyName"]: _text(policy["PolicyDocument"])
        for policy in properties.get("Policies", ())
    }


def _text(document: Any) -> str:
    if isinstance(document, str):
        return document
    # IAM accepts a document without a version; moto does not. YAML reads a version as a date, which
    # `str` writes back.
    return json.dumps({"Version": "2012-10-17", **document}, default=str)


RESOURCES: list[type[Resource]] = [Role]
