"""Parse command lines; errors wrap at spaces and say what is possible."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

from cli.lib.terminal import errors, literal


class Parser(argparse.ArgumentParser):
    """The parser of `sluice`, of a command, or of a command below it."""

    _commands: Any = None

    def add_subparsers(self, **options: Any) -> Any:
        """Add the commands below this one."""
        self._commands = super().add_subparsers(**options)
        return self._commands

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but report an unknown option with the usage of its command."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            near = meant(unknown[0].partition("=")[0], self._option_string_actions)
            self.error(f"{unknown[0]!r} is unknown here.{near and f' Did you mean {near}?'}")
        return found, []

    def error(self, message: str) -> NoReturn:
        """Print the usage, and the error with the command that helps. Exit with status 2."""
        self.print_usage(sys.stderr)
        if self._commands is not None and "COMMAND" in message:
            names = list(self._commands.choices)
            given = message.partition("invalid choice: ")[2].partition(" (choose")[0].strip("'\"")
            near = meant(given, names)
            message = (
                (f"There is no command {given!r}. " if given else "A command is missing. ")
                + (f"Did you mean `{self.prog} {near}`? " if near else "")
                + f"The commands are: {', '.join(names)}."
            )
        text = f"{message[:1].upper()}{message[1:]}"
        end = "" if text.endswith((".", "?")) else "."
        errors.print("[red]✗[/red]", literal(f"{text}{end} `{self.prog} --help` says more."))
        sys.exit(2)


def meant(given: str, known: Iterable[str]) -> str:
    """Return the known word that is closest to the one that was given, or an empty text."""
    close: Sequence[str] = get_close_matches(given, list(known), n=1)
    return close[0] if close else ""
