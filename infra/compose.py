"""The whole app: settings, limits, stacks and their checks, in one place."""

import sys
from pathlib import Path

from aws_cdk import App, Tags

from infra import nag
from infra.bytecode import BytecodeError
from infra.context import settings_from_context
from infra.limits import LIMITS, LimitsError
from infra.package import PackageError
from infra.settings import Settings, SettingsError
from infra.stacks.service import ServiceStack
from infra.stacks.state import StateStack

ROOT = Path(__file__).resolve().parent.parent


def compose(app: App, *, settings: Settings, root: Path = ROOT) -> tuple[StateStack, ServiceStack]:
    """Add the stacks of `settings` to `app`; sources, weights and the Dockerfile are those under `root`.

    Raises LimitsError, SettingsError, PackageError or BytecodeError, each with a message for who runs it.
    """
    LIMITS.check()
    prefix = f"{settings.name}-{settings.stage}"
    state = StateStack(app, f"{prefix}-state", settings=settings)
    service = ServiceStack(app, f"{prefix}-service", root=root, settings=settings, usage_table=state.usage_table)
    Tags.of(app).add("sluice:deployment", prefix)
    nag.add_checks(app)
    return state, service


def main() -> None:
    """Synthesise what the CDK context asks for; a mistake in it ends in one line, not in a traceback."""
    app = App()
    try:
        compose(app, settings=settings_from_context(app.node.get_all_context()))
    except (SettingsError, LimitsError, PackageError, BytecodeError) as error:
        sys.exit(f"sluice: {error}")
    app.synth()
