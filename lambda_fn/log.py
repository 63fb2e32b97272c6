"""One JSON object a line on standard output, which Lambda takes as the log."""

import json
import sys

import msgspec


def log(event: str, **fields: object) -> None:
    """Write one line. Prompts, completions and keys have no place in it.

    It is printable ASCII, whatever its fields hold: nothing in it ends a line or commands whoever shows it.
    """
    sys.stdout.write(_line({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def _line(said: dict[str, object]) -> str:
    try:
        line = msgspec.json.encode(said).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        line = ""
    if line.isascii() and line.isprintable() and line:
        return line
    return json.dumps(said, separators=(",", ":")).replace("\x7f", "\\u007f")  # slower, and seldom
