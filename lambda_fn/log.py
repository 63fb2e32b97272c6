"""The log: one JSON object a line on standard output, from where Lambda collects it."""

import json
import sys

import msgspec


def log(event: str, **fields: object) -> None:
    """Write one line. It must not contain prompts, completions or keys.

    The line is printable ASCII whatever the fields contain, so that no field ends the line or
    controls a terminal.
    """
    sys.stdout.write(_line({"event": event, **fields}) + "\n")
    sys.stdout.flush()


def _line(fields: dict[str, object]) -> str:
    try:
        line = msgspec.json.encode(fields).decode()
    except UnicodeEncodeError:  # half of a surrogate pair
        line = ""
    if line.isascii() and line.isprintable() and line:
        return line
    return json.dumps(fields, separators=(",", ":")).replace("\x7f", "\\u007f")  # slower, and rare
