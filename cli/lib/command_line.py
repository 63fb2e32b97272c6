"""Parse command lines; errors wrap at spaces and say what is possible."""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

from cli.lib.printable import printable
from cli.lib.terminal import errors, literal

_NOT_UTF_8 = re.compile("[\ud800-\udfff]")
"""How Python reads such bytes of the command line."""
_OPTION = re.compile(r"-[^\d]")
"""The beginning of an option. A negative number is a value."""

_NUMBERS = {int: "a whole number", float: "a number"}
"""What argparse calls by the names of Python's types."""


class Parser(argparse.ArgumentParser):
    """The parser of `sluice`, of a command, or of a command below it."""

    _commands: Any = None
    _given: Sequence[str] = ()
    _instead_of_stage: str = ""

    def __init__(self, **options: Any) -> None:
        """Take argparse's options. Those of a command line are written out, never abbreviated."""
        super().__init__(**{"allow_abbrev": False, **options})

    def add_subparsers(self, **options: Any) -> Any:
        """Add the commands below this one."""
        self._commands = super().add_subparsers(**options)
        return self._commands

    def answer_stage(self, text: str) -> None:
        """Set the sentence that the error for `--stage` has, here and in the commands below."""
        self._instead_of_stage = text
        for below in self._commands.choices.values() if self._commands is not None else ():
            below.answer_stage(text)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but report an unknown option with the usage of its command."""
        self._given = sys.argv[1:] if args is None else list(args)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(self._unknown(unknown[0]))
        return found, []

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        """Parse a value. Only the name of a file may have bytes that are not UTF-8.

        A text that is no option's value names a thing or is a question, and is not empty.
        """
        if action.type is Path and not arg_string.strip():  # the path of '' is this folder
            raise argparse.ArgumentError(action, "the name of a file is missing")
        is_value = action.nargs != argparse.PARSER  # else a command and all its arguments
        is_plain = action.type is None and not action.option_strings
        if is_value and is_plain and not arg_string.strip():
            raise argparse.ArgumentError(action, "it is empty")
        if is_value and action.type is not Path and _NOT_UTF_8.search(arg_string):
            raise argparse.ArgumentError(action, f"'{printable(arg_string)}' is not UTF-8")
        try:
            return super()._get_value(action, arg_string)
        except argparse.ArgumentError:
            if action.type not in _NUMBERS:
                raise
            text = f"{arg_string!r} is not {_NUMBERS[action.type]}"
            raise argparse.ArgumentError(action, text) from None

    def _wrong_option(self) -> str:
        """Return the first option that this parser does not have, or an empty text."""
        for word in self._given:
            name = word.partition("=")[0] if word.startswith("--") else word[:2]
            if _OPTION.match(name) and not any(
                option.startswith(name) for option in self._option_string_actions
            ):
                return word
        return ""

    def _unknown(self, word: str) -> str:
        if self._instead_of_stage and word.partition("=")[0] in {"--stage", "--stack-name"}:
            return f"{word!r} is unknown here. {self._instead_of_stage}"
        options = {option.lstrip("-"): option for option in self._option_string_actions}
        near = options.get(meant(word.partition("=")[0].lstrip("-"), options), "")
        return f"{word!r} is unknown here.{near and f' Did you mean {near}?'}"

    def error(self, message: str) -> NoReturn:
        """Print the usage, and the error with the command that helps. Exit with status 2."""
        self.print_usage(sys.stderr)
        if "arguments are required" in message and (wrong := self._wrong_option()):
            # argparse looks for what is missing before it looks at unknown options.
            message = self._unknown(wrong)
        elif (
            self._commands is not None and "COMMAND" in message and (wrong := self._wrong_option())
        ):
            # Its value stands where argparse looks for a command.
            message = self._unknown(wrong)
        elif self._commands is not None and "COMMAND" in message:
            names = list(self._commands.choices)
            given = message.partition("invalid choice: ")[2].partition(" (choose")[0].strip("'\"")
            near = meant(given, names)
            wrong = f"There is no command {given!r}." if given else "A command is missing."
            hint = f" Did you mean `{self.prog} {near}`?" if near else ""
            message = f"{wrong}{hint} The commands are: {', '.join(names)}."
        text = f"{message[:1].upper()}{message[1:]}"
        end = "" if text.endswith((".", "?")) else "."
        errors.print("[red]✗[/red]", literal(f"{text}{end} `{self.prog} --help` says more."))
        sys.exit(2)


def instead_of_stage(parser: argparse.ArgumentParser, text: str) -> None:
    """Set the sentence with which a command without `--stage`, and those below it, refuse it."""
    if isinstance(parser, Parser):
        parser.answer_stage(text)


def meant(given: str, known: Iterable[str]) -> str:
    """Return the known word that is closest to the one that was given, or an empty text."""
    close: Sequence[str] = get_close_matches(given, list(known), n=1)
    return close[0] if close else ""
