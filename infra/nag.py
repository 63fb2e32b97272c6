"""cdk-nag: run at every synthesis; what is accepted is accepted here, with its reason, beside the resource."""

from collections.abc import Mapping

from aws_cdk import Acknowledgment, App, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct


def add_checks(app: App) -> None:
    """Have every synthesis of `app` checked by the AWS Solutions rules."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))


def accept(scope: IConstruct, reasons: Mapping[str, str]) -> None:
    """Accept findings at `scope` and below it: rule without the pack's name (`CFR4`) -> why it is accepted.

    A rule with several findings is accepted one by one (`IAM5[Resource::*]`), so that a new wildcard is a new finding.
    """
    accepted = [Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason) for rule, reason in reasons.items()]
    Validations.of(scope).acknowledge(*accepted)
