"""The `sluice` command: read the command line and run the command that it names.

`sluice NAME` is the module `cli.commands.NAME`, with its HELP, its arguments (`add`) and its work
(`run`). Only the named module is imported. The help of all commands imports every module, so a
module imports slow dependencies inside its functions.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from cli.lib.command_line import Parser, meant
from cli.lib.project import CommandError, UsageError, owner, why
from cli.lib.signals import Ended, interruptible
from cli.lib.streams import OutputLostError, discard_output, prepare
from cli.lib.terminal import console, errors, literal, show_error

COMMANDS = (
    "up",
    "down",
    "env",
    "chat",
    "playground",
    "doctor",
    "cost",
    "keys",
    "preflight",
    "model",
    "endpoint",
    "destroy",
    "stop",
    "restore",
    "usage",
    "responses",
    "top",
    "trace",
    "audit",
    "check",
    "load",
    "verify",
    "smoke",
    "fault",
    "completion",
)
"""The commands in the order of the help."""


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of the command that the arguments name, else of all commands."""
    if arguments and arguments[0][:1] not in {"", "-"} and arguments[0] not in COMMANDS:
        errors.print("[red]✗[/red]", literal(_unknown(arguments[0])))
        sys.exit(2)
    parser = Parser(prog="sluice", description="Stream a language model from your own AWS account.")
    parser.add_argument("--version", action="version", version=f"sluice {version('sluice')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    named = [name for name in COMMANDS if name == arguments[0]] if arguments else []
    for name in named or COMMANDS:
        command = import_module(f"cli.commands.{name}")
        command.add(commands.add_parser(name, help=command.HELP, description=command.HELP))
    return parser


def _unknown(name: str) -> str:
    near = meant(name, COMMANDS)
    hint = f" Did you mean `sluice {near}`?" if near else ""
    return f"sluice has no command {name!r}.{hint} `sluice --help` lists all commands."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    It is 0 for success, 1 for a failure, 2 for an invalid command line, and 128 plus its number for
    a signal: 130 for Ctrl-C, and 141 if the reader of the output has left.
    """
    status = 0
    try:
        try:
            status = _run(sys.argv[1:] if arguments is None else arguments)
        finally:  # the help ends by SystemExit
            sys.stdout.flush()
    except OutputLostError as error:
        discard_output()
        if not error.has_reader_left:
            show_error(error)
        status = status or error.status
    return status


def _run(arguments: Sequence[str]) -> int:
    parser = _parser(arguments)
    if not arguments:
        parser.print_help()
        return 0
    args = parser.parse_args(arguments)
    args.whole = partial(_parser, ())
    try:
        with interruptible():
            args.run(args)
    except CommandError as error:
        show_error(error)
        if error.log is not None:
            errors.print(f"  The log says more: {error.log}")
        return error.status
    except OSError as error:
        reason, place = why(error), f": {error.filename}" if error.filename else ""
        text = f"{reason[:1].upper()}{reason[1:]}{place}{owner(error)}"
        errors.print("[red]✗[/red]", literal(text))
        return UsageError.status if _named(args, error) else CommandError.status
    except KeyboardInterrupt as error:
        with suppress(OutputLostError):
            console.print()
        return 128 + (error.number if isinstance(error, Ended) else signal.SIGINT)
    return 0


def _named(args: argparse.Namespace, error: OSError) -> bool:
    """Return whether an error is about a file that the command line names, or one below it."""
    if not isinstance(error.filename, str):
        return False
    paths = (it for it in vars(args).values() if isinstance(it, Path))
    return any(path in (Path(error.filename), *Path(error.filename).parents) for path in paths)


if __name__ == "__main__":
    prepare()
    sys.exit(main())
