"""cdk-nag: run at every synthesis; what is accepted is accepted here, with its reason, beside the resource."""

from aws_cdk import Acknowledgment, App, Validations
from cdk_nag import AwsSolutionsChecks
from constructs import IConstruct


def add_checks(app: App) -> None:
    """Have every synthesis of `app` checked by the AWS Solutions rules."""
    Validations.of(app).add_plugins(AwsSolutionsChecks(app))


def accept(scope: IConstruct, **reasons: str) -> None:
    """Accept findings at `scope` and below it: rule name without the pack's prefix (`CFR4`) -> the reason."""
    Validations.of(scope).acknowledge(
        *(Acknowledgment(id=f"AwsSolutions-{rule}", reason=reason) for rule, reason in reasons.items())
    )
