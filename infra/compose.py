"""The whole app: settings, limits, stacks and their checks, in one place."""

import os
import sys
from pathlib import Path

from aws_cdk import App, Environment, Tags

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
    app: App, *, settings: Settings, root: Path = ROOT, home: Environment | None = None
) -> tuple[StateStack, ServiceStack]:
    """Add the stacks of `settings` to `app`; sources, weights and the Dockerfile are those under `root`.

    `home` is the account and region of the deployment. Only a certificate and a web ACL need to know them, which are
    made in a region of their own; without these the stacks are the same everywhere.

    Raises LimitsError, SettingsError, PackageError or BytecodeError, each with a message for who runs it.
    """
    LIMITS.check()
    prefix = f"{settings.name}-{settings.stage}"
    if not settings.edge_stacks:
        home = None
    elif home is None:
        raise SettingsError(
            f"{', '.join(settings.edge_stacks)}: made in us-east-1, so the account and the region of the deployment "
            "must be known. The CDK CLI finds them by your credentials; else set CDK_DEFAULT_ACCOUNT and "
            "CDK_DEFAULT_REGION, or give certificate_arn and the ARN of a web ACL"
        )
    certificate = web_acl = None
    if home is not None:
        if (name := settings.certificate_stack) is not None:
            certificate = CertificateStack(app, name, settings=settings, home=home).certificate
        if (name := settings.web_acl_stack) is not None:
            web_acl = WebAclStack(app, name, settings=settings, home=home).arn
    state = StateStack(app, f"{prefix}-state", settings=settings, home=home)
    service = ServiceStack(
        app,
        f"{prefix}-service",
        root=root,
        settings=settings,
        usage_table=state.usage_table,
        certificate=certificate,
        web_acl=web_acl or settings.web_acl,
        home=home,
    )
    Tags.of(app).add("sluice:deployment", prefix)
    nag.add_checks(app)
    return state, service


def _home() -> Environment | None:
    """Give what the CDK CLI found by the credentials it has, None when it has none."""
    account, region = os.environ.get("CDK_DEFAULT_ACCOUNT"), os.environ.get("CDK_DEFAULT_REGION")
    return Environment(account=account, region=region) if account and region else None


def main() -> None:
    """Synthesise what the CDK context asks for; a mistake in it ends in one line, not in a traceback."""
    app = App()
    try:
        compose(app, settings=settings_from_context(app.node.get_all_context()), home=_home())
    except (SettingsError, LimitsError, PackageError, BytecodeError) as error:
        sys.exit(f"sluice: {error}")
    app.synth()
