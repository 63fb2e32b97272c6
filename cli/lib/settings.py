"""The settings of a deployment on the command line: `--stage dev -c NAME=VALUE`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, TypeVar

from cli.lib.project import ROOT, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from infra.settings.deployment import Settings

T = TypeVar("T")


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
        UsageError: a setting is unknown, its value is invalid, or it is another stage; or cdk.json
            cannot be read.

    """
    from infra.settings.context import settings_from_context

    if changes.get("stage", stage) != stage:
        raise UsageError(
            f"-c stage={changes['stage']}: this is about the stage {stage}. Commands for several "
            "stages name one by --stage; the local cloud has only the stage local."
        )
    return _checked(stage, changes, settings_from_context)


def check_files(settings: Settings, changes: Mapping[str, object]) -> None:
    """Check what the synthesis checks beside the settings themselves.

    That is the file that `weights` names on this machine, and `environment` against the other
    settings.

    Raises:
        UsageError: the synthesis would refuse it.

    """
    from infra.settings.context import settings_from_context

    _checked(settings.stage, changes, lambda context: _check(settings_from_context(context)))


def _check(settings: Settings) -> None:
    from infra.settings import other_spellings, weights_files

    location = settings.weights
    other_spellings.check(settings)
    if location and not location.startswith(("s3://", "hf:")) and not settings.endpoint_name:
        weights_files.check_file(ROOT / location, location)


def _checked(
    stage: str, changes: Mapping[str, object], attempt: Callable[[Mapping[str, object]], T]
) -> T:
    """Return what `attempt` makes of the context of cdk.json with the changes.

    Raises UsageError, which names cdk.json if the wrong value stands there.
    """
    from infra.settings import cdk_json
    from infra.settings.fields import SettingsError

    given = {**changes, "stage": stage}
    try:
        file = cdk_json.read(ROOT)
    except SettingsError as error:
        raise UsageError(str(error)) from None
    try:
        return attempt({**file, **given})
    except SettingsError as error:
        raise UsageError(cdk_json.placed(error, attempt, file=file, changes=given)) from None


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value
