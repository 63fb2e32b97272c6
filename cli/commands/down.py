"""`sluice down`: stop the local cloud."""

import argparse

HELP = "Stop the local cloud."


def add(parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""
    parser.set_defaults(run=run)


def run(_args: argparse.Namespace) -> None:
    """Stop the local cloud."""
    from cli.lib.local_cloud import stop

    stop()
