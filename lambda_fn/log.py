"""One JSON object a line on standard output, which Lambda takes as the log."""

import sys

import msgspec


def log(event: str, **fields: object) -> None:
    """Write one line. Prompts, completions and keys have no place in it."""
    sys.stdout.write(msgspec.json.encode({"event": event, **fields}).decode() + "\n")
    sys.stdout.flush()
