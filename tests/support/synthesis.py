"""One synthesis of each stage for all tests. Each costs seconds, because it runs in Node."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from aws_cdk import App

from infra.compose import compose
from infra.settings.deployment import Stage, of_stage

STAGES = get_args(Stage)
KEY = "arn:aws:kms:us-east-1:123456789012:key/12345678-1234-1234-1234-123456789012"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-1234-1234-1234-123456789012"
WEB_ACL = (
    "arn:aws:wafv2:us-east-1:123456789012:global/webacl/own/12345678-1234-1234-1234-123456789012"
)

FUNCTIONS = {
    "Stream": "lambda_fn.stream.main.run",
    "Recall": "lambda_fn.recall.main.run",
    "Sweeper": "lambda_fn.sweep.handler.handler",
    "Background": "lambda_fn.background.handler.handler",
    "Control": "lambda_fn.control.handler.handler",
    "ControlSecretRotation": "lambda_fn.control.rotate.handler",
}
"""The handlers of the service stack's functions, by their construct.

The functions that callers invoke by IAM are left out.
"""


@dataclass(frozen=True)
class Synthesis:
    """The templates of one stage."""

    state: dict[str, Any]
    service: dict[str, Any]

    def resources(self, kind: str) -> list[dict[str, Any]]:
        """Return the resources of one type in both stacks."""
        both = [*self.state["Resources"].values(), *self.service["Resources"].values()]
        return [resource for resource in both if resource["Type"] == kind]

    def function(self, handler: str) -> dict[str, Any]:
        """Return the properties of the function with this handler.

        The functions that callers invoke by IAM are left out.
        """
        functions = [it["Properties"] for it in self.resources("AWS::Lambda::Function")]
        [found] = [
            it
            for it in functions
            if it["Handler"] == handler and "SLUICE_ADMIN_RIGHT" not in str(it)
        ]
        return dict(found)

    def table(self, construct: str) -> dict[str, Any]:
        """Return the table of a construct of the state stack, with all its members."""
        [found] = [
            it
            for name, it in self.state["Resources"].items()
            if it["Type"] == "AWS::DynamoDB::GlobalTable" and name.startswith(construct)
        ]
        return dict(found)

    def the(self, kind: str, construct: str = "") -> dict[str, Any]:
        """Return the properties of the only resource of a type, or of that in a construct."""
        [properties] = [
            it["Properties"]
            for stack in (self.state, self.service)
            for name, it in stack["Resources"].items()
            if it["Type"] == kind and name.startswith(construct)
        ]
        return dict(properties)


def new_app(out: Path) -> App:
    """Return an app that writes into a folder, and whose templates only cdk-nag validates.

    CDK's own validation takes more than half of the time. `make check` has it for every option.
    """
    return App(outdir=str(out), analytics_reporting=False, builtin_cloud_formation_validation=False)


def synthesise(stage: str, project: Path, out: Path, **changes: object) -> Synthesis:
    """Synthesise one stage, with `changes` of its settings, as the CDK CLI would.

    Raises RuntimeError for a finding of cdk-nag that is not accepted with a reason.
    """
    app = new_app(out)
    state, service = compose(app, settings=of_stage(stage).replace(**changes), root=project)
    assembly = app.synth()
    return Synthesis(
        state=assembly.get_stack_by_name(state.stack_name).template,
        service=assembly.get_stack_by_name(service.stack_name).template,
    )


def resource(synthesis: Synthesis, kind: str) -> dict[str, Any]:
    """Return the only resource of a type, with all its members."""
    (found,) = synthesis.resources(kind)
    return found


def variant(synthesis: Synthesis) -> dict[str, Any]:
    """Return the production variant of the endpoint configuration."""
    (found,) = synthesis.the("AWS::SageMaker::EndpointConfig")["ProductionVariants"]
    assert isinstance(found, dict)
    return found


def policies(synthesis: Synthesis) -> dict[str, dict[str, Any]]:
    """Return the properties of the scaling policies, by their policy type."""
    return {
        it["Properties"]["PolicyType"]: it["Properties"]
        for it in synthesis.resources("AWS::ApplicationAutoScaling::ScalingPolicy")
    }
