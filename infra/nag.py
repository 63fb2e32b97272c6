"""cdk-nag checks every synthesis. A construct accepts each finding with its reason."""

from collections.abc import Mapping

from aws_cdk import Acknowledgment, App, Stack, Token, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct


def add_checks(app: App) -> None:
    """Check every synthesis of an app with the AWS Solutions rules."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))


def place(scope: IConstruct) -> tuple[str, str, str]:
    """Return a stack's partition, region and account as findings name them.

    A finding has the value if the stack is for a certain account and region, else a parameter such
    as `<AWS::Region>`.
    """
    stack = Stack.of(scope)

    def named(value: str, parameter: str) -> str:
        return f"<AWS::{parameter}>" if Token.is_unresolved(value) else value

    return (
        named(stack.partition, "Partition"),
        named(stack.region, "Region"),
        named(stack.account, "AccountId"),
    )


def accept(scope: IConstruct, reasons: Mapping[str, str]) -> None:
    """Accept findings at a scope and below it.

    `reasons` maps a rule, without the pack's name (`CFR4`), to the reason why it is accepted. A
    rule with several findings is accepted finding by finding (`IAM5[Resource::*]`), so a new
    wildcard is reported.
    """
    accepted = [
        Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason) for rule, reason in reasons.items()
    ]
    Validations.of(scope).acknowledge(*accepted)
