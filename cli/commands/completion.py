"""`sluice completion`: print a shell's script that completes commands and options."""

import argparse
import sys

HELP = "Print the script that completes commands and options in a shell."
SHELLS = ("bash", "zsh", "tcsh", "fish")


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    text = 'for example in ~/.bashrc: eval "$(sluice completion bash)"'
    parser.add_argument("shell", choices=SHELLS, help=text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the script. `args.whole` returns the parser of all commands."""
    import shtab

    sys.stdout.write(shtab.complete(args.whole(), shell=args.shell) + "\n")
