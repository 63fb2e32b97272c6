"""`sluice top`: what a deployment does now, in the terminal."""

import argparse

from cli.lib import values

HELP = "Show what a deployment does now: streams, latency, tokens, endings, and keys by spend."


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    values.add_stack(parser)
    text = "the time that the figures are about (5m)"
    parser.add_argument("--window", type=period, default=300, metavar="TIME", help=text)
    text = "the time between two looks (2s; on AWS 10s, because each look costs some calls)"
    parser.add_argument("--every", type=values.seconds, metavar="TIME", help=text)
    text = "print the figures once, and end"
    parser.add_argument("--once", action="store_true", help=text)
    parser.add_argument("--json", action="store_true", help="print the figures once, as JSON")
    parser.set_defaults(run=run)


def period(text: str) -> int:
    """Parse a window of time: a duration from 10 seconds to a day, in seconds."""
    found = values.seconds(text)
    if not 10 <= found <= 86_400:
        raise argparse.ArgumentTypeError(f"{text!r} is not from 10s to 1d")
    return found


def run(args: argparse.Namespace) -> None:
    """Show the figures until Ctrl-C, or once.

    Raises:
        CommandError: the stage cannot be read, or this is no terminal.

    """
    from cli.commands.top.live import watch

    watch(args)
