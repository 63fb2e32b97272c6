"""Values of the command line: stacks, lengths of time, moments, limits, ids of keys; and how times are shown."""

import argparse
import re
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_KEY = re.compile(r"(?:sk-)?([a-z2-7]{12})(?:-[A-Za-z0-9_-]{43})?")
NONE = "none"
STAGES = ("local", "dev", "prod")


def add_stack(parser: argparse.ArgumentParser, *, inner: bool = False) -> None:
    """Let a command say which stack it means; an `inner` one leaves what the outer one was told."""
    stage, name = (argparse.SUPPRESS,) * 2 if inner else ("local", "sluice")
    parser.add_argument("--stage", default=stage, choices=STAGES, help="of which stack (local)")
    parser.add_argument("--stack-name", default=name, help="the setting `name` of that stack (sluice)")


def exports(variables: Mapping[str, str]) -> str:
    """Return the lines that set variables in a POSIX shell, whatever is in their values."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items())


def seconds(text: str) -> int:
    """Read a length of time: `90s`, `45m`, `24h`, `30d`, `2w`."""
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time such as 90s, 45m, 24h, 30d or 2w")
    return int(found[1]) * _UNITS[found[2]]


def moment(text: str) -> int | None:
    """Read a moment that is to come: a length of time from now, a date or a time in UTC, or `none`."""
    if text == NONE:
        return None
    if re.fullmatch(r"\d+[smhdw]", text):
        return int(time.time()) + seconds(text)
    try:
        found = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no moment such as 30d, 2026-12-31 or none") from None
    if found <= time.time():
        raise argparse.ArgumentTypeError(f"{text!r} is not in the future")
    return found


def count(text: str) -> int | None:
    """Read a limit: a whole number, with `k` or `M` behind it perhaps, or `none`."""
    if text == NONE:
        return None
    found = re.fullmatch(r"(\d{1,15})([kM]?)", text.replace("_", ""))
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number such as 5000, 50k or 2M, and not none")
    return int(found[1]) * {"": 1, "k": 1000, "M": 1_000_000}[found[2]]


def amount(text: str) -> str | None:
    """Read a limit of money: decimal, or `none`."""
    if text == NONE:
        return None
    try:
        if Decimal(text).is_finite() and Decimal(text) >= 0:
            return text
    except InvalidOperation:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is no amount such as 12.50, and not none")


def key_id(text: str) -> str:
    """Read the id of a key; of a whole key only the id is kept, and the secret goes nowhere."""
    found = _KEY.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError("this is no id of a key: `sluice keys list` shows them")
    return found[1]


def found_key(text: str) -> str:
    """Read the id of a key that was found somewhere: as `key_id`, with quotes or blanks about it, or `-` for input."""
    if text == "-":
        text = sys.stdin.readline()
    return key_id(text.strip().strip("'\"`"))


def when(seconds: float | None) -> str:
    """Write a moment for people, in UTC."""
    return "" if seconds is None else time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds))


def ago(seconds: float | None) -> str:
    """Write how long ago a moment was."""
    if seconds is None:
        return "never"
    age = max(0, int(time.time() - seconds))
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if age >= 2 * length:
            return f"{age // length}{unit} ago"
    return f"{age}s ago"
