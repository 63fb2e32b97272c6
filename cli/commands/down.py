"""`sluice down`: stop the local cloud."""

import argparse

from cli.lib.command_line import instead_of_stage

HELP = "Stop the local cloud, and keep its keys and usage for the next start."


def add(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    text = "forget its keys and usage, which otherwise are there again after the next `sluice up`"
    parser.add_argument("--reset", action="store_true", help=text)
    text = "This stops the local cloud; `sluice destroy --stage dev` removes a stage from AWS."
    instead_of_stage(parser, text)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Stop the local cloud."""
    from cli.lib.local_cloud import check_not_starting, reset, stop
    from cli.lib.terminal import console

    check_not_starting()
    stop(keeps=not args.reset)
    if args.reset:
        forgotten = reset()
        console.print("Its keys and usage are forgotten." if forgotten else "Nothing was kept.")
