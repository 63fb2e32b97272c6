"""The commands around a deployment: `preflight`, `model push`, `endpoint stop` and `start`, `destroy`."""

import argparse
from pathlib import Path
from typing import Any

from cli.lib import values


def setting(text: str) -> tuple[str, str]:
    """Read NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not separator:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def add(commands: Any) -> None:
    """Add them to the command line."""
    _preflight(commands)
    _model(commands)
    _endpoint(commands)
    _destroy(commands)


def _stage(parser: argparse.ArgumentParser, *, default: str) -> None:
    parser.add_argument("--stage", default=default, choices=values.STAGES, help=f"which stage ({default})")


def _settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c", dest="set", type=setting, action="append", default=[], metavar="NAME=VALUE", help="change a setting"
    )


def _preflight(commands: Any) -> None:
    text = "Show what the AWS account lacks to deploy a stage (dev), and the commands that ask for it."
    parser = commands.add_parser("preflight", help=text, description=text)
    _stage(parser, default="dev")
    _settings(parser)

    def run(given: argparse.Namespace) -> None:
        from cli.commands.preflight import preflight

        preflight(given.stage, dict(given.set))

    parser.set_defaults(run=run)


def _model(commands: Any) -> None:
    model = commands.add_parser("model", help="Weights.").add_subparsers(required=True, metavar="COMMAND")
    text = "Upload a model's files to S3, checked by SHA-256, and print the setting to use. Goes on where it broke off."
    parser = model.add_parser("push", help=text, description=text)
    parser.add_argument("source", type=Path, metavar="DIR", help="the model's folder, or one file")
    parser.add_argument("--to", metavar="s3://BUCKET/PREFIX/", help="where to (a private bucket of the account)")
    parser.add_argument("--kms-key", metavar="ARN", help="the key that encrypts the objects")
    _stage(parser, default="dev")

    def run(given: argparse.Namespace) -> None:
        from cli.commands.model_push import run as push

        push(given.source, to=given.to, stage=given.stage, kms_key=given.kms_key)

    parser.set_defaults(run=run)


def _endpoint(commands: Any) -> None:
    text = "Stop paying for the endpoint, and start it again."
    endpoint = commands.add_parser("endpoint", help=text).add_subparsers(required=True, metavar="COMMAND")
    words = {
        "stop": "Delete the endpoint, which ends its bill. All else stays, and a deployment leaves it stopped.",
        "start": "Create the endpoint again, and wait until it serves.",
    }
    for name, said in words.items():
        parser = endpoint.add_parser(name, help=said, description=said)
        _stage(parser, default="local")
        parser.add_argument("--stack-name", default="sluice", help="the setting `name` of that stack (sluice)")
        parser.set_defaults(run=_changed(name))


def _changed(name: str) -> Any:
    def run(given: argparse.Namespace) -> None:
        from cli.commands import endpoint

        {"stop": endpoint.stop, "start": endpoint.start}[name](given.stage, given.stack_name)

    return run


def _destroy(commands: Any) -> None:
    text = "Remove a deployment, and say what is left of it and why."
    parser = commands.add_parser("destroy", help=text, description=text)
    _stage(parser, default="dev")
    _settings(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask, which needs a terminal")

    def run(given: argparse.Namespace) -> None:
        from cli.commands.destroy import destroy

        destroy(given.stage, dict(given.set), ask=not given.yes)

    parser.set_defaults(run=run)
