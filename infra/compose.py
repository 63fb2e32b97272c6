"""The CDK app: settings, limits, stacks and their checks, put together."""

import os
import sys
from pathlib import Path

from aws_cdk import App, Environment, Stack, Tags

from infra import nag
from infra.limits import LIMITS, LimitsError
from infra.packaging.bytecode import BytecodeError
from infra.packaging.package import PackageError
from infra.settings.context import settings_from_context
from infra.settings.deployment import Settings, SettingsError
from infra.stacks.certificate import CertificateStack
from infra.stacks.service import ServiceStack
from infra.stacks.state import StateStack
from infra.stacks.web_acl import WebAclStack

ROOT = Path(__file__).resolve().parent.parent


def compose(
    app: App, *, settings: Settings, root: Path = ROOT, env: Environment | None = None
) -> tuple[StateStack, ServiceStack]:
    """Add the stacks of a deployment to an app.

    Args:
        app: The app.
        settings: The deployment's settings.
        root: The folder with the sources, the weights and the Dockerfile.
        env: The account and region of the deployment. Only the stacks of a certificate and a web
            ACL need it, because they are made in another region. Without those stacks the templates
            are the same everywhere.

    Returns:
        The state stack and the service stack.

    Raises:
        LimitsError, SettingsError, PackageError, BytecodeError: each has a message for the person
            who deploys.

    """
    LIMITS.check()
    prefix = f"{settings.name}-{settings.stage}"
    if not settings.edge_stacks:
        env = None
    elif env is None:
        raise SettingsError(
            f"{', '.join(settings.edge_stacks)}: made in us-east-1, so the account and the "
            "region of the deployment "
            "must be known. The CDK CLI finds them by your credentials; without any, set "
            "CDK_DEFAULT_ACCOUNT and "
            "CDK_DEFAULT_REGION, or set certificate_arn and the ARN of a web ACL"
        )
    certificate = web_acl = None
    if env is not None:
        if (name := settings.certificate_stack) is not None:
            certificate = CertificateStack(app, name, settings=settings, env=env).certificate
        if (name := settings.web_acl_stack) is not None:
            web_acl = WebAclStack(app, name, settings=settings, env=env).arn
    state = StateStack(app, f"{prefix}-state", settings=settings, env=env)
    service = ServiceStack(
        app,
        f"{prefix}-service",
        root=root,
        settings=settings,
        usage_table=state.usage_table,
        stream_table=state.stream_table,
        certificate=certificate,
        web_acl=web_acl or settings.web_acl,
        env=env,
    )
    for key, value in {**settings.tags, "sluice:deployment": prefix}.items():
        Tags.of(app).add(key, value)
        # CDK makes its own helpers too late for that. CloudFormation gives them the stack's tags.
        for stack in app.node.children:
            if isinstance(stack, Stack):
                stack.add_stack_tag(key, value)
    nag.add_checks(app)
    return state, service


def _env() -> Environment | None:
    """Return the account and region that the CDK CLI found, or None without credentials."""
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    return Environment(account=account, region=region) if account and region else None


def main() -> None:
    """Synthesise the deployment that the CDK context describes.

    For a mistake in the context, print one line without a traceback and exit with status 1.
    """
    app = App(stack_traces=False)
    try:
        compose(app, settings=settings_from_context(app.node.get_all_context()), env=_env())
    except (SettingsError, LimitsError, PackageError, BytecodeError) as error:
        sys.exit(f"sluice: {error}")
    app.synth()
