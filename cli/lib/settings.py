"""The settings of a deployment on the command line: `--stage dev -c NAME=VALUE`."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from cli.lib.project import ROOT, CommandError, UsageError, why

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings.deployment import Settings


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add `-c NAME=VALUE`, which may be repeated. `args.set` is the list of pairs."""
    parser.add_argument(
        "-c",
        dest="set",
        type=_pair,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting",
    )


def settings_of(stage: str, changes: Mapping[str, object]) -> Settings:
    """Return the settings of a stage with those of cdk.json and with `changes`.

    A value is parsed by its setting's type.

    Raises:
        UsageError: a setting of the command line is unknown, its value is invalid, or it is another
            stage.
        CommandError: one of cdk.json is.

    """
    from infra.settings.context import settings_from_context
    from infra.settings.deployment import SettingsError

    if changes.get("stage", stage) != stage:
        raise UsageError(
            f"-c stage={changes['stage']}: this is about the stage {stage}. Commands for several "
            "stages name one by --stage; the local cloud has only the stage local."
        )
    try:
        return settings_from_context({**_of_cdk_json(), **changes, "stage": stage})
    except SettingsError as error:
        kind = UsageError if changes else CommandError
        raise kind(str(error)) from None


def check_files(settings: Settings, changes: Mapping[str, object]) -> None:
    """Check what the synthesis checks beside the settings themselves.

    That is the file that `weights` names on this machine, and `environment` against the other
    settings.

    Raises:
        UsageError: the synthesis would refuse it, and the command line has `changes`.
        CommandError: the synthesis would refuse what cdk.json has.

    """
    from infra.settings import other_spellings, weights_files
    from infra.settings.fields import SettingsError

    location = settings.weights
    try:
        other_spellings.check(settings)
        if location and not location.startswith(("s3://", "hf:")) and not settings.endpoint_name:
            weights_files.check_file(ROOT / location, location)
    except SettingsError as error:
        kind = UsageError if changes else CommandError
        raise kind(str(error)) from None


def _of_cdk_json() -> Mapping[str, object]:
    try:
        context = json.loads((ROOT / "cdk.json").read_text()).get("context", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise CommandError(f"cdk.json cannot be read: {why(error)}") from None
    if not isinstance(context, dict):
        raise CommandError("cdk.json cannot be read: its context is not an object.")
    return context


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
